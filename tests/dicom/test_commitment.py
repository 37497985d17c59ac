import pytest

from leadglass.base.errors import DatasetRefused
from leadglass.base.ids import UID
from leadglass.dicom import commitment, values
from leadglass.dicom.commitment import CommitmentAction, CommitmentEvent, FailedReference, SOPReference

CT = UID("1.2.840.10008.5.1.4.1.1.2")
REFERENCES = tuple(SOPReference(CT, UID(f"1.2.3.{n}")) for n in range(5))


@pytest.mark.parametrize("syntax", sorted(values.SYNTAXES))
def test_an_action_comes_back_as_it_was_built(syntax: str) -> None:
    action = CommitmentAction(UID("2.25.1"), REFERENCES)
    assert commitment.parse_action(commitment.build_action(action, syntax), syntax) == action


@pytest.mark.parametrize("syntax", sorted(values.SYNTAXES))
def test_an_event_comes_back_as_it_was_built(syntax: str) -> None:
    failed = tuple(FailedReference(r, 0x0112) for r in REFERENCES[3:])
    event = CommitmentEvent(UID("2.25.1"), REFERENCES[:3], failed, "LEADGLASS")
    assert event.event_type_id == commitment.COMMITMENT_FAILURES_EXIST
    assert commitment.parse_event(commitment.build_event(event, syntax), syntax) == event


def test_a_report_without_failures_has_no_failed_sop_sequence() -> None:
    event = CommitmentEvent(UID("2.25.1"), REFERENCES)
    assert event.event_type_id == commitment.COMMITMENT_SUCCESSFUL
    assert 0x0008_1198 not in values.read_dataset(commitment.build_event(event))


def test_twenty_thousand_references_fit_and_one_more_does_not() -> None:
    many = tuple(SOPReference(CT, UID(f"1.2.840.113619.2.55.3.604688119.971.{n}")) for n in range(20_001))
    data = commitment.build_action(CommitmentAction(UID("2.25.1"), many[:-1]))
    assert len(commitment.parse_action(data, values.EXPLICIT_LITTLE_ENDIAN).references) == 20_000
    data = commitment.build_action(CommitmentAction(UID("2.25.1"), many))
    with pytest.raises(DatasetRefused, match="20000") as refusal:
        commitment.parse_action(data, values.EXPLICIT_LITTLE_ENDIAN)
    assert refusal.value.dimse_status == 0x0115


@pytest.mark.parametrize(
    "elements",
    [
        [values.text_element(0x0008_1195, "2.25.1")],
        [values.Element(0x0008_1199, "SQ", b"", ({},))],
        [values.text_element(0x0008_1195, "../etc"), values.Element(0x0008_1199, "SQ", b"", ())],
        [values.text_element(0x0008_1195, "2.25.1"), values.Element(0x0008_1199, "SQ", b"", ({},))],
    ],
)
def test_what_is_missing_is_refused(elements: list[values.Element]) -> None:
    with pytest.raises(DatasetRefused, match="storage commitment"):
        commitment.parse_action(values.write_dataset(elements), values.EXPLICIT_LITTLE_ENDIAN)
