"""Files that say what was signed are taken away between two starts: the log must not begin anew over its own past."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from leadglass.base.errors import IntegrityError
from leadglass.trust.audit.checkpoint import parse_checkpoint_text
from leadglass.trust.audit.past import checkpoint_name
from leadglass.trust.audit.service import FileAuditLog
from leadglass.trust.audit.signed_note import parse_note
from trust.audit.site import ORIGIN, Site


def forget_kept(root: Path) -> None:
    for path in (root / "checkpoints").iterdir():
        path.unlink()


def forget_head(root: Path) -> None:
    (root / "checkpoint").unlink()
    (root / "signer-state").unlink()


def forget_all_signed(root: Path) -> None:
    forget_head(root)
    forget_kept(root)
    shutil.rmtree(root / "tile")


def forget_checkpoint(root: Path) -> None:
    (root / "checkpoint").unlink()


def forget_state(root: Path) -> None:
    (root / "signer-state").unlink()


def forget_entries(root: Path) -> None:
    forget_head(root)
    shutil.rmtree(root / "journal")
    shutil.rmtree(root / "tile")


@pytest.mark.parametrize(
    ("take_away", "named"),
    [
        (forget_head, "checkpoint and signer-state"),
        (forget_all_signed, "checkpoint and signer-state"),
        (forget_checkpoint, "checkpoint is missing"),
        (forget_state, "signer-state is missing"),
        (forget_entries, "checkpoint and signer-state"),
    ],
)
def test_what_was_taken_away_is_named_and_nothing_is_signed(
    site: Site, take_away: Callable[[Path], None], named: str
) -> None:
    site.fill(300, seal_every=100)
    signed = site.key.signed
    take_away(site.root)
    before = {p: p.read_bytes() for p in site.root.rglob("*") if p.is_file()}
    with pytest.raises(IntegrityError, match=named) as caught:
        site.open()
    assert caught.value.hint
    assert site.key.signed == signed
    assert before == {p: p.read_bytes() for p in site.root.rglob("*") if p.is_file()}


def test_a_truncated_journal_without_its_signatures_is_not_signed_as_new(site: Site) -> None:
    """The attack that a missing checkpoint used to hide: the tail goes, and all that named it."""
    site.fill(300)
    forget_all_signed(site.root)
    path = next((site.root / "journal").glob("*.journal"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(IntegrityError, match="checkpoint"):
        site.open()


def test_a_single_torn_record_is_a_journal_too(site: Site) -> None:
    site.fill(1)
    forget_all_signed(site.root)
    path = next((site.root / "journal").glob("*.journal"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(IntegrityError, match="checkpoint"):
        site.open()


def test_an_older_head_put_back_is_older_than_what_was_kept(site: Site) -> None:
    site.fill(100)
    head = {name: (site.root / name).read_bytes() for name in ("checkpoint", "signer-state")}
    log = site.open()
    for number in range(100, 120):
        log.record(site.event(number), durable=False)
    log.close()
    for name, data in head.items():
        (site.root / name).write_bytes(data)
    with pytest.raises(IntegrityError, match=f"older than checkpoints/{checkpoint_name(120)}"):
        site.open()


@pytest.mark.parametrize("size", [0, 299, 301, 10**19])
def test_a_kept_checkpoint_under_another_name_is_refused(site: Site, size: int) -> None:
    site.fill(300)
    kept = site.root / "checkpoints" / checkpoint_name(300)
    kept.rename(kept.with_name(checkpoint_name(size)))
    with pytest.raises(IntegrityError, match="another name"):
        site.open()


def test_a_kept_checkpoint_that_is_not_signed_by_us_is_refused(site: Site) -> None:
    site.fill(300)
    kept = site.root / "checkpoints" / checkpoint_name(300)
    data = kept.read_bytes()
    kept.write_bytes(data[:-10] + bytes([data[-10] ^ 1]) + data[-9:])
    with pytest.raises(IntegrityError):
        site.open()


def test_an_emptied_folder_is_no_new_log_where_one_is_known_to_exist(site: Site) -> None:
    site.fill(10)
    shutil.rmtree(site.root)
    with pytest.raises(IntegrityError, match="are missing"):
        FileAuditLog(
            site.root, ORIGIN, site.cipher, site.key, site.clock, verifiers=(site.key,), must_exist=True
        )
    assert not site.root.exists()


@pytest.mark.parametrize("left", ["nothing", "journal", "signer-state"])
def test_a_first_start_that_died_on_its_way_is_made_up(site: Site, left: str) -> None:
    """Journal, state, checkpoint: in that order a new log comes to be."""
    site.open().close()
    forget_kept(site.root)
    (site.root / "checkpoint").unlink()
    if left != "signer-state":
        (site.root / "signer-state").unlink()
    if left == "nothing":
        shutil.rmtree(site.root / "journal")
    log = site.open()
    log.record(site.event(0))
    log.close()
    note = (site.root / "checkpoint").read_bytes()
    assert parse_checkpoint_text(parse_note(note).text).size == 1


def test_a_crash_behind_a_kept_checkpoint_goes_on(site: Site) -> None:
    site.fill(100)
    log = site.open()
    log.record(site.event(100))
    log.seal()  # signed, not kept: as after a crash
    site.close()
    (site.root / "checkpoints" / checkpoint_name(101)).unlink()
    assert site.open().size() == 101
