"""A leaf is canonical JSON whatever it says: sorted keys, no white space, times of one length."""

from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.base.errors import AuditUnavailable
from leadglass.base.limits import AUDIT_LEAF_BYTES_MAX, AUDIT_TOKENS_MAX
from leadglass.trust.audit.interfaces import Actor, AuditEvent, EventCode, Outcome
from leadglass.trust.audit.leaf import LeafWriter, timestamp
from trust.audit.site import TestCipher

AT = datetime(2026, 11, 22, 9, 0, 0, 123456, UTC)
WRITER = LeafWriter(TestCipher())


def event(**more: Any) -> AuditEvent:  # noqa: ANN401 - a test overrides any field by name
    values: dict[str, Any] = {"code": EventCode.INSTANCE_STORED, "at": AT, "actor": Actor("p", "a", "b", "c")}
    return AuditEvent(**{**values, **more})


def leaf_of(taken: AuditEvent, sequence: int = 7, at: datetime = AT) -> bytes:
    return WRITER.draft(taken).leaf(sequence, at)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    event_code=st.sampled_from(EventCode),
    outcome=st.sampled_from(Outcome),
    who=st.tuples(texts, texts, texts, texts),
    objects=st.dictionaries(texts, st.lists(texts, max_size=5) | st.sets(texts, max_size=5), max_size=4),
    facts=st.dictionaries(texts, texts | st.integers(-(2**53), 2**53) | st.booleans(), max_size=6),
    rules=st.lists(texts, max_size=3).map(tuple),
    at=st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds are naive
)
def test_a_leaf_is_sorted_at_every_depth(
    event_code: EventCode,
    outcome: Outcome,
    who: tuple[str, str, str, str],
    objects: dict[str, Any],
    facts: dict[str, Any],
    rules: tuple[str, ...],
    at: datetime,
) -> None:
    taken = event(
        code=event_code, outcome=outcome, actor=Actor(*who), objects=objects, facts=facts, rules=rules, at=at
    )
    leaf = leaf_of(taken, at=at)
    decoded = msgspec.json.decode(leaf)
    assert msgspec.json.encode(decoded, order="sorted") == leaf
    assert decoded["actor"] == dict(zip(("principal", "ae", "address", "certificate"), who, strict=True))
    assert (decoded["event"], decoded["outcome"]) == (event_code.value, outcome.value)
    assert decoded["facts"] == facts
    assert decoded["rules"] == list(rules)
    assert decoded["at"] == decoded["taken"] == timestamp(at)


def test_the_octets_of_a_leaf_are_what_they_always_were() -> None:
    """Logs outlive versions of this program: a leaf of an event is one string of octets, for ever."""
    taken = event(
        facts={"octets": 5, "again": True},
        objects={"study": ["1.2"]},
        correlation_id="c",
        rules=("r1",),
        event_id=b"\x01\xff",
    )
    leaf = leaf_of(taken)
    committed = msgspec.json.decode(leaf)["payload_commitment"]
    token = TestCipher().token("study", "1.2").hex()
    assert len(committed) == 64
    assert leaf.decode() == (
        '{"actor":{"address":"b","ae":"a","certificate":"c","principal":"p"},'
        '"at":"2026-11-22T09:00:00.123456Z","correlation":"c","event":"store:instance:stored","event_id":"01ff",'
        f'"facts":{{"again":true,"octets":5}},"objects":{{"study":["{token}"]}},"outcome":"success",'
        f'"payload_commitment":"{committed}","rules":["r1"],"seq":7,"taken":"2026-11-22T09:00:00.123456Z","v":1}}'
    )


@pytest.mark.parametrize("microsecond", [0, 1, 10, 100_000, 999_999])
def test_times_have_one_length(microsecond: int) -> None:
    at = AT.replace(microsecond=microsecond)
    assert timestamp(at) == at.isoformat(timespec="microseconds")[:-6] + "Z"
    here = at.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert timestamp(here) == timestamp(at)
    decoded = msgspec.json.decode(leaf_of(event(at=here), at=at))
    assert decoded["at"] == decoded["taken"] == timestamp(at)
    assert msgspec.json.decode(leaf_of(event(at=at)))["at"] == timestamp(at)


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(AuditUnavailable):
        leaf_of(event(at=AT.replace(tzinfo=None)))


@pytest.mark.parametrize("facts", [MappingProxyType({"b": 1, "a": "x"}), OrderedDict([("b", 1), ("a", "x")])])
def test_any_mapping_and_any_collection_is_taken(facts: Any) -> None:  # noqa: ANN401 - two kinds of mapping
    for values in (("1",), ["1"], {"1"}, frozenset({"1"}), {"1": 0}.keys()):
        decoded = msgspec.json.decode(leaf_of(event(facts=facts, objects={"study": values})))
        assert decoded["facts"] == {"a": "x", "b": 1}
        assert decoded["objects"] == {"study": [TestCipher().token("study", "1").hex()]}


def test_a_leaf_that_is_too_long_is_cut_in_its_strings_only() -> None:
    uids = [f"1.{n}" for n in range(AUDIT_TOKENS_MAX + 5)]
    taken = event(
        actor=Actor("p" * 70_000, "a", "b", "c" * 300),
        facts={"why": "w" * 9_000, "n": 1},
        objects={"instance": uids},
        correlation_id="k" * 300,
        rules=("r" * 300,),
    )
    leaf = leaf_of(taken)
    decoded = msgspec.json.decode(leaf)
    assert len(leaf) <= AUDIT_LEAF_BYTES_MAX
    assert msgspec.json.encode(decoded, order="sorted") == leaf
    assert len(decoded["objects"]["instance"]) == AUDIT_TOKENS_MAX
    assert decoded["objects_omitted"] == {"instance": 5}
    assert decoded["facts"] == {"n": 1, "why": "w" * 256 + "…"}
    assert decoded["actor"]["principal"] == "p" * 256 + "…"
    assert decoded["rules"] == ["r" * 256 + "…"]
