"""The few attributes of a header that make a picture; the others are stepped over, not read.

A CT header has some 250 elements, of which 30 count: reading only those takes a fifth of the time, and it is done for
every picture.

Source: PS3.5 7.1, 7.5.
"""

import struct
from typing import Final

from leadglass.base.errors import DatasetRefused
from leadglass.dicom import values
from leadglass.dicom.syntaxes import TransferSyntax
from leadglass.dicom.value_representations import LONG_VRS
from leadglass.dicom.values import Dataset

_KEYWORDS: Final = (
    # what pixels are, for decoders as well
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
    # what they mean
    "RescaleIntercept", "RescaleSlope", "WindowCenter", "WindowWidth", "VOILUTFunction", "ModalityLUTSequence",
    "VOILUTSequence", "PresentationLUTShape", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
    # how they are shown
    "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio",
    # what is written beside them
    "SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate",
    "StudyDescription", "Modality", "SeriesDescription", "KVP", "XRayTubeCurrent", "ExposureTime", "SliceThickness",
)  # fmt: skip

WANTED: Final = frozenset(values.tag_of(keyword) for keyword in _KEYWORDS)

_UNDEFINED: Final = 0xFFFF_FFFF
_LONG: Final = frozenset(vr.encode() for vr in LONG_VRS)


def read_header(data: bytes, syntax: TransferSyntax) -> Dataset:
    """Return the wanted attributes of a header, numbers little endian.

    Raises:
        DatasetRefused: malformed.
    """
    wanted = _cut(data, explicit=not syntax.implicit_vr, order=">" if syntax.big_endian else "<")
    header = values.read_whole_object(
        data if wanted is None else wanted, explicit=not syntax.implicit_vr, big=syntax.big_endian
    )
    return header if wanted is not None else {tag: header[tag] for tag in header if tag in WANTED}


def _cut(data: bytes, *, explicit: bool, order: str) -> bytes | None:
    """Return the octets of the wanted elements; None where only reading everything tells where one ends."""
    head = struct.Struct(order + ("HH2sH" if explicit else "HHI")).unpack_from
    long = struct.Struct(order + "I").unpack_from
    kept: list[bytes] = []
    position, end = 0, len(data)
    while position < end:
        if end - position < (12 if explicit else 8):
            return None  # whether it is too short for this element, the reader says
        start = position
        if explicit:
            group, element, vr, length = head(data, position)
            position += 8
            if vr in _LONG:
                (length,) = long(data, position)
                position += 4
        else:
            group, element, length = head(data, position)
            position += 8
        if length == _UNDEFINED:
            return None
        position += length
        if position > end:
            raise DatasetRefused("malformed data set: a value reaches beyond its data set")
        if group << 16 | element in WANTED:
            kept.append(data[start:position])
    return b"".join(kept)
