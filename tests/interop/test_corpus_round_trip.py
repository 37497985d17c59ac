"""Every file of the corpus, as octets: held and given back identical, or refused with the status that is due.

What is due is told by pydicom and by a few rules, not by us.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from corpus import CORPUS, needs_corpus
from interop.conftest import Devices
from interop.part10 import may_say_the_same, raw_object
from interop.peers import RawObject, associate, contexts_of, get_raw, keys, store_raw
from running_node import Site

pytestmark = [needs_corpus, pytest.mark.timeout(280)]

DUPLICATE = 0x0111
IN_OTHER_ENCODING = 0xB000
INVALID_INSTANCE = 0x0117
NOT_AS_ITS_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
NOT_OFFERED = -1
"""The presentation context was rejected, so nothing could be sent."""

NOT_DECODABLE = {
    "broken/pydicom-data__emri_small_jpeg_2k_lossless_too_short.dcm": "ends inside a sequence",
    "broken/pydicom__MR_truncated.dcm": "ends inside the value",
    "broken/pydicom__rtplan_truncated.dcm": "ends inside the value",
    "transfer-syntax/pydicom-small/pydicom__SC_rgb_jpeg.dcm": "no value representation",
}
"""Cut short, or implicit VR in an explicit VR transfer syntax: reason by path."""

NO_COMPOSITE_OBJECTS = ("1.2.840.10008.1.3.10", "1.2.840.10008.5.1.4.39.1")
"""Media Storage Directory, and Color Palette, which belongs to no patient and no study (PS3.4 Annex GG)."""

CONTEXTS = 100


@dataclass(frozen=True)
class Sent:
    """One file on its way, and what the node said."""

    path: str
    item: RawObject
    status: int
    comment: str


@dataclass(frozen=True)
class RoundTrip:
    """All of it, done once."""

    node: Site
    devices: Devices
    nameless: list[str]
    sent: list[Sent]
    fetched: Mapping[str, RawObject]


@pytest.fixture(scope="module")
def round_trip(node: Site, devices: Devices) -> RoundTrip:
    objects: dict[str, RawObject] = {}
    nameless: list[str] = []
    for path in manifest_paths():
        item = raw_object(CORPUS / path)
        if item is None:
            nameless.append(path)
        else:
            objects[path] = item
    sent = list(store(node, devices, objects))
    held = {entry.item.sop_instance_uid: entry.item for entry in sent if entry.status == 0}
    return RoundTrip(node, devices, nameless, sent, fetch(node, devices, held))


def manifest_paths() -> list[str]:
    with (CORPUS / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        return [row["path"] for row in csv.DictReader(file) if row["kind"] == "dicom"]


def store(node: Site, devices: Devices, objects: Mapping[str, RawObject]) -> Iterator[Sent]:
    encodings = list(dict.fromkeys(item.encoding for item in objects.values()))
    for start in range(0, len(encodings), CONTEXTS):
        part = encodings[start : start + CONTEXTS]
        with associate(node, devices.modality, contexts_of(part)) as association:
            offered = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
            for path, item in objects.items():
                if item.encoding in offered:
                    yield Sent(path, item, *store_raw(association, item))
                elif item.encoding in part:
                    yield Sent(path, item, NOT_OFFERED, "")


def fetch(node: Site, devices: Devices, held: Mapping[str, RawObject]) -> dict[str, RawObject]:
    """Fetch study by study, as many in one C-GET as its presentation contexts can carry."""
    encodings_of: dict[str, set[tuple[str, str]]] = {}
    for item in held.values():
        encodings_of.setdefault(item.study_uid, set()).add(item.encoding)
    fetched: list[RawObject] = []
    studies: list[str] = []
    encodings: set[tuple[str, str]] = set()
    for study, more in encodings_of.items():
        if len(encodings | more) > CONTEXTS:
            fetched += get_studies(node, devices, studies, encodings)
            studies, encodings = [], set()
        studies.append(study)
        encodings |= more
    fetched += get_studies(node, devices, studies, encodings)
    assert len({item.sop_instance_uid for item in fetched}) == len(fetched)
    return {item.sop_instance_uid: item for item in fetched}


def get_studies(
    node: Site, devices: Devices, studies: list[str], encodings: set[tuple[str, str]]
) -> list[RawObject]:
    kept, final = get_raw(node, devices.workstation, keys("STUDY", StudyInstanceUID=studies), encodings)
    assert (final.Status, final.NumberOfFailedSuboperations) == (0, 0)
    assert final.NumberOfCompletedSuboperations == len(kept)
    return kept


def due(path: str, item: RawObject, held: Mapping[str, RawObject]) -> set[int]:
    """Return the statuses that may be due for an object that arrives now."""
    if item.sop_class_uid in NO_COMPOSITE_OBJECTS:
        return {NOT_OFFERED}
    if not set(item.sop_instance_uid) <= set("0123456789."):
        return {INVALID_INSTANCE}
    if path in NOT_DECODABLE:
        return {CANNOT_UNDERSTAND}
    if not item.study_uid or not item.series_uid:
        return {NOT_AS_ITS_CLASS}
    before = held.get(item.sop_instance_uid)
    if before is not None and (before.encoding, before.dataset) != (item.encoding, item.dataset):
        return {DUPLICATE, IN_OTHER_ENCODING} if may_say_the_same(before, item) else {DUPLICATE}
    return {0}


def test_each_object_gets_the_status_that_is_due(round_trip: RoundTrip) -> None:
    held: dict[str, RawObject] = {}
    wrong: list[str] = []
    for entry in round_trip.sent:
        expected = due(entry.path, entry.item, held)
        if entry.status not in expected:
            wrong.append(f"{entry.path}: {entry.status:04X} {entry.comment!r}, due was {expected}")
        if entry.status == 0:
            held.setdefault(entry.item.sop_instance_uid, entry.item)
    assert wrong == []
    assert len(round_trip.sent) + len(round_trip.nameless) == len(manifest_paths())
    assert len(held) > 300
    statuses = [entry.status for entry in round_trip.sent]
    assert statuses.count(IN_OTHER_ENCODING) > 0
    assert statuses.count(DUPLICATE) > statuses.count(IN_OTHER_ENCODING)


def test_what_was_taken_comes_back_octet_by_octet(round_trip: RoundTrip) -> None:
    first: dict[str, RawObject] = {}
    for entry in round_trip.sent:
        if entry.status == 0:
            first.setdefault(entry.item.sop_instance_uid, entry.item)
    assert set(round_trip.fetched) == set(first)
    different = [
        uid
        for uid, item in first.items()
        if (round_trip.fetched[uid].encoding, round_trip.fetched[uid].dataset)
        != (item.encoding, item.dataset)
    ]
    assert different == []


def test_each_refusal_says_why_and_is_on_record(round_trip: RoundTrip) -> None:
    refused = [entry for entry in round_trip.sent if entry.status not in {0, NOT_OFFERED, IN_OTHER_ENCODING}]
    assert all(entry.comment for entry in refused)
    for entry in refused:
        if entry.status == CANNOT_UNDERSTAND:
            assert NOT_DECODABLE[entry.path] in entry.comment
    shown = round_trip.node.on_site("audit", "show", "--event", "store:", "--limit", "5000")["entries"]
    on_record = [
        (entry["facts"]["status"], entry["facts"]["reason"])
        for entry in shown
        if entry["event"] == "store:instance:refused"
    ]
    kept_apart = [entry for entry in shown if entry["event"] == "store:instance:quarantined"]
    assert sorted(status for status, _ in on_record) == sorted(
        entry.status for entry in refused if entry.status != DUPLICATE
    )
    assert all(reason for _, reason in on_record)
    assert len(kept_apart) == sum(entry.status == DUPLICATE for entry in refused)


def test_a_resend_by_our_own_scu_changes_nothing(round_trip: RoundTrip) -> None:
    node = round_trip.node
    rows = node.on_site("vault", "verify")["rows"]
    answer = node.run(
        "send", "--device", str(round_trip.devices.modality.toml), "--json", str(CORPUS / "broken"),
        str(CORPUS / "transfer-syntax"), str(CORPUS / "dicomdir"), status=7,
    )  # fmt: skip
    assert '"sent": ' in answer.stdout
    verified = node.on_site("vault", "verify")
    assert (verified["rows"], verified["findings"]) == (rows, [])


def test_vault_and_audit_log_are_whole(round_trip: RoundTrip) -> None:
    verified = round_trip.node.on_site("vault", "verify")
    assert verified["findings"] == []
    assert verified["rows"] == len(round_trip.fetched)
    assert round_trip.node.on_site("audit", "verify")["errors"] == 0
