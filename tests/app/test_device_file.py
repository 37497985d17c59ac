"""The file that a device's user needs: what is written is what is read; it holds no secret."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadglass.app.device_file import DeviceFile, read_device_file, write_device_file
from leadglass.base.errors import ConfigurationError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.builds(DeviceFile, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, st.integers(0, 65_535), TEXT | st.just("")))
def test_what_is_written_is_what_is_read(tmp_path: Path, device: DeviceFile) -> None:
    path = write_device_file(tmp_path / "device.toml", device)
    assert read_device_file(path) == device
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"not toml", b"ae_title = 1", b"\xff\xfe", b'more = "x"'])
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "device.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError):
        read_device_file(path)


def test_a_missing_file_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_device_file(tmp_path / "nothing.toml")
    assert "device enrol" in refused.value.hint
