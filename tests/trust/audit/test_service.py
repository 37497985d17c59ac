"""The log keeps what it accepted, in order, for the right actor, and refuses where it cannot."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadglass.base.errors import AuditUnavailable, IntegrityError
from leadglass.base.limits import AUDIT_TOKENS_MAX
from leadglass.base.secret import Phi
from leadglass.trust.audit import service
from leadglass.trust.audit.bundle import InclusionBundle, parse_bundle, verify_bundle
from leadglass.trust.audit.checkpoint import parse_checkpoint_text
from leadglass.trust.audit.interfaces import Actor
from leadglass.trust.audit.journal import Journal, JournalView
from leadglass.trust.audit.merkle import CompactRange, hash_leaf
from leadglass.trust.audit.signed_note import parse_note
from leadglass.trust.audit.verify import Finding, verify_log
from trust.audit.site import ORIGIN, Site

TESTS = Path(__file__).resolve().parents[2]


def problems(site: Site) -> list[Finding]:
    return [f for f in verify_log(site.root, ORIGIN, [site.key], site.cipher) if isinstance(f, Finding)]


def test_what_was_recorded_is_read_back(site: Site) -> None:
    log = site.open()
    assert log.record(site.event(0)) == 0
    assert log.record(site.event(1, objects={}, detail={}), durable=False) == 1
    first, second = log.read(0, 99)
    assert first.leaf["event"] == "store:instance:stored"
    assert first.leaf["seq"] == 0
    assert first.payload == {
        "detail": {"name": "CANARY^DETAIL"},
        "objects": {"patient": ["CANARY^NAME"], "instance": ["1.2.826.0.0"]},
    }
    assert second.payload is None
    assert second.leaf["payload_commitment"] == ""
    site.cipher.destroyed = True
    assert next(log.read(0, 1)).payload is None


def test_canaries_are_found_in_no_file(site: Site) -> None:
    site.fill(300)
    for path in site.root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"CANARY" not in data
            assert b"1.2.826" not in data


def test_a_log_goes_on_after_it_was_closed(site: Site) -> None:
    site.fill(700)
    log = site.open()
    assert log.size() == 700
    assert log.checkpoint.size == 700
    log.record(site.event(700))
    assert log.seal().size == 701
    log.close()
    assert problems(site) == []


def test_segments_rotate_and_every_entry_is_found_again(site: Site) -> None:
    log = site.open(segment_bytes_max=20_000)
    for number in range(400):
        log.record(site.event(number), durable=number % 7 == 0)
    assert [e.sequence for e in log.read(0, 400)] == list(range(400))
    log.close()
    assert len(list((site.root / "journal").glob("*.journal"))) > 5
    view = JournalView(site.root / "journal", ORIGIN)
    assert [view.entry(n).sequence for n in (0, 399, 100, 57)] == [0, 399, 100, 57]
    with pytest.raises(IndexError):
        view.entry(400)
    next((site.root / "journal").glob("*.index")).unlink()
    assert site.open(segment_bytes_max=20_000).size() == 400
    assert problems(site) == []


def test_recorded_finds_events_by_their_id(site: Site) -> None:
    log = site.open()
    ids = [log.record(site.event(number)) for number in range(20)]
    assert ids == list(range(20))
    known, unknown = (3).to_bytes(16, "big"), (99).to_bytes(16, "big")
    code = log.read(3, 4).__next__().leaf["event"]
    assert log.recorded([known, unknown, b""], 0) == {known: code}
    assert log.recorded([known], 4) == {}


def test_one_process_writes(site: Site) -> None:
    site.open()
    with pytest.raises(AuditUnavailable):
        site.open()


def test_eight_threads_each_event_keeps_its_actor_and_no_number_is_missing(site: Site) -> None:
    log = site.open(segment_bytes_max=100_000)
    given_out: dict[int, tuple[str, int]] = {}
    barrier = threading.Barrier(8)

    def work(thread: int) -> None:
        barrier.wait()
        for n in range(60):
            event = site.event(n, principal=f"device:t{thread}", facts={"n": n}, correlation_id=f"c{thread}")
            given_out[log.record(event, durable=n % 3 == 0)] = (f"device:t{thread}", n)
            if n % 20 == 0:
                log.seal()

    threads = [threading.Thread(target=work, args=(t,)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given_out) == list(range(480))
    last: dict[str, int] = {}
    for entry in log.read(0, 480):
        actor, facts = entry.leaf["actor"], entry.leaf["facts"]
        assert isinstance(actor, dict)
        assert isinstance(facts, dict)
        assert given_out[entry.sequence] == (actor["principal"], facts["n"])
        assert entry.leaf["correlation"] == "c" + actor["principal"][-1]
        assert facts["n"] == last.get(actor["principal"], -1) + 1
        last[actor["principal"]] = facts["n"]
    log.close()
    assert problems(site) == []


def test_waiting_threads_share_a_sync(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one sync runs, all others wait for ONE more, not for one each."""
    journal = Journal(site.root / "journal", ORIGIN)
    started, go = threading.Event(), threading.Event()
    syncs: list[int] = []
    real = os.fdatasync

    def slow(fd: int) -> None:
        syncs.append(fd)
        if len(syncs) == 1:
            started.set()
            go.wait(10)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", slow)
    append = lambda: journal.append(lambda n: (b"leaf %d" % n, b""), durable=True)  # noqa: E731 - three threads run it
    threads = [threading.Thread(target=append) for _ in range(6)]
    threads[0].start()
    assert started.wait(10)
    for thread in threads[1:]:
        thread.start()
    while journal.size < 6:  # the others write while the first syncs
        threading.Event().wait(0.001)
    go.set()
    for thread in threads:
        thread.join()
    assert len(syncs) == 2
    journal.close()


