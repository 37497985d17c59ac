"""Small files that never replace one another."""

from pathlib import Path

import pytest

from leadglass.trust.keys.durable import create_durably


def test_a_new_file_is_whole_and_private(tmp_path: Path) -> None:
    create_durably(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o600
    assert (tmp_path / "file").stat().st_nlink == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        create_durably(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
