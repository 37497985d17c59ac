"""The attributes that are searched and answered, and how the index may keep each of them.

One row per attribute: every key of PS3.4 Tables C.6-1 to C.6-4, of the QIDO-RS tables (PS3.18 10.6.3), and the
optional ones that DCMTK, Orthanc and OHIF ask for. The scanner captures these, the index makes its columns and
tokens from them, a query is understood through them.

How an attribute is kept is a decision about privacy:

- *plain*: a column in clear. All of them together are at most a Limited Data Set (45 CFR 164.514(e)): dates, sex,
  technical facts. Code strings are kept only when they look like code strings (``dicom.head``), so that a name typed
  into a wrong field does not end in clear.
- *token*: kept as a keyed token, for equality and, where ``prefixes`` says so, for wild cards with a fixed beginning.
- *sealed*: only in the sealed data set of its level, and matched after unsealing.

Patient's Birth Date would be allowed in a Limited Data Set, but together with sex and study date it names most people;
queries give it exactly, so it is a token. A range of birth dates is decided after unsealing.

**Invariant:** data only; nothing here imports pydicom or reads anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from leadglass.dicom.models import Level


class Kind(StrEnum):
    """How the index keeps an attribute."""

    IDENTITY = "identity"
    """A field of ``ObjectIdentity``; ``column`` is its name. Not repeated in ``LevelHead.plain``."""
    PLAIN = "plain"
    """A column in clear, in ``LevelHead.plain`` under ``column``."""
    TOKEN = "token"  # noqa: S105 - a word of the index, no password
    """Normalised values in ``LevelHead.tokens`` under ``keyword``; also sealed."""
    SEALED = "sealed"
    """Only in ``LevelHead.sealed``."""
    COMPUTED = "computed"
    """In no object: the index or the archive answers it from what is held."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of the query/retrieve information models.

    Attributes:
        keyword: as in PS3.6.
        tag: group in the upper, element in the lower 16 bits.
        vr: value representation of PS3.6; a sequence is ``SQ``.
        level: the level that it describes. One that is computed may be asked at this level and below.
        kind: how the index keeps it. All but ``COMPUTED`` are in the sealed data set of their level.
        column: name of the column, for ``IDENTITY`` and ``PLAIN``; else empty.
        prefixes: wild cards with a fixed beginning are worth tokens of prefixes.
    """

    keyword: str
    tag: int
    vr: str
    level: Level
    kind: Kind
    column: str = ""
    prefixes: bool = False

    @property
    def is_integer(self) -> bool:
        """The plain column holds integers; else it holds text."""
        return self.vr in INTEGER_VRS


INTEGER_VRS: Final = frozenset({"IS", "US", "UL", "SS", "SL"})
"""Value representations whose plain column is an integer."""

SPECIFIC_CHARACTER_SET: Final = 0x0008_0005
"""Belongs to every level: it comes first in every sealed data set. Not an entry of the table."""

# Rows are one line each, so that a reviewer compares them with PS3.4 and PS3.6 line by line.
# fmt: off
ATTRIBUTES: Final[tuple[Attribute, ...]] = (
    # PATIENT
    Attribute("PatientName", 0x0010_0010, "PN", Level.PATIENT, Kind.TOKEN, prefixes=True),
    Attribute("PatientID", 0x0010_0020, "LO", Level.PATIENT, Kind.TOKEN, prefixes=True),
    Attribute("IssuerOfPatientID", 0x0010_0021, "LO", Level.PATIENT, Kind.TOKEN),
    Attribute("IssuerOfPatientIDQualifiersSequence", 0x0010_0024, "SQ", Level.PATIENT, Kind.SEALED),
    Attribute("ReferencedPatientSequence", 0x0008_1120, "SQ", Level.PATIENT, Kind.SEALED),
    Attribute("PatientBirthDate", 0x0010_0030, "DA", Level.PATIENT, Kind.TOKEN),
    Attribute("PatientBirthTime", 0x0010_0032, "TM", Level.PATIENT, Kind.SEALED),
    Attribute("PatientSex", 0x0010_0040, "CS", Level.PATIENT, Kind.PLAIN, column="patient_sex"),
    Attribute("OtherPatientIDs", 0x0010_1000, "LO", Level.PATIENT, Kind.TOKEN),
    Attribute("OtherPatientNames", 0x0010_1001, "PN", Level.PATIENT, Kind.TOKEN, prefixes=True),
    Attribute("OtherPatientIDsSequence", 0x0010_1002, "SQ", Level.PATIENT, Kind.SEALED),
    Attribute("PatientSexNeutered", 0x0010_2203, "CS", Level.PATIENT, Kind.SEALED),
    Attribute("EthnicGroup", 0x0010_2160, "SH", Level.PATIENT, Kind.SEALED),
    Attribute("EthnicGroupCodeSequence", 0x0010_2161, "SQ", Level.PATIENT, Kind.SEALED),
    Attribute("PatientComments", 0x0010_4000, "LT", Level.PATIENT, Kind.SEALED),
    Attribute("PatientSpeciesDescription", 0x0010_2201, "LO", Level.PATIENT, Kind.SEALED),
    Attribute("PatientSpeciesCodeSequence", 0x0010_2202, "SQ", Level.PATIENT, Kind.SEALED),
    Attribute("PatientBreedDescription", 0x0010_2292, "LO", Level.PATIENT, Kind.SEALED),
    Attribute("PatientBreedCodeSequence", 0x0010_2293, "SQ", Level.PATIENT, Kind.SEALED),
    Attribute("ResponsiblePerson", 0x0010_2297, "PN", Level.PATIENT, Kind.TOKEN, prefixes=True),
    Attribute("ResponsiblePersonRole", 0x0010_2298, "CS", Level.PATIENT, Kind.SEALED),
    Attribute("ResponsibleOrganization", 0x0010_2299, "LO", Level.PATIENT, Kind.SEALED),
    Attribute("QualityControlSubject", 0x0010_0200, "CS", Level.PATIENT, Kind.SEALED),
    Attribute("PatientIdentityRemoved", 0x0012_0062, "CS", Level.PATIENT, Kind.SEALED),
    Attribute("DeidentificationMethod", 0x0012_0063, "LO", Level.PATIENT, Kind.SEALED),
    Attribute("DeidentificationMethodCodeSequence", 0x0012_0064, "SQ", Level.PATIENT, Kind.SEALED),
    Attribute("ClinicalTrialSponsorName", 0x0012_0010, "LO", Level.PATIENT, Kind.SEALED),
    Attribute("ClinicalTrialProtocolID", 0x0012_0020, "LO", Level.PATIENT, Kind.TOKEN),
    Attribute("ClinicalTrialProtocolName", 0x0012_0021, "LO", Level.PATIENT, Kind.SEALED),
    Attribute("ClinicalTrialSiteID", 0x0012_0030, "LO", Level.PATIENT, Kind.SEALED),
    Attribute("ClinicalTrialSiteName", 0x0012_0031, "LO", Level.PATIENT, Kind.SEALED),
    Attribute("ClinicalTrialSubjectID", 0x0012_0040, "LO", Level.PATIENT, Kind.TOKEN),
    Attribute("ClinicalTrialSubjectReadingID", 0x0012_0042, "LO", Level.PATIENT, Kind.SEALED),
    Attribute("NumberOfPatientRelatedStudies", 0x0020_1200, "IS", Level.PATIENT, Kind.COMPUTED),
    Attribute("NumberOfPatientRelatedSeries", 0x0020_1202, "IS", Level.PATIENT, Kind.COMPUTED),
    Attribute("NumberOfPatientRelatedInstances", 0x0020_1204, "IS", Level.PATIENT, Kind.COMPUTED),
    Attribute("InstanceAvailability", 0x0008_0056, "CS", Level.PATIENT, Kind.COMPUTED),
    Attribute("RetrieveAETitle", 0x0008_0054, "AE", Level.PATIENT, Kind.COMPUTED),
    Attribute("RetrieveURL", 0x0008_1190, "UR", Level.PATIENT, Kind.COMPUTED),
    # STUDY
    Attribute("StudyInstanceUID", 0x0020_000D, "UI", Level.STUDY, Kind.IDENTITY, column="study_uid"),
    Attribute("StudyDate", 0x0008_0020, "DA", Level.STUDY, Kind.PLAIN, column="study_date"),
    Attribute("StudyTime", 0x0008_0030, "TM", Level.STUDY, Kind.PLAIN, column="study_time"),
    Attribute("AccessionNumber", 0x0008_0050, "SH", Level.STUDY, Kind.TOKEN, prefixes=True),
    Attribute("IssuerOfAccessionNumberSequence", 0x0008_0051, "SQ", Level.STUDY, Kind.SEALED),
    Attribute("StudyID", 0x0020_0010, "SH", Level.STUDY, Kind.TOKEN, prefixes=True),
    Attribute("StudyDescription", 0x0008_1030, "LO", Level.STUDY, Kind.TOKEN, prefixes=True),
    Attribute("ReferringPhysicianName", 0x0008_0090, "PN", Level.STUDY, Kind.TOKEN, prefixes=True),
    Attribute("ReferringPhysicianIdentificationSequence", 0x0008_0096, "SQ", Level.STUDY, Kind.SEALED),
    Attribute("ConsultingPhysicianName", 0x0008_009C, "PN", Level.STUDY, Kind.SEALED),
    Attribute("PhysiciansOfRecord", 0x0008_1048, "PN", Level.STUDY, Kind.SEALED),
    Attribute("NameOfPhysiciansReadingStudy", 0x0008_1060, "PN", Level.STUDY, Kind.TOKEN, prefixes=True),
    Attribute("RequestingPhysician", 0x0032_1032, "PN", Level.STUDY, Kind.SEALED),
    Attribute("RequestingService", 0x0032_1033, "LO", Level.STUDY, Kind.SEALED),
    Attribute("RequestedProcedureDescription", 0x0032_1060, "LO", Level.STUDY, Kind.SEALED),
    Attribute("RequestedProcedureCodeSequence", 0x0032_1064, "SQ", Level.STUDY, Kind.SEALED),
    Attribute("AdmittingDiagnosesDescription", 0x0008_1080, "LO", Level.STUDY, Kind.SEALED),
    Attribute("AdmittingDiagnosesCodeSequence", 0x0008_1084, "SQ", Level.STUDY, Kind.SEALED),
    Attribute("ProcedureCodeSequence", 0x0008_1032, "SQ", Level.STUDY, Kind.SEALED),
    Attribute("ReasonForPerformedProcedureCodeSequence", 0x0040_1012, "SQ", Level.STUDY, Kind.SEALED),
    Attribute("ReferencedStudySequence", 0x0008_1110, "SQ", Level.STUDY, Kind.SEALED),
    Attribute("PatientAge", 0x0010_1010, "AS", Level.STUDY, Kind.SEALED),
    Attribute("PatientSize", 0x0010_1020, "DS", Level.STUDY, Kind.SEALED),
    Attribute("PatientWeight", 0x0010_1030, "DS", Level.STUDY, Kind.SEALED),
    Attribute("MedicalAlerts", 0x0010_2000, "LO", Level.STUDY, Kind.SEALED),
    Attribute("Allergies", 0x0010_2110, "LO", Level.STUDY, Kind.SEALED),
    Attribute("Occupation", 0x0010_2180, "SH", Level.STUDY, Kind.SEALED),
    Attribute("SmokingStatus", 0x0010_21A0, "CS", Level.STUDY, Kind.SEALED),
    Attribute("AdditionalPatientHistory", 0x0010_21B0, "LT", Level.STUDY, Kind.SEALED),
    Attribute("PregnancyStatus", 0x0010_21C0, "US", Level.STUDY, Kind.SEALED),
    Attribute("PatientState", 0x0038_0500, "LO", Level.STUDY, Kind.SEALED),
    Attribute("AdmissionID", 0x0038_0010, "LO", Level.STUDY, Kind.TOKEN),
    Attribute("IssuerOfAdmissionIDSequence", 0x0038_0014, "SQ", Level.STUDY, Kind.SEALED),
    Attribute("ServiceEpisodeID", 0x0038_0060, "LO", Level.STUDY, Kind.SEALED),
    Attribute("OtherStudyNumbers", 0x0020_1070, "IS", Level.STUDY, Kind.SEALED),
    Attribute("StudyComments", 0x0032_4000, "LT", Level.STUDY, Kind.SEALED),
    Attribute("TimezoneOffsetFromUTC", 0x0008_0201, "SH", Level.STUDY, Kind.SEALED),
    Attribute("ClinicalTrialTimePointID", 0x0012_0050, "LO", Level.STUDY, Kind.SEALED),
    Attribute("ClinicalTrialTimePointDescription", 0x0012_0051, "ST", Level.STUDY, Kind.SEALED),
    Attribute("LongitudinalTemporalInformationModified", 0x0028_0303, "CS", Level.STUDY, Kind.SEALED),
    Attribute("ModalitiesInStudy", 0x0008_0061, "CS", Level.STUDY, Kind.COMPUTED),
    Attribute("SOPClassesInStudy", 0x0008_0062, "UI", Level.STUDY, Kind.COMPUTED),
    Attribute("NumberOfStudyRelatedSeries", 0x0020_1206, "IS", Level.STUDY, Kind.COMPUTED),
    Attribute("NumberOfStudyRelatedInstances", 0x0020_1208, "IS", Level.STUDY, Kind.COMPUTED),
    # SERIES
    Attribute("SeriesInstanceUID", 0x0020_000E, "UI", Level.SERIES, Kind.IDENTITY, column="series_uid"),
    Attribute("Modality", 0x0008_0060, "CS", Level.SERIES, Kind.PLAIN, column="modality"),
    Attribute("SeriesNumber", 0x0020_0011, "IS", Level.SERIES, Kind.PLAIN, column="series_number"),
    Attribute("SeriesDate", 0x0008_0021, "DA", Level.SERIES, Kind.PLAIN, column="series_date"),
    Attribute("SeriesTime", 0x0008_0031, "TM", Level.SERIES, Kind.PLAIN, column="series_time"),
    Attribute("SeriesDescription", 0x0008_103E, "LO", Level.SERIES, Kind.TOKEN, prefixes=True),
    Attribute("SeriesDescriptionCodeSequence", 0x0008_103F, "SQ", Level.SERIES, Kind.SEALED),
    Attribute("ProtocolName", 0x0018_1030, "LO", Level.SERIES, Kind.SEALED),
    Attribute("BodyPartExamined", 0x0018_0015, "CS", Level.SERIES, Kind.PLAIN, column="body_part_examined"),
    Attribute("Laterality", 0x0020_0060, "CS", Level.SERIES, Kind.PLAIN, column="laterality"),
    Attribute("PatientPosition", 0x0018_5100, "CS", Level.SERIES, Kind.SEALED),
    Attribute("FrameOfReferenceUID", 0x0020_0052, "UI", Level.SERIES, Kind.SEALED),
    Attribute("PositionReferenceIndicator", 0x0020_1040, "LO", Level.SERIES, Kind.SEALED),
    Attribute("PresentationIntentType", 0x0008_0068, "CS", Level.SERIES, Kind.SEALED),
    Attribute("PerformingPhysicianName", 0x0008_1050, "PN", Level.SERIES, Kind.TOKEN, prefixes=True),
    Attribute("OperatorsName", 0x0008_1070, "PN", Level.SERIES, Kind.TOKEN, prefixes=True),
    Attribute("InstitutionName", 0x0008_0080, "LO", Level.SERIES, Kind.TOKEN, prefixes=True),
    Attribute("InstitutionAddress", 0x0008_0081, "ST", Level.SERIES, Kind.SEALED),
    Attribute("InstitutionalDepartmentName", 0x0008_1040, "LO", Level.SERIES, Kind.SEALED),
    Attribute("InstitutionCodeSequence", 0x0008_0082, "SQ", Level.SERIES, Kind.SEALED),
    Attribute("StationName", 0x0008_1010, "SH", Level.SERIES, Kind.TOKEN),
    Attribute("Manufacturer", 0x0008_0070, "LO", Level.SERIES, Kind.SEALED),
    Attribute("ManufacturerModelName", 0x0008_1090, "LO", Level.SERIES, Kind.SEALED),
    Attribute("DeviceSerialNumber", 0x0018_1000, "LO", Level.SERIES, Kind.SEALED),
    Attribute("SoftwareVersions", 0x0018_1020, "LO", Level.SERIES, Kind.SEALED),
    Attribute("PerformedProcedureStepStartDate", 0x0040_0244, "DA", Level.SERIES, Kind.PLAIN, column="performed_procedure_step_start_date"),
    Attribute("PerformedProcedureStepStartTime", 0x0040_0245, "TM", Level.SERIES, Kind.PLAIN, column="performed_procedure_step_start_time"),
    Attribute("PerformedProcedureStepEndDate", 0x0040_0250, "DA", Level.SERIES, Kind.SEALED),
    Attribute("PerformedProcedureStepEndTime", 0x0040_0251, "TM", Level.SERIES, Kind.SEALED),
    Attribute("PerformedProcedureStepID", 0x0040_0253, "SH", Level.SERIES, Kind.SEALED),
    Attribute("PerformedProcedureStepDescription", 0x0040_0254, "LO", Level.SERIES, Kind.SEALED),
    Attribute("PerformedProtocolCodeSequence", 0x0040_0260, "SQ", Level.SERIES, Kind.SEALED),
    Attribute("CommentsOnThePerformedProcedureStep", 0x0040_0280, "ST", Level.SERIES, Kind.SEALED),
    Attribute("ReferencedPerformedProcedureStepSequence", 0x0008_1111, "SQ", Level.SERIES, Kind.SEALED),
    Attribute("RequestAttributesSequence", 0x0040_0275, "SQ", Level.SERIES, Kind.SEALED),
    Attribute("TreatmentSessionUID", 0x300A_0700, "UI", Level.SERIES, Kind.SEALED),
    Attribute("NumberOfSeriesRelatedInstances", 0x0020_1209, "IS", Level.SERIES, Kind.COMPUTED),
    # IMAGE
    Attribute("SOPClassUID", 0x0008_0016, "UI", Level.IMAGE, Kind.IDENTITY, column="sop_class_uid"),
    Attribute("SOPInstanceUID", 0x0008_0018, "UI", Level.IMAGE, Kind.IDENTITY, column="sop_instance_uid"),
    Attribute("InstanceNumber", 0x0020_0013, "IS", Level.IMAGE, Kind.PLAIN, column="instance_number"),
    Attribute("AvailableTransferSyntaxUID", 0x0008_3002, "UI", Level.IMAGE, Kind.COMPUTED),
    Attribute("RelatedGeneralSOPClassUID", 0x0008_001A, "UI", Level.IMAGE, Kind.SEALED),
    Attribute("ImageType", 0x0008_0008, "CS", Level.IMAGE, Kind.SEALED),
    Attribute("InstanceCreationDate", 0x0008_0012, "DA", Level.IMAGE, Kind.SEALED),
    Attribute("InstanceCreationTime", 0x0008_0013, "TM", Level.IMAGE, Kind.SEALED),
    Attribute("ContentDate", 0x0008_0023, "DA", Level.IMAGE, Kind.PLAIN, column="content_date"),
    Attribute("ContentTime", 0x0008_0033, "TM", Level.IMAGE, Kind.PLAIN, column="content_time"),
    Attribute("AcquisitionDate", 0x0008_0022, "DA", Level.IMAGE, Kind.PLAIN, column="acquisition_date"),
    Attribute("AcquisitionTime", 0x0008_0032, "TM", Level.IMAGE, Kind.PLAIN, column="acquisition_time"),
    Attribute("AcquisitionDateTime", 0x0008_002A, "DT", Level.IMAGE, Kind.SEALED),
    Attribute("AcquisitionNumber", 0x0020_0012, "IS", Level.IMAGE, Kind.SEALED),
    Attribute("NumberOfFrames", 0x0028_0008, "IS", Level.IMAGE, Kind.PLAIN, column="number_of_frames"),
    Attribute("Rows", 0x0028_0010, "US", Level.IMAGE, Kind.PLAIN, column="rows"),
    Attribute("Columns", 0x0028_0011, "US", Level.IMAGE, Kind.PLAIN, column="columns"),
    Attribute("BitsAllocated", 0x0028_0100, "US", Level.IMAGE, Kind.PLAIN, column="bits_allocated"),
    Attribute("BitsStored", 0x0028_0101, "US", Level.IMAGE, Kind.SEALED),
    Attribute("SamplesPerPixel", 0x0028_0002, "US", Level.IMAGE, Kind.SEALED),
    Attribute("PhotometricInterpretation", 0x0028_0004, "CS", Level.IMAGE, Kind.SEALED),
    Attribute("PixelSpacing", 0x0028_0030, "DS", Level.IMAGE, Kind.SEALED),
    Attribute("ImagerPixelSpacing", 0x0018_1164, "DS", Level.IMAGE, Kind.SEALED),
    Attribute("ImagePositionPatient", 0x0020_0032, "DS", Level.IMAGE, Kind.SEALED),
    Attribute("ImageOrientationPatient", 0x0020_0037, "DS", Level.IMAGE, Kind.SEALED),
    Attribute("SliceLocation", 0x0020_1041, "DS", Level.IMAGE, Kind.SEALED),
    Attribute("SliceThickness", 0x0018_0050, "DS", Level.IMAGE, Kind.SEALED),
    Attribute("SpacingBetweenSlices", 0x0018_0088, "DS", Level.IMAGE, Kind.SEALED),
    Attribute("TemporalPositionIdentifier", 0x0020_0100, "IS", Level.IMAGE, Kind.SEALED),
    Attribute("InStackPositionNumber", 0x0020_9057, "UL", Level.IMAGE, Kind.SEALED),
    Attribute("ImageLaterality", 0x0020_0062, "CS", Level.IMAGE, Kind.SEALED),
    Attribute("ViewPosition", 0x0018_5101, "CS", Level.IMAGE, Kind.SEALED),
    Attribute("ImageComments", 0x0020_4000, "LT", Level.IMAGE, Kind.SEALED),
    Attribute("BurnedInAnnotation", 0x0028_0301, "CS", Level.IMAGE, Kind.SEALED),
    Attribute("LossyImageCompression", 0x0028_2110, "CS", Level.IMAGE, Kind.SEALED),
    Attribute("LossyImageCompressionRatio", 0x0028_2112, "DS", Level.IMAGE, Kind.SEALED),
    Attribute("ContrastBolusAgent", 0x0018_0010, "LO", Level.IMAGE, Kind.SEALED),
    Attribute("AnatomicRegionSequence", 0x0008_2218, "SQ", Level.IMAGE, Kind.SEALED),
    Attribute("WindowCenter", 0x0028_1050, "DS", Level.IMAGE, Kind.SEALED),
    Attribute("WindowWidth", 0x0028_1051, "DS", Level.IMAGE, Kind.SEALED),
    Attribute("RescaleIntercept", 0x0028_1052, "DS", Level.IMAGE, Kind.SEALED),
    Attribute("RescaleSlope", 0x0028_1053, "DS", Level.IMAGE, Kind.SEALED),
    Attribute("ConceptNameCodeSequence", 0x0040_A043, "SQ", Level.IMAGE, Kind.SEALED),
    Attribute("ContentTemplateSequence", 0x0040_A504, "SQ", Level.IMAGE, Kind.SEALED),
    Attribute("DocumentTitle", 0x0042_0010, "ST", Level.IMAGE, Kind.SEALED),
    Attribute("MIMETypeOfEncapsulatedDocument", 0x0042_0012, "LO", Level.IMAGE, Kind.SEALED),
    Attribute("HL7InstanceIdentifier", 0x0040_E001, "ST", Level.IMAGE, Kind.SEALED),
    Attribute("CompletionFlag", 0x0040_A491, "CS", Level.IMAGE, Kind.SEALED),
    Attribute("VerificationFlag", 0x0040_A493, "CS", Level.IMAGE, Kind.SEALED),
    Attribute("VerificationDateTime", 0x0040_A030, "DT", Level.IMAGE, Kind.SEALED),
    Attribute("VerifyingObserverSequence", 0x0040_A073, "SQ", Level.IMAGE, Kind.SEALED),
    Attribute("ReferencedRequestSequence", 0x0040_A370, "SQ", Level.IMAGE, Kind.SEALED),
    Attribute("ObservationDateTime", 0x0040_A032, "DT", Level.IMAGE, Kind.SEALED),
    Attribute("ContentLabel", 0x0070_0080, "CS", Level.IMAGE, Kind.SEALED),
    Attribute("ContentDescription", 0x0070_0081, "LO", Level.IMAGE, Kind.SEALED),
    Attribute("ContentCreatorName", 0x0070_0084, "PN", Level.IMAGE, Kind.SEALED),
    Attribute("PresentationCreationDate", 0x0070_0082, "DA", Level.IMAGE, Kind.SEALED),
    Attribute("PresentationCreationTime", 0x0070_0083, "TM", Level.IMAGE, Kind.SEALED),
    Attribute("ReferencedSeriesSequence", 0x0008_1115, "SQ", Level.IMAGE, Kind.SEALED),
    Attribute("ReferencedSOPSequence", 0x0008_1199, "SQ", Level.IMAGE, Kind.SEALED),
    Attribute("ReferencedImageSequence", 0x0008_1140, "SQ", Level.IMAGE, Kind.SEALED),
    Attribute("SourceImageSequence", 0x0008_2112, "SQ", Level.IMAGE, Kind.SEALED),
    Attribute("ReferencedStructureSetSequence", 0x300C_0060, "SQ", Level.IMAGE, Kind.SEALED),
    Attribute("ReferencedRTPlanSequence", 0x300C_0002, "SQ", Level.IMAGE, Kind.SEALED),
    Attribute("StructureSetLabel", 0x3006_0002, "SH", Level.IMAGE, Kind.SEALED),
    Attribute("StructureSetDate", 0x3006_0008, "DA", Level.IMAGE, Kind.SEALED),
    Attribute("StructureSetTime", 0x3006_0009, "TM", Level.IMAGE, Kind.SEALED),
    Attribute("RTPlanLabel", 0x300A_0002, "SH", Level.IMAGE, Kind.SEALED),
    Attribute("RTPlanDate", 0x300A_0006, "DA", Level.IMAGE, Kind.SEALED),
    Attribute("RTPlanTime", 0x300A_0007, "TM", Level.IMAGE, Kind.SEALED),
    Attribute("ContainerIdentifier", 0x0040_0512, "LO", Level.IMAGE, Kind.SEALED),
    Attribute("SpecimenDescriptionSequence", 0x0040_0560, "SQ", Level.IMAGE, Kind.SEALED),
)
# fmt: on

BY_TAG: Final[Mapping[int, Attribute]] = MappingProxyType({a.tag: a for a in ATTRIBUTES})
BY_KEYWORD: Final[Mapping[str, Attribute]] = MappingProxyType({a.keyword: a for a in ATTRIBUTES})

LEVELS: Final = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
"""From the top down. Source: PS3.4 C.6.1.1."""

CAPTURED_TAGS: Final = frozenset(
    {SPECIFIC_CHARACTER_SET} | {a.tag for a in ATTRIBUTES if a.kind is not Kind.COMPUTED}
)
"""What the scanner keeps of a data set: every attribute that an object can carry."""


def attributes_at(level: Level) -> tuple[Attribute, ...]:
    """Return the attributes of one level, in the order of the table."""
    return _AT_LEVEL[level]


def attributes_down_to(level: Level) -> tuple[Attribute, ...]:
    """Return the attributes of a level and of those above it: all that a query at ``level`` may ask."""
    return tuple(a for upper in LEVELS[: LEVELS.index(level) + 1] for a in _AT_LEVEL[upper])


def plain_columns(*levels: Level) -> tuple[Attribute, ...]:
    """Return the attributes of these levels that are columns in clear."""
    return tuple(a for level in levels for a in _AT_LEVEL[level] if a.kind is Kind.PLAIN)


def token_fields(*levels: Level) -> tuple[Attribute, ...]:
    """Return the attributes of these levels that are found by keyed tokens."""
    return tuple(a for level in levels for a in _AT_LEVEL[level] if a.kind is Kind.TOKEN)


_AT_LEVEL: Final[Mapping[Level, tuple[Attribute, ...]]] = MappingProxyType(
    {level: tuple(a for a in ATTRIBUTES if a.level is level) for level in LEVELS}
)
