"""Whoever changes a log is found out (attack S67), and a log that nobody changed is not accused."""

import random as chooser  # noqa: TID251 - which octet is flipped is no secret
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from leadglass.base.errors import IntegrityError
from leadglass.trust.audit.interfaces import Actor
from leadglass.trust.audit.journal import (
    HEADER_BYTES,
    Entry,
    encode_record,
    segment_header,
    walk_segment,
)
from leadglass.trust.audit.leaf import payload_context
from leadglass.trust.audit.reader import LogReader
from leadglass.trust.audit.verify import Finding, Severity, Verified, verify_log
from trust.audit.site import ORIGIN, Site, TestKey


def findings(site: Site, *, pinned: tuple[bytes, ...] = (), key: TestKey | None = None) -> list[Finding]:
    found = list(verify_log(site.root, ORIGIN, [key or site.key], site.cipher, pinned=pinned))
    assert isinstance(found[-1], Verified)
    problems = [f for f in found if isinstance(f, Finding)]
    assert found[-1].errors == sum(f.severity is Severity.ERROR for f in problems)
    return problems


def errors(site: Site, *, pinned: tuple[bytes, ...] = ()) -> list[Finding]:
    return [f for f in findings(site, pinned=pinned) if f.severity is Severity.ERROR]


def journal_file(site: Site) -> Path:
    return site.root / "journal" / f"{0:020d}.journal"


def entries(site: Site) -> list[Entry]:
    return [e for _, e, _ in walk_segment(journal_file(site), 0, ORIGIN) if e is not None]


def rewrite(site: Site, kept: list[Entry]) -> None:
    """Write a journal as an attacker would: with right lengths and checksums."""
    records = [encode_record(n, e.leaf, e.sealed) for n, e in enumerate(kept)]
    journal_file(site).write_bytes(segment_header(0, ORIGIN) + b"".join(records))


def edit(all_entries: list[Entry]) -> list[Entry]:
    changed = all_entries[40].leaf.replace(b"device:ct1", b"device:ct9")
    return [*all_entries[:40], Entry(40, changed, all_entries[40].sealed), *all_entries[41:]]


def delete(all_entries: list[Entry]) -> list[Entry]:
    return all_entries[:40] + all_entries[41:]


def delete_and_renumber(all_entries: list[Entry]) -> list[Entry]:
    rest = [
        Entry(n, e.leaf.replace(b'"seq":%d,' % (n + 1), b'"seq":%d,' % n), e.sealed)
        for n, e in enumerate(all_entries[41:], 40)
    ]
    return all_entries[:40] + rest


def reorder(all_entries: list[Entry]) -> list[Entry]:
    return [*all_entries[:40], all_entries[41], all_entries[40], *all_entries[42:]]


def truncate(all_entries: list[Entry]) -> list[Entry]:
    return all_entries[:40]


def swap_payloads(all_entries: list[Entry]) -> list[Entry]:
    a, b = all_entries[40], all_entries[41]
    return [*all_entries[:40], Entry(40, a.leaf, b.sealed), Entry(41, b.leaf, a.sealed), *all_entries[42:]]


def drop_payload(all_entries: list[Entry]) -> list[Entry]:
    return [*all_entries[:40], Entry(40, all_entries[40].leaf, b""), *all_entries[41:]]


ATTACKS = [edit, delete, delete_and_renumber, reorder, truncate, swap_payloads, drop_payload]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_changed_journal_is_found_and_the_entry_is_named(
    site: Site, attack: Callable[[list[Entry]], list[Entry]]
) -> None:
    site.fill(60)
    rewrite(site, attack(entries(site)))
    found = errors(site)
    assert any("entr" in f.where + f.what and "40" in f.where + f.what for f in found), found


@pytest.mark.parametrize("attack", [edit, delete, delete_and_renumber, reorder, truncate])
def test_a_server_does_not_go_on_from_another_past(
    site: Site, attack: Callable[[list[Entry]], list[Entry]]
) -> None:
    site.fill(60)
    rewrite(site, attack(entries(site)))
    before = journal_file(site).read_bytes()
    with pytest.raises(IntegrityError):
        site.open()
    assert journal_file(site).read_bytes() == before


def test_a_server_also_notices_an_edit_in_tiles_that_are_full(site: Site) -> None:
    site.fill(600)
    rewrite(site, edit(entries(site)))
    with pytest.raises(IntegrityError):
        site.open()


@pytest.mark.parametrize("attack", [edit, delete_and_renumber, truncate])
def test_an_attacker_who_also_writes_new_tiles_and_states_cannot_sign(
    site: Site, attack: Callable[[list[Entry]], list[Entry]]
) -> None:
    """The whole log is made again from altered entries, with a key of the attacker's own."""
    site.fill(60)
    other = Site(site.root.with_name("forged"))
    other.key = TestKey(b"e" * 32)
    other.open().close()
    rewrite(other, attack(entries(site)))
    other.open().close()
    shutil.rmtree(site.root)
    shutil.copytree(other.root, site.root)
    assert any(f.where == "checkpoint" and "known key" in f.what for f in errors(site))
    with pytest.raises(IntegrityError):
        site.open()