def test_nothing_is_accepted_after_a_failed_sync(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    log = site.open()
    log.record(site.event(0))

    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        with pytest.raises(AuditUnavailable, match="Input/output"):
            log.record(site.event(1))
    for attempt in (lambda: log.record(site.event(2)), log.sync, log.seal):
        with pytest.raises(AuditUnavailable):
            attempt()
    log.close()
    assert site.open().record(site.event(3)) == 2  # entry 1 was in the file after all


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("a 1 MiB tmpfs cannot be mounted here")
    return folder


def test_a_full_disk_loses_nothing_that_was_accepted(small_disk: Path) -> None:
    site = Site(small_disk / "audit")
    try:
        log = site.open()
        accepted = 0
        while not log.failed:
            try:
                log.record(site.event(accepted), durable=accepted % 10 == 0)
            except AuditUnavailable:
                break
            accepted += 1
        assert accepted > 100
        with pytest.raises(AuditUnavailable):
            log.record(site.event(0))
        log.close()
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
        log = site.open()
        assert log.size() == accepted
        assert log.record(site.event(accepted)) == accepted
        log.close()
        assert [f for f in problems(site) if f.severity == "error"] == []
    finally:
        site.close()
        subprocess.run(["umount", "-l", str(small_disk)], check=True)


LEAF = b'{"payload_commitment":"","seq":%d,"taken":"2026-11-22T09:00:00.000000Z","v":1}'

CHILD = """
import sys, threading
from pathlib import Path
from trust.audit.site import Site
site = Site(Path(sys.argv[1]))
log = site.open(segment_bytes_max=50_000)
lock = threading.Lock()
def work(thread):
    n = 0
    while True:
        durable = n % 2 == 0
        sequence = log.record(site.event(n, principal=f"device:t{thread}"), durable=durable)
        with lock:
            sys.stdout.write(f"{sequence} device:t{thread}\\n")
            sys.stdout.flush()
        n += 1
        if n % 50 == 0:
            log.seal()
for t in range(4):
    threading.Thread(target=work, args=(t,)).start()
"""


@pytest.mark.parametrize("answers", [1, 137, 600])
def test_kill_9_loses_nothing_that_was_answered(site: Site, answers: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(site.root)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert child.stdout is not None
    heard = [child.stdout.readline() for _ in range(answers)]
    child.send_signal(signal.SIGKILL)
    heard += child.stdout.read().splitlines(keepends=True)
    child.wait()
    child.stdout.close()
    answered = dict(line.split() for line in heard if line.endswith("\n"))
    log = site.open()
    kept = {str(e.sequence): e.leaf["actor"]["principal"] for e in log.read(0, log.size())}  # type: ignore[index]  # decoded JSON
    assert answered.items() <= kept.items()
    assert sorted(map(int, kept)) == list(range(log.size()))
    log.close()
    assert [f for f in problems(site) if f.severity == "error"] == []


@pytest.mark.parametrize("cut", [1, 5, 13, 200, 401])
def test_a_torn_tail_is_cut_and_kept_aside(site: Site, cut: int) -> None:
    site.fill(50)
    journal = Journal(site.root / "journal", ORIGIN)
    for n in range(50, 55):
        journal.append(lambda n: (LEAF % n, b""), durable=False)
    journal.close()
    path = site.root / "journal" / f"{0:020d}.journal"
    os.truncate(path, path.stat().st_size - cut)
    log = site.open()
    assert 50 <= log.size() < 55
    size = log.size()
    log.record(site.event(9))
    log.close()
    found = problems(site)
    assert all(f.severity == "warning" for f in found)
    torn = list((site.root / "journal").glob("*.torn"))
    assert bool(torn) == bool(log.cut_bytes)
    assert [f.where for f in found if f.where.endswith(".torn")] == [f"journal/{p.name}" for p in torn]
    assert size + 1 == site.open().size()


def test_tiles_that_are_missing_are_written_again_from_the_journal(site: Site) -> None:
    site.fill(600)
    before = {p: p.read_bytes() for p in (site.root / "tile").rglob("*") if p.is_file()}
    for path in before:
        path.unlink()
    site.open().close()
    assert problems(site) == []
    for path in (site.root / "tile").rglob("*"):
        assert path.is_dir() or before[path] == path.read_bytes()


def test_a_crash_between_state_and_checkpoint_is_made_up(site: Site) -> None:
    log = site.open()
    log.record(site.event(0))
    log.seal()
    checkpoint = (site.root / "checkpoint").read_bytes()
    log.record(site.event(1))
    log.close()
    # As if the process died before it was named: then none was kept either.
    (site.root / "checkpoint").write_bytes(checkpoint)
    (site.root / "checkpoints" / f"{2:020d}").unlink()
    site.open().close()
    assert (site.root / "checkpoint").read_bytes().split(b"\n")[1] == b"2"
    assert problems(site) == []


def test_sealing_nothing_new_signs_nothing(site: Site) -> None:
    log = site.open()
    log.record(site.event(0))
    log.seal()
    signed = site.key.signed
    log.seal()
    assert site.key.signed == signed


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(max_size=30),
    ugly=st.sampled_from(["\udcff", "\x00", "\x1b[31m", "\r\n", '"', "\\", "\u2028", "😀"]),
)
def test_no_string_breaks_an_entry(site: Site, text: str, ugly: str) -> None:
    log = site.open()
    value = text + ugly
    event = site.event(
        0,
        actor=Actor(value, value, value, value),
        objects={"patient": [value], "study": {value}},
        facts={"reason": value, "n": 2**62, "yes": True},
        detail={"path": value, "deep": [{"a": (value,)}], "phi": Phi(value), "raw": b"\xff"},
        correlation_id=value,
        rules=(value,),
    )
    sequence = log.record(event, durable=False)
    (entry,) = log.read(sequence, sequence + 1)
    expected = value.encode("utf-8", "backslashreplace").decode()
    assert entry.leaf["correlation"] == expected
    assert entry.payload is not None
    assert entry.payload["detail"]["phi"] == expected  # type: ignore[index]  # decoded JSON
    raw = JournalView(site.root / "journal", ORIGIN).entry(sequence).leaf
    assert not any(octet < 0x20 for octet in raw)
    log.close()


def test_an_event_over_twenty_thousand_objects_is_taken(site: Site) -> None:
    log = site.open()
    uids = [f"1.2.826.0.1.3680043.{n}" for n in range(20_000)]
    log.record(site.event(0, objects={"instance": uids}))
    (entry,) = log.read(0, 1)
    assert entry.leaf["objects_omitted"] == {"instance": 20_000 - AUDIT_TOKENS_MAX}
    assert entry.payload is not None
    assert entry.payload["objects"] == {"instance": uids}


def test_what_cannot_be_recorded_is_refused_and_the_log_goes_on(site: Site) -> None:
    log = site.open()
    for bad in (
        {"detail": {"x": object()}},
        {"at": site.clock.now().replace(tzinfo=None)},
        {"detail": {"x": "y" * 9_000_000}},
        {"facts": {f"k{n}": "v" for n in range(20_000)}},
    ):
        with pytest.raises(AuditUnavailable):
            log.record(site.event(0, **bad))
    assert log.record(site.event(0, facts={"reason": "long " * 20_000})) == 0
    site.cipher.seal_payload = broken_cipher  # type: ignore[method-assign]  # a key that went away
    with pytest.raises(AuditUnavailable):
        log.record(site.event(1))
    assert log.record(site.event(1, objects={}, detail={})) == 1


def broken_cipher(plaintext: bytes, associated: bytes) -> bytes:
    raise IntegrityError("no key")


def test_an_inclusion_bundle_proves_one_entry_far_from_the_log(site: Site) -> None:
    site.fill(300)
    log = site.open()
    for sequence in (0, 255, 256, 299):
        bundle = parse_bundle(log.inclusion_bundle(sequence).to_json())
        leaf, checkpoint = verify_bundle(bundle, ORIGIN, [site.key])
        assert leaf["seq"] == sequence
        assert checkpoint.size == 300
    with pytest.raises(IndexError):
        log.inclusion_bundle(300)
    forged = bundle.leaf.replace(b"device:ct1", b"device:ct2")
    for other in (
        InclusionBundle(299, forged, bundle.proof, bundle.checkpoint),
        InclusionBundle(298, bundle.leaf, bundle.proof, bundle.checkpoint),
        InclusionBundle(299, bundle.leaf, bundle.proof[:-1], bundle.checkpoint),
        InclusionBundle(299, bundle.leaf, bundle.proof, bundle.checkpoint.replace(b"300", b"301")),
    ):
        with pytest.raises(IntegrityError):
            verify_bundle(other, ORIGIN, [site.key])
    for garbage in (b"", b"{}", b"[1]", b"\xff"):
        with pytest.raises(IntegrityError):
            parse_bundle(garbage)


@pytest.mark.parametrize(("held", "octets"), [(0, 2048), (3, 2048), (100, 0), (100, 800)])
def test_leaves_in_memory_and_leaves_read_back_make_one_tree(
    site: Site, monkeypatch: pytest.MonkeyPatch, held: int, octets: int
) -> None:
    """Whatever is held and whatever is not, the tree is that of the journal."""
    monkeypatch.setattr(service, "AUDIT_RECENT_LEAVES_MAX", held)
    monkeypatch.setattr(service, "AUDIT_RECENT_LEAF_BYTES_MAX", octets)
    log = site.open(segment_bytes_max=100_000)
    for number in range(700):
        log.record(site.event(number, facts={"why": "x" * (number % 7 * 60)}), durable=False)
        if number in {0, 90, 255, 256, 600}:
            log.seal()
    log.close()
    tree = CompactRange()
    for entry in JournalView(site.root / "journal", ORIGIN).entries(0, 700):
        tree.append(hash_leaf(entry.leaf))
    assert parse_checkpoint_text(parse_note((site.root / "checkpoint").read_bytes()).text).root == tree.root()
    assert problems(site) == []


def test_no_leaf_is_held_once_it_is_sealed(site: Site) -> None:
    log = site.open()
    for number in range(50):
        log.record(site.event(number), durable=False)
    assert len(log._recent) == 50
    log.seal()
    assert not log._recent


def test_an_entry_whose_write_failed_is_in_no_tree(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    log = site.open()
    log.record(site.event(0))

    def broken(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", broken)
        with pytest.raises(AuditUnavailable):
            log.record(site.event(1), durable=False)
    with pytest.raises(AuditUnavailable):
        log.seal()
    log.close()
    log = site.open()
    assert log.size() == 1
    log.close()
    assert [f for f in problems(site) if f.severity == "error"] == []
