"""The SOP classes that an archive speaks (PS3.4, PS3.6 Table A-1).

The rows are written by ``tools/generate_sop_classes.py``; a test compares them with the tables of the standard.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from leadglass.base.ids import UID


@dataclass(frozen=True, slots=True)
class StorageClass:
    """A storage SOP class.

    Attributes:
        uid: its UID.
        name: as in PS3.6.
        retired: not in the current standard any more; accepted all the same, archives are full of them.
        non_patient: its instances have no patient, study or series (PS3.4 Annex GG), so this archive of studies has
            no place for them; not offered.
    """

    uid: UID
    name: str
    retired: bool = False
    non_patient: bool = False


VERIFICATION: Final = UID("1.2.840.10008.1.1")
"""PS3.4 Annex A."""

STORAGE_COMMITMENT_PUSH_MODEL: Final = UID("1.2.840.10008.1.20.1")
"""PS3.4 Annex J."""
STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE: Final = UID("1.2.840.10008.1.20.1.1")
"""The well-known SOP instance. Source: PS3.4 J.3.5."""

PATIENT_ROOT_FIND: Final = UID("1.2.840.10008.5.1.4.1.2.1.1")
PATIENT_ROOT_MOVE: Final = UID("1.2.840.10008.5.1.4.1.2.1.2")
PATIENT_ROOT_GET: Final = UID("1.2.840.10008.5.1.4.1.2.1.3")
STUDY_ROOT_FIND: Final = UID("1.2.840.10008.5.1.4.1.2.2.1")
STUDY_ROOT_MOVE: Final = UID("1.2.840.10008.5.1.4.1.2.2.2")
STUDY_ROOT_GET: Final = UID("1.2.840.10008.5.1.4.1.2.2.3")
PATIENT_STUDY_ONLY_FIND: Final = UID("1.2.840.10008.5.1.4.1.2.3.1")
"""Retired, like the two below."""
PATIENT_STUDY_ONLY_MOVE: Final = UID("1.2.840.10008.5.1.4.1.2.3.2")
PATIENT_STUDY_ONLY_GET: Final = UID("1.2.840.10008.5.1.4.1.2.3.3")

FIND_CLASSES: Final = frozenset({PATIENT_ROOT_FIND, STUDY_ROOT_FIND, PATIENT_STUDY_ONLY_FIND})
MOVE_CLASSES: Final = frozenset({PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE, PATIENT_STUDY_ONLY_MOVE})
GET_CLASSES: Final = frozenset({PATIENT_ROOT_GET, STUDY_ROOT_GET, PATIENT_STUDY_ONLY_GET})

# fmt: off
_ROWS: Final[tuple[StorageClass, ...]] = (
    # Rows below are written by the tool.
    StorageClass(UID("1.2.840.10008.5.1.1.27"), "Stored Print Storage", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.1.29"), "Hardcopy Grayscale Image Storage", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.1.30"), "Hardcopy Color Image Storage", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.1"), "Computed Radiography Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.1.1"), "Digital X-Ray Image Storage - For Presentation"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.1.1.1"), "Digital X-Ray Image Storage - For Processing"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.1.2"), "Digital Mammography X-Ray Image Storage - For Presentation"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.1.2.1"), "Digital Mammography X-Ray Image Storage - For Processing"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.1.3"), "Digital Intra-Oral X-Ray Image Storage - For Presentation"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.1.3.1"), "Digital Intra-Oral X-Ray Image Storage - For Processing"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.2"), "CT Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.2.1"), "Enhanced CT Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.2.2"), "Legacy Converted Enhanced CT Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.3"), "Ultrasound Multi-frame Image Storage", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.3.1"), "Ultrasound Multi-frame Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.4"), "MR Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.4.1"), "Enhanced MR Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.4.2"), "MR Spectroscopy Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.4.3"), "Enhanced MR Color Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.4.4"), "Legacy Converted Enhanced MR Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.5"), "Nuclear Medicine Image Storage", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.6"), "Ultrasound Image Storage", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.6.1"), "Ultrasound Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.6.2"), "Enhanced US Volume Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.6.3"), "Photoacoustic Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.7"), "Secondary Capture Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.7.1"), "Multi-frame Single Bit Secondary Capture Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.7.2"), "Multi-frame Grayscale Byte Secondary Capture Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.7.3"), "Multi-frame Grayscale Word Secondary Capture Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.7.4"), "Multi-frame True Color Secondary Capture Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.8"), "Standalone Overlay Storage", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9"), "Standalone Curve Storage", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.1"), "Waveform Storage - Trial", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.1.1"), "12-lead ECG Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.1.2"), "General ECG Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.1.3"), "Ambulatory ECG Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.1.4"), "General 32-bit ECG Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.2.1"), "Hemodynamic Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.3.1"), "Cardiac Electrophysiology Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.4.1"), "Basic Voice Audio Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.4.2"), "General Audio Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.5.1"), "Arterial Pulse Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.6.1"), "Respiratory Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.6.2"), "Multi-channel Respiratory Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.7.1"), "Routine Scalp Electroencephalogram Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.7.2"), "Electromyogram Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.7.3"), "Electrooculogram Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.7.4"), "Sleep Electroencephalogram Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.8.1"), "Body Position Waveform Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.100.1"), "Waveform Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.9.100.2"), "Waveform Acquisition Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.10"), "Standalone Modality LUT Storage", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.11"), "Standalone VOI LUT Storage", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.11.1"), "Grayscale Softcopy Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.11.2"), "Color Softcopy Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.11.3"), "Pseudo-Color Softcopy Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.11.4"), "Blending Softcopy Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.11.5"), "XA/XRF Grayscale Softcopy Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.11.6"), "Grayscale Planar MPR Volumetric Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.11.7"), "Compositing Planar MPR Volumetric Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.11.8"), "Advanced Blending Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.11.9"), "Volume Rendering Volumetric Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.11.10"), "Segmented Volume Rendering Volumetric Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.11.11"), "Multiple Volume Rendering Volumetric Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.11.12"), "Variable Modality LUT Softcopy Presentation State Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.12.1"), "X-Ray Angiographic Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.12.1.1"), "Enhanced XA Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.12.2"), "X-Ray Radiofluoroscopic Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.12.2.1"), "Enhanced XRF Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.12.3"), "X-Ray Angiographic Bi-Plane Image Storage", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.13.1.1"), "X-Ray 3D Angiographic Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.13.1.2"), "X-Ray 3D Craniofacial Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.13.1.3"), "Breast Tomosynthesis Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.13.1.4"), "Breast Projection X-Ray Image Storage - For Presentation"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.13.1.5"), "Breast Projection X-Ray Image Storage - For Processing"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.14.1"), "Intravascular Optical Coherence Tomography Image Storage - For Presentation"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.14.2"), "Intravascular Optical Coherence Tomography Image Storage - For Processing"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.20"), "Nuclear Medicine Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.30"), "Parametric Map Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.66"), "Raw Data Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.66.1"), "Spatial Registration Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.66.2"), "Spatial Fiducials Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.66.3"), "Deformable Spatial Registration Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.66.4"), "Segmentation Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.66.5"), "Surface Segmentation Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.66.6"), "Tractography Results Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.66.7"), "Label Map Segmentation Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.66.8"), "Height Map Segmentation Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.67"), "Real World Value Mapping Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.68.1"), "Surface Scan Mesh Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.68.2"), "Surface Scan Point Cloud Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1"), "VL Image Storage - Trial", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.1"), "VL Endoscopic Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.1.1"), "Video Endoscopic Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.2"), "VL Microscopic Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.2.1"), "Video Microscopic Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.3"), "VL Slide-Coordinates Microscopic Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.4"), "VL Photographic Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.4.1"), "Video Photographic Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.5.1"), "Ophthalmic Photography 8 Bit Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.5.2"), "Ophthalmic Photography 16 Bit Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.5.3"), "Stereometric Relationship Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.5.4"), "Ophthalmic Tomography Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.5.5"), "Wide Field Ophthalmic Photography Stereographic Projection Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.5.6"), "Wide Field Ophthalmic Photography 3D Coordinates Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.5.7"), "Ophthalmic Optical Coherence Tomography En Face Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.5.8"), "Ophthalmic Optical Coherence Tomography B-scan Volume Analysis Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.6"), "VL Whole Slide Microscopy Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.7"), "Dermoscopic Photography Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.8"), "Confocal Microscopy Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.1.9"), "Confocal Microscopy Tiled Pyramidal Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.77.2"), "VL Multi-frame Image Storage - Trial", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.78.1"), "Lensometry Measurements Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.78.2"), "Autorefraction Measurements Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.78.3"), "Keratometry Measurements Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.78.4"), "Subjective Refraction Measurements Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.78.5"), "Visual Acuity Measurements Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.78.6"), "Spectacle Prescription Report Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.78.7"), "Ophthalmic Axial Measurements Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.78.8"), "Intraocular Lens Calculations Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.79.1"), "Macular Grid Thickness and Volume Report Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.80.1"), "Ophthalmic Visual Field Static Perimetry Measurements Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.81.1"), "Ophthalmic Thickness Map Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.82.1"), "Corneal Topography Map Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.1"), "Text SR Storage - Trial", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.2"), "Audio SR Storage - Trial", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.3"), "Detail SR Storage - Trial", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.4"), "Comprehensive SR Storage - Trial", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.11"), "Basic Text SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.22"), "Enhanced SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.33"), "Comprehensive SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.34"), "Comprehensive 3D SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.35"), "Extensible SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.40"), "Procedure Log Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.50"), "Mammography CAD SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.59"), "Key Object Selection Document Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.65"), "Chest CAD SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.67"), "X-Ray Radiation Dose SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.68"), "Radiopharmaceutical Radiation Dose SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.69"), "Colon CAD SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.70"), "Implantation Plan SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.71"), "Acquisition Context SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.72"), "Simplified Adult Echo SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.73"), "Patient Radiation Dose SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.74"), "Planned Imaging Agent Administration SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.75"), "Performed Imaging Agent Administration SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.76"), "Enhanced X-Ray Radiation Dose SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.88.77"), "Waveform Annotation SR Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.90.1"), "Content Assessment Results Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.91.1"), "Microscopy Bulk Simple Annotations Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.104.1"), "Encapsulated PDF Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.104.2"), "Encapsulated CDA Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.104.3"), "Encapsulated STL Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.104.4"), "Encapsulated OBJ Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.104.5"), "Encapsulated MTL Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.128"), "Positron Emission Tomography Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.128.1"), "Legacy Converted Enhanced PET Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.129"), "Standalone PET Curve Storage", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.130"), "Enhanced PET Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.131"), "Basic Structured Display Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.200.1"), "CT Defined Procedure Protocol Storage", non_patient=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.200.2"), "CT Performed Procedure Protocol Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.200.3"), "Protocol Approval Storage", non_patient=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.200.7"), "XA Defined Procedure Protocol Storage", non_patient=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.200.8"), "XA Performed Procedure Protocol Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.201.1"), "Inventory Storage", non_patient=True),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.1"), "RT Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.2"), "RT Dose Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.3"), "RT Structure Set Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.4"), "RT Beams Treatment Record Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.5"), "RT Plan Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.6"), "RT Brachy Treatment Record Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.7"), "RT Treatment Summary Record Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.8"), "RT Ion Plan Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.9"), "RT Ion Beams Treatment Record Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.10"), "RT Physician Intent Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.11"), "RT Segment Annotation Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.12"), "RT Radiation Set Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.13"), "C-Arm Photon-Electron Radiation Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.14"), "Tomotherapeutic Radiation Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.15"), "Robotic-Arm Radiation Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.16"), "RT Radiation Record Set Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.17"), "RT Radiation Salvage Record Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.18"), "Tomotherapeutic Radiation Record Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.19"), "C-Arm Photon-Electron Radiation Record Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.20"), "Robotic Radiation Record Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.21"), "RT Radiation Set Delivery Instruction Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.22"), "RT Treatment Preparation Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.23"), "Enhanced RT Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.24"), "Enhanced Continuous RT Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.481.25"), "RT Patient Position Acquisition Instruction Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.501.1"), "DICOS CT Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.501.2.1"), "DICOS Digital X-Ray Image Storage - For Presentation"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.501.2.2"), "DICOS Digital X-Ray Image Storage - For Processing"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.501.3"), "DICOS Threat Detection Report Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.501.4"), "DICOS 2D AIT Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.501.5"), "DICOS 3D AIT Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.501.6"), "DICOS Quadrupole Resonance (QR) Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.601.1"), "Eddy Current Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.1.1.601.2"), "Eddy Current Multi-frame Image Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.34.1"), "RT Beams Delivery Instruction Storage - Trial", retired=True),
    StorageClass(UID("1.2.840.10008.5.1.4.34.7"), "RT Beams Delivery Instruction Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.34.10"), "RT Brachy Application Setup Delivery Instruction Storage"),
    StorageClass(UID("1.2.840.10008.5.1.4.38.1"), "Hanging Protocol Storage", non_patient=True),
    StorageClass(UID("1.2.840.10008.5.1.4.39.1"), "Color Palette Storage", non_patient=True),
    StorageClass(UID("1.2.840.10008.5.1.4.43.1"), "Generic Implant Template Storage", non_patient=True),
    StorageClass(UID("1.2.840.10008.5.1.4.44.1"), "Implant Assembly Template Storage", non_patient=True),
    StorageClass(UID("1.2.840.10008.5.1.4.45.1"), "Implant Template Group Storage", non_patient=True),
    # Rows above are written by the tool.
)
# fmt: on

STORAGE_CLASSES: Final[Mapping[str, StorageClass]] = MappingProxyType({row.uid: row for row in _ROWS})
"""Every storage SOP class by UID: current and retired, DICOS and DICONDE, non-patient ones included."""

ACCEPTED_STORAGE_CLASSES: Final[tuple[UID, ...]] = tuple(row.uid for row in _ROWS if not row.non_patient)
"""What an acceptor of storage takes; a site adds private ones by configuration."""


def is_storage_class(uid: str) -> bool:
    """Tell whether ``uid`` is a storage SOP class of the standard."""
    return uid in STORAGE_CLASSES
