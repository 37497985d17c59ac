"""Every file of the corpus and of pydicom's own test data, in and out with dicomweb-client: identical octets.

The statuses that are due are those of C-STORE (test_corpus_round_trip), since one door behind both decides.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest

from corpus import CORPUS, needs_corpus
from interop.part10 import names_itself, raw_object_of
from interop.peers import RawObject
from interop.test_corpus_round_trip import (
    CANNOT_UNDERSTAND,
    INVALID_INSTANCE,
    NOT_AS_ITS_CLASS,
    NOT_OFFERED,
    due,
    manifest_paths,
)
from interop.web import Gateway, gateway, part10
from running_node import Site

pytestmark = [pytest.mark.interop, pytest.mark.timeout(280)]


CLASS_NOT_SUPPORTED = 0x0122
ON_THE_WEB = {NOT_OFFERED: CLASS_NOT_SUPPORTED, INVALID_INSTANCE: CANNOT_UNDERSTAND}
"""What DIMSE says otherwise. Source: PS3.18 Table I.2-2."""


@dataclass(frozen=True)
class Posted:
    path: str
    item: RawObject
    status: int


@pytest.fixture(scope="module")
def peer(node: Site) -> Iterator[Gateway]:
    with gateway(node, node.enrol("gateway", "GATEWAY", ["store", "query-retrieve"])) as opened:
        yield opened


@pytest.fixture(scope="module")
def posted(peer: Gateway) -> list[Posted]:
    return list(post(peer, {path: (CORPUS / path).read_bytes() for path in manifest_paths()}))


def post(peer: Gateway, contents: Mapping[str, bytes]) -> Iterator[Posted]:
    """Store file by file; one that is called what it is not is given a head of its own."""
    for path, octets in contents.items():
        item = raw_object_of(octets)
        if item is None:
            continue
        taken, refused = peer.post([octets if names_itself(octets) else part10(item)])
        ((uid, status),) = (taken | refused).items()
        assert uid in {item.sop_instance_uid, ""}
        yield Posted(path, item, status)


def first_of_each(sent: list[Posted]) -> dict[str, RawObject]:
    first: dict[str, RawObject] = {}
    for entry in sent:
        if entry.status == 0:
            first.setdefault(entry.item.sop_instance_uid, entry.item)
    return first


def retrieved(peer: Gateway, studies: set[str]) -> dict[str, RawObject]:
    objects: dict[str, RawObject] = {}
    for study in sorted(studies):
        for part in peer.get(f"/studies/{study}"):
            item = raw_object_of(part)
            assert item is not None
            assert item.sop_instance_uid not in objects
            objects[item.sop_instance_uid] = item
    return objects


@needs_corpus
def test_each_file_gets_the_status_that_is_due(posted: list[Posted]) -> None:
    held: dict[str, RawObject] = {}
    wrong: list[str] = []
    for entry in posted:
        expected = {ON_THE_WEB.get(status, status) for status in due(entry.path, entry.item, held)}
        if entry.status not in expected:
            wrong.append(f"{entry.path}: {entry.status:04X}, due was {expected}")
        if entry.status == 0:
            held.setdefault(entry.item.sop_instance_uid, entry.item)
    assert wrong == []
    assert len(held) > 300


@needs_corpus
def test_what_was_taken_comes_back_octet_by_octet(peer: Gateway, posted: list[Posted]) -> None:
    first = first_of_each(posted)
    back = retrieved(peer, {item.study_uid for item in first.values()})
    assert set(back) == set(first)
    assert [uid for uid, item in first.items() if back[uid] != item] == []


@needs_corpus
def test_each_instance_alone_is_the_same(peer: Gateway, posted: list[Posted]) -> None:
    for uid, item in list(first_of_each(posted).items())[::10]:
        (part,) = peer.get(f"/studies/{item.study_uid}/series/{item.series_uid}/instances/{uid}")
        assert raw_object_of(part) == item


@needs_corpus
def test_a_file_that_is_called_what_it_is_not_is_refused(peer: Gateway, posted: list[Posted]) -> None:
    """Its head names another object than its data set: to take it would be to choose between two truths."""
    misnamed = 0
    for path in manifest_paths():
        octets = (CORPUS / path).read_bytes()
        item = raw_object_of(octets)
        if item is None or octets[128:132] != b"DICM" or names_itself(octets):
            continue
        taken, refused = peer.post([octets])
        assert taken == {}, path
        assert set(refused.values()) <= {NOT_AS_ITS_CLASS, CANNOT_UNDERSTAND, CLASS_NOT_SUPPORTED}, path
        misnamed += 1
    assert misnamed > 10


def test_pydicoms_own_files_come_back_octet_by_octet(peer: Gateway) -> None:
    folder = Path(str(files("pydicom") / "data" / "test_files"))
    sent = list(post(peer, {path.name: path.read_bytes() for path in sorted(folder.glob("*.dcm"))}))
    first = first_of_each(sent)
    back = retrieved(peer, {item.study_uid for item in first.values()})
    assert [uid for uid, item in first.items() if back[uid] != item] == []
    assert len(first) > 25  # others of them share their UIDs
