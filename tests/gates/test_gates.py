"""A gate that never closed is not known to be one: each is shown a violation."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = [contract["name"] for contract in PYPROJECT["tool"]["importlinter"]["contracts"]]

# contract: where somebody might write it, and what
VIOLATIONS = {
    "Imports go down only": ("base/ids.py", "import leadglass.wire.ul.pdu"),
    "Inside trust": ("trust/keys/derive.py", "import leadglass.trust.certs.tls"),
    "Inside store": ("store/vault/header.py", "import leadglass.store.index.rows"),
    "Inside archive": ("archive/access.py", "import leadglass.archive.query"),
    "Doors do not know each other": ("doors/folder/importer.py", "import leadglass.doors.dimse.services"),
    "Doors over HTTPS stand on one server": (
        "doors/https/endpoints.py",
        "import leadglass.doors.dicomweb.services",
    ),
    "Keys are for the vault, the certificates and app.compose": (
        "archive/query.py",
        "import leadglass.trust.keys.ring",
    ),
    "Only archive and app.compose reach the store": (
        "doors/dimse/find_scp.py",
        "import leadglass.store.index.service",
    ),
    "Cryptography only where keys live and objects are sealed": (
        "store/index/rows.py",
        "import cryptography.fernet",
    ),
    "pydicom only in dicom": ("archive/ingest.py", "import pydicom"),
    "wire and base do no I/O and read no clock": ("wire/ul/codec.py", "import socket"),
}


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(cwd)},
    )


def lint_imports(folder: Path) -> str:
    done = run(BIN / "lint-imports", "--no-cache", "--config", "pyproject.toml", cwd=folder)
    return f"{done.returncode}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "leadglass", folder / "leadglass", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def verdicts(report: str) -> dict[str, str]:
    """Return KEPT or BROKEN of each contract."""
    found: dict[str, str] = {}
    for line in report.splitlines():
        for word in ("KEPT", "BROKEN"):
            name, _, rest = line.partition(f" {word}")
            if rest or line.endswith(word):
                found[name.strip()] = word
    return found


def test_every_contract_has_its_violation_here() -> None:
    assert sorted(VIOLATIONS) == sorted(CONTRACTS)


@pytest.mark.slow
@pytest.mark.parametrize("contract", VIOLATIONS)
def test_a_forbidden_import_breaks_its_contract(package: Path, contract: str) -> None:
    name, line = VIOLATIONS[contract]
    path = package / "leadglass" / name
    whole = path.read_text(encoding="utf-8")
    path.write_text(f"{whole}\n{line}\n", encoding="utf-8")
    try:
        report = lint_imports(package)
    finally:
        path.write_text(whole, encoding="utf-8")
    assert report.startswith("1\n"), report
    assert verdicts(report).get(contract) == "BROKEN", report


@pytest.mark.slow
def test_the_package_as_it_is_keeps_every_contract(package: Path) -> None:
    found = verdicts(lint_imports(package))
    assert found == dict.fromkeys(CONTRACTS, "KEPT")


def ruff(tmp_path: Path, text: str, *, where: str = "src/leadglass/archive/new.py") -> str:
    path = tmp_path / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return run(BIN / "ruff", "check", "--no-cache", "--output-format=concise", ".", cwd=tmp_path).stdout


@pytest.mark.parametrize("module", ["tempfile", "random", "pickle"])
@pytest.mark.parametrize("form", ["import {0}", "from {0} import *", "import {0} as other"])
def test_banned_modules(tmp_path: Path, module: str, form: str) -> None:
    assert "TID251" in ruff(tmp_path, f'"""A module."""\n\n{form.format(module)}\n')


def test_a_module_that_is_allowed_is_not_flagged(tmp_path: Path) -> None:
    assert "TID251" not in ruff(tmp_path, '"""A module."""\n\nimport secrets\n\nsecrets.token_bytes(1)\n')


def test_a_forgotten_docstring_and_a_print_are_flagged(tmp_path: Path) -> None:
    report = ruff(tmp_path, "def function() -> None:\n    print(1)\n")
    assert "D103" in report
    assert "T201" in report


@pytest.mark.slow
def test_a_generated_page_that_is_stale_is_named(tmp_path: Path) -> None:
    """The tool of a copy of the project, on a copy of its pages."""
    for name in ("docs", "tools", "src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "Makefile", "README.md"):
        shutil.copy(ROOT / name, tmp_path)

    def check() -> subprocess.CompletedProcess[str]:
        command: Sequence[str | Path] = (sys.executable, tmp_path / "tools" / "generate_docs.py", "--check")
        return subprocess.run(
            [str(part) for part in command],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path / "src")},
        )

    done = check()
    assert done.returncode == 0, done.stdout + done.stderr
    page = tmp_path / "docs" / "ERRORS.md"
    page.write_text(page.read_text(encoding="utf-8").replace("LG-0500", "LG-0501", 1), encoding="utf-8")
    done = check()
    assert done.returncode == 1
    assert "ERRORS.md" in done.stdout + done.stderr


@pytest.mark.slow
def test_the_wheel_holds_what_the_program_needs(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    build = "import hatchling.build as b; print(b.build_wheel('dist'))"
    (tmp_path / "dist").mkdir()
    done = run(sys.executable, "-c", build, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.getinfo(name).file_size for name in archive.namelist()}
    for name in ("schema.cedarschema", "devices.cedar", "people.cedar"):
        assert held[f"leadglass/trust/policy/bundle/{name}"] > 0
    wanted = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "leadglass").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted == {name for name in held if name.startswith("leadglass/")}
    assert any(name.endswith("licenses/LICENSE") for name in held)
    assert not any("test" in Path(name).parts[0] for name in held)