def test_a_fork_is_found_by_a_checkpoint_kept_elsewhere_even_with_the_right_key(site: Site) -> None:
    site.fill(30)
    pinned = (site.root / "checkpoint").read_bytes()
    shutil.rmtree(site.root)
    site.fill(29)
    log = site.open()
    log.record(site.event(29, actor=Actor("device:other")))
    log.close()
    assert errors(site) == []
    assert [f.where for f in errors(site, pinned=(pinned,))] == ["pinned checkpoint 1"]


def test_a_log_put_back_as_it_was_is_found_by_a_checkpoint_kept_elsewhere(site: Site) -> None:
    site.fill(30)
    old = site.root.with_name("old")
    shutil.copytree(site.root, old)
    log = site.open()
    log.record(site.event(30))
    log.close()
    pinned = (site.root / "checkpoint").read_bytes()
    shutil.rmtree(site.root)
    shutil.copytree(old, site.root)
    assert errors(site) == []  # the truth about a log without a witness: docs/THREATS.md says so
    (found,) = errors(site, pinned=(pinned,))
    assert "truncated" in found.what


def test_an_older_checkpoint_put_back_is_found(site: Site) -> None:
    site.fill(30)
    old = (site.root / "checkpoint").read_bytes()
    log = site.open()
    log.record(site.event(30))
    log.seal()
    log.close()
    state = (site.root / "signer-state").read_bytes()
    (site.root / "signer-state").write_bytes(b"\n".join([*old.split(b"\n")[:3], b""]))
    with pytest.raises(IntegrityError, match="put back"):
        site.open()
    assert any(f.where == "signer-state" for f in errors(site))
    (site.root / "signer-state").write_bytes(state)
    assert errors(site) == []


def test_a_clock_set_back_is_flagged(site: Site) -> None:
    log = site.open()
    log.record(site.event(0))
    site.clock.advance(-3600)
    log.record(site.event(1))
    log.close()
    (found,) = findings(site)
    assert (found.severity, found.where) == (Severity.WARNING, "entry 1")
    assert "clock set back" in found.what


def test_a_destroyed_payload_key_is_no_finding(site: Site) -> None:
    site.fill(5)
    site.cipher.destroyed = True
    assert findings(site) == []


def test_another_payload_under_the_right_key_is_not_what_the_leaf_committed_to(site: Site) -> None:
    """Who holds the payload key can seal other words, but the leaf was signed for the first ones."""
    site.fill(5)
    kept = entries(site)
    other = site.cipher.seal_payload(b"r" * 32 + b'{"detail":{},"objects":{}}', payload_context(3, ORIGIN))
    rewrite(site, [*kept[:3], Entry(3, kept[3].leaf, other), kept[4]])
    (found,) = errors(site)
    assert found.where == "entry 3"
    assert "payload" in found.what
    assert LogReader(site.root, ORIGIN, site.cipher).entry(3).payload is None


def test_every_file_of_the_log_is_accounted_for(site: Site) -> None:
    site.fill(10)
    (site.root / "journal" / "note.txt").write_bytes(b"")
    (site.root / "tile" / "0" / "001").write_bytes(b"x" * 32)
    (site.root / "link").symlink_to(site.root / "checkpoint")
    assert {f.where for f in errors(site)} == {"journal/note.txt", "tile/0/001", "link"}


def test_any_missing_file_is_found(site: Site) -> None:
    log = site.open(segment_bytes_max=150_000)
    for number in range(300):
        log.record(site.event(number), durable=False)
    log.close()
    assert findings(site) == []
    for path in [p for p in site.root.rglob("*") if p.is_file() and p.parent.name != "checkpoints"]:
        data = path.read_bytes()
        path.unlink()
        assert findings(site), path
        path.write_bytes(data)
    assert findings(site) == []


def test_any_flipped_octet_of_any_file_is_found(site: Site) -> None:
    """Every octet of the small files, and many of the large ones."""
    log = site.open(segment_bytes_max=18_000)
    for number in range(30):
        log.record(site.event(number), durable=False)
        if number in {10, 20}:
            site.clock.advance(4000)
            log.seal()
    log.close()
    draw = chooser.Random(67)
    files = sorted(p for p in site.root.rglob("*") if p.is_file())
    assert {p.parent.name for p in files} >= {"journal", "checkpoints", "000.p"}
    for path in files:
        data = path.read_bytes()
        heads = [*range(HEADER_BYTES + 8), len(data) - 1]
        places = {*heads, *draw.sample(range(len(data)), min(len(data), 12))}
        for place in sorted(p for p in places if p < len(data)):
            changed = bytearray(data)
            changed[place] ^= 1 << draw.randrange(8)
            path.write_bytes(changed)
            assert findings(site), f"{path.name} at {place}"
        path.write_bytes(data)
    assert findings(site) == []


def test_one_damaged_entry_does_not_hide_the_others(site: Site) -> None:
    site.fill(60)
    data = bytearray(journal_file(site).read_bytes())
    offsets = [offset for offset, _, _ in walk_segment(journal_file(site), 0, ORIGIN)]
    for number in (10, 50):
        data[offsets[number] + 20] ^= 1
    journal_file(site).write_bytes(data)
    assert {"entry 10", "entry 50"} <= {f.where for f in errors(site)}
    data[offsets[20]] ^= 0xFF  # now the length of a record: the rest is judged by the entry bundle
    journal_file(site).write_bytes(data)
    found = errors(site)
    assert "entries 20 to 59" in {f.where for f in found}
    assert not any("altered" in f.what for f in found)
