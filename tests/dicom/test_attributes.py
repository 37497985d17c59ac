"""The table says of each attribute what PS3.6 says, and nothing that names a person is in clear."""

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from leadglass.dicom.attributes import (
    ATTRIBUTES,
    BY_KEYWORD,
    BY_TAG,
    CAPTURED_TAGS,
    LEVELS,
    Attribute,
    Kind,
    attributes_at,
    attributes_down_to,
    plain_columns,
    token_fields,
)
from leadglass.dicom.models import Level


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=lambda a: a.keyword)
def test_tag_and_vr_are_those_of_the_dictionary(attribute: Attribute) -> None:
    assert tag_for_keyword(attribute.keyword) == attribute.tag
    assert dictionary_VR(attribute.tag) == attribute.vr
    assert bool(attribute.column) == (attribute.kind in {Kind.PLAIN, Kind.IDENTITY})


def test_nothing_is_listed_twice() -> None:
    columns = [a.column for a in ATTRIBUTES if a.column]
    assert len(BY_TAG) == len(BY_KEYWORD) == len(ATTRIBUTES)
    assert len(set(columns)) == len(columns)


def test_plain_columns_hold_no_free_text() -> None:
    plain = plain_columns(*LEVELS)
    assert {a.vr for a in plain} <= {"DA", "TM", "CS", "IS", "US"}
    assert "PatientBirthDate" not in {a.keyword for a in plain}


def test_keys_of_the_standard_are_there() -> None:
    # PS3.4 Tables C.6-1 to C.6-4, required and unique keys; PS3.18 Tables 10.6.1-2, 10.6.3-3 to 10.6.3-5.
    required = {
        Level.PATIENT: "PatientName PatientID PatientBirthDate PatientSex",
        Level.STUDY: "StudyDate StudyTime AccessionNumber StudyID StudyInstanceUID ModalitiesInStudy "
        "ReferringPhysicianName TimezoneOffsetFromUTC NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances",
        Level.SERIES: "Modality SeriesNumber SeriesInstanceUID SeriesDescription PerformedProcedureStepStartDate "
        "PerformedProcedureStepStartTime RequestAttributesSequence NumberOfSeriesRelatedInstances",
        Level.IMAGE: "InstanceNumber SOPInstanceUID SOPClassUID Rows Columns BitsAllocated NumberOfFrames "
        "ConceptNameCodeSequence",
    }
    for level, keywords in required.items():
        assert set(keywords.split()) <= {a.keyword for a in attributes_at(level)}
    assert {"InstanceAvailability", "RetrieveAETitle", "RetrieveURL"} <= set(BY_KEYWORD)


def test_levels_add_up_from_the_top() -> None:
    assert attributes_down_to(Level.IMAGE) == ATTRIBUTES
    assert attributes_down_to(Level.PATIENT) == attributes_at(Level.PATIENT)
    assert sum(len(attributes_at(level)) for level in LEVELS) == len(ATTRIBUTES)


def test_what_is_computed_is_not_captured() -> None:
    computed = {a.tag for a in ATTRIBUTES if a.kind is Kind.COMPUTED}
    assert not computed & CAPTURED_TAGS
    assert all(a.kind is Kind.TOKEN for a in token_fields(*LEVELS))
    assert BY_KEYWORD["InstanceNumber"].is_integer
    assert not BY_KEYWORD["StudyDate"].is_integer
