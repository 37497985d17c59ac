"""An import takes what it can, says what it could not, goes on where it was, and writes no name anywhere."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.room import CT, EXPLICIT, OPERATOR, Image, Room, element, image
from leadglass.base.errors import AuditUnavailable, UsageError
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity
from leadglass.dicom.part10 import file_meta
from leadglass.doors.folder.importer import ImportProgress, ImportReport, files_below, import_folder

DICOMDIR = "1.2.840.10008.1.3.10"


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path / "room")
    yield made
    made.close()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def write(path: Path, one: Image, *, sop_class: str = CT) -> Path:
    identity = ObjectIdentity(
        UID(one.study), UID(one.series), UID(one.instance), UID(sop_class), UID(EXPLICIT)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file_meta(identity) + one.dataset)
    return path


def take(room: Room, folder: Path) -> ImportReport:
    token = room.keys.audit_cipher.token
    progress = ImportProgress(room.folder / "import.done", lambda text: token("import-file", text))
    return import_folder(folder, room.session(OPERATOR), progress, lambda _done, _total: None)


def test_everything_below(room: Room, disk: Path) -> None:
    images = [image(number) for number in range(3)]
    for number, one in enumerate(images):
        write(disk / "/".join("abc"[: number + 1]) / f"{number}.dcm", one)
    report = take(room, disk)
    assert (report.files, report.stored, report.refused) == (3, 3, [])
    for one in images:
        assert room.held(one) == one.dataset
    assert room.index.closed_packs() == set(room.vault.pack_ids())
    assert room.verify().findings == []


def test_again_reads_nothing_but_what_changed(room: Room, disk: Path) -> None:
    write(disk / "a.dcm", image(1))
    changed = write(disk / "b.dcm", image(2))
    take(room, disk)
    again = take(room, disk)
    assert (again.done_before, again.stored, again.octets) == (2, 0, 0)
    os.utime(changed, ns=(1, 1))
    third = take(room, disk)
    assert (third.done_before, third.already_held) == (1, 1)
    write(changed, image(3))
    fourth = take(room, disk)
    assert (fourth.done_before, fourth.stored) == (1, 1)


def test_an_interrupted_import_goes_on_where_it_was(room: Room, disk: Path) -> None:
    for number in range(5):
        write(disk / f"{number}.dcm", image(number))
    token = room.keys.audit_cipher.token
    progress = ImportProgress(room.folder / "import.done", lambda text: token("import-file", text))

    def interrupt(done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_folder(disk, room.session(OPERATOR), progress, interrupt)
    report = take(room, disk)
    assert (report.done_before, report.stored) == (3, 2)
    assert room.verify().findings == []


def test_a_progress_file_that_was_cut_costs_a_second_look(room: Room, disk: Path) -> None:
    for number in range(3):
        write(disk / f"{number}.dcm", image(number))
    take(room, disk)
    done = room.folder / "import.done"
    done.write_bytes(done.read_bytes()[:-5])
    report = take(room, disk)
    assert (report.done_before, report.already_held) == (2, 1)


def test_refusals_are_named_and_the_rest_is_taken(room: Room, disk: Path) -> None:
    write(disk / "good.dcm", image(1))
    (disk / "notes.txt").write_text("hello")
    (disk / "empty").touch()
    cut = write(disk / "cut.dcm", image(2))
    cut.write_bytes(cut.read_bytes()[:-40])
    write(disk / "other.dcm", image(1, filling=b"OTHER CONTENT"))
    write(disk / "DICOMDIR", image(3), sop_class=DICOMDIR)
    report = take(room, disk)
    refused = {row.path: row.code for row in report.refused}
    assert refused == {
        "notes.txt": "LG-0402",
        "empty": "LG-0402",
        "cut.dcm": "LG-0402",
        "other.dcm": "LG-0403",
        "DICOMDIR": "LG-0402",
    }
    assert "DICOMDIR" in next(row.reason for row in report.refused if row.path == "DICOMDIR")
    assert report.stored == 1
    # What was refused is not done: it is looked at again, and refused again.
    assert len(take(room, disk).refused) == 5


def test_links_are_not_followed(room: Room, disk: Path, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "secret.dcm", image(9))
    write(disk / "a.dcm", image(1))
    (disk / "link.dcm").symlink_to(outside)
    (disk / "folder").symlink_to(outside.parent)
    (disk / "loop").symlink_to(disk)
    os.mkfifo(disk / "pipe")
    assert [path.name for path in files_below(disk)] == ["a.dcm"]
    assert take(room, disk).files == 1
    assert room.index.lookup(UID(image(9).instance)) is None


def test_no_name_of_a_file_is_written_down(room: Room, disk: Path) -> None:
    write(disk / "CANARY^ANNA" / "1961.dcm", image(1))
    take(room, disk)
    for path in room.folder.rglob("*"):
        if path.is_file():
            octets = path.read_bytes().lower()
            assert b"canary" not in octets, path
            assert b"1961.dcm" not in octets, path


def test_a_file_without_file_meta_is_asked_itself(room: Room, disk: Path) -> None:
    (disk / "bare").write_bytes(image(1).dataset)
    assert take(room, disk).stored == 1
    assert room.held(image(1)) == image(1).dataset
    (disk / "nothing").write_bytes(element(0x00080005, "CS", b"ISO_IR 100"))
    assert [row.path for row in take(room, disk).refused] == ["nothing"]


def test_a_file_that_vanished_or_may_not_be_read(
    room: Room, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(disk / "a.dcm", image(1))
    gone = write(disk / "b.dcm", image(2))
    write(disk / "c.dcm", image(3))
    real = Path.open

    def vanishing(self: Path, *args: str, **more: int) -> object:
        if self == gone:
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **more)  # type: ignore[call-overload]  # passed on as it came

    monkeypatch.setattr(Path, "open", vanishing)
    report = take(room, disk)
    assert report.stored == 2
    assert [(row.path, row.reason) for row in report.refused] == [
        ("b.dcm", "cannot be read: Permission denied")
    ]


def test_without_an_audit_log_the_import_ends_at_once(room: Room, disk: Path) -> None:
    for number in range(5):
        write(disk / f"{number}.dcm", image(number))
    told: list[int] = []
    token = room.keys.audit_cipher.token
    progress = ImportProgress(room.folder / "import.done", lambda text: token("import-file", text))
    session = room.session(OPERATOR)

    def stop_audit(done: int, _total: int) -> None:
        told.append(done)
        room.audit.full = done >= 2

    with pytest.raises(AuditUnavailable):
        import_folder(disk, session, progress, stop_audit)
    assert told == [0, 1, 2]
    room.audit.full = False


def test_what_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        list(files_below(tmp_path / "nothing"))
