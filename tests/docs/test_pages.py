"""What the pages say is there, and what is there is said."""

import ast
import functools
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from leadglass.base import limits as limits_module
from leadglass.base.errors import LeadglassError
from leadglass.trust.audit.interfaces import EventCode
from leadglass.wire.dimse.status import meaning

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted((*DOCS.rglob("*.md"), *(p for p in ROOT.glob("*.md") if p.stat().st_size)))
_CODE_BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_GENERATED = re.compile(r"<!-- begin generated: .*?<!-- end generated: [a-z-]+ -->", re.DOTALL)
_TEST_NAME = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "tools" / "generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate_docs"] = module
    spec.loader.exec_module(module)
    # Each block once: many tests compare the same ones.
    module.BLOCKS = {name: functools.cache(block) for name, block in module.BLOCKS.items()}  # type: ignore[attr-defined]
    return module


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    yield _generator()
    del sys.modules["generate_docs"]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


# --- generated parts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_generated_parts_are_current(page: Path, generator: ModuleType) -> None:
    """Else ``make docs`` was forgotten."""
    text = page.read_text(encoding="utf-8")
    assert generator.regenerate(text) == text


def test_a_stale_page_is_noticed(generator: ModuleType) -> None:
    text = _text("docs/ERRORS.md")
    stale = text.replace("LG-0403", "LG-9403")
    assert stale != text
    assert generator.regenerate(stale) == text


def test_check_names_the_stale_page_and_writes_nothing(
    generator: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = tmp_path / "docs" / "PAGE.md"
    page.parent.mkdir()
    stale = "words\n<!-- begin generated: cipher-suites -->\nold\n<!-- end generated: cipher-suites -->\n"
    page.write_text(stale, encoding="utf-8")
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    monkeypatch.setattr(generator, "DOCS", page.parent)
    monkeypatch.setattr(sys, "argv", ["generate_docs.py", "--check"])
    assert generator.main() == 1
    assert "docs/PAGE.md is stale" in capsys.readouterr().out
    assert page.read_text(encoding="utf-8") == stale
    monkeypatch.setattr(sys, "argv", ["generate_docs.py"])
    assert generator.main() == 0
    assert "ECDHE-ECDSA-AES256-GCM-SHA384" in page.read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["generate_docs.py", "--check"])
    assert generator.main() == 0


def test_every_generated_block_stands_on_a_page(generator: ModuleType) -> None:
    everything = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in generator.BLOCKS:
        assert f"<!-- begin generated: {name} -->" in everything


# --- what is there is said -------------------------------------------------------------------------------------


def _subclasses(error: type[LeadglassError]) -> Iterator[type[LeadglassError]]:
    if error.__module__.startswith("leadglass."):  # other tests may have made some of their own
        yield error
    for sub in error.__subclasses__():
        yield from _subclasses(sub)


def test_every_error_is_documented(generator: ModuleType) -> None:
    page = _text("docs/ERRORS.md")
    for error in _subclasses(LeadglassError):
        assert f"`{error.code}`" in page, error
        assert f"| {error.exit_status} |" in page, error


def test_every_status_of_an_error_is_in_the_conformance_statement() -> None:
    page = _text("docs/CONFORMANCE.md")
    for error in _subclasses(LeadglassError):
        assert f"{error.dimse_status:04X}H" in page, error


def test_every_status_in_the_conformance_statement_is_one_of_the_standard() -> None:
    statuses = set(re.findall(r"`([0-9A-F]{4})H`", _text("docs/CONFORMANCE.md")))
    assert statuses >= {"0000", "FF00", "FE00", "A700", "A900", "C000"}
    for status in statuses:
        assert meaning(int(status, 16)) != "Unknown status", status


def test_every_event_is_documented() -> None:
    page = _text("docs/EVENTS.md")
    for event in EventCode:
        assert f"| `{event.value}` |" in page


def test_every_event_has_a_meaning_and_every_meaning_an_event(generator: ModuleType) -> None:
    assert set(generator.EVENT_MEANINGS) == set(EventCode.__members__)


def test_every_setting_is_documented(generator: ModuleType) -> None:
    page = _text("docs/SETTINGS.md")
    for section, struct in generator.setting_sections():
        assert f"## `[{section}]`" in page
        for field in struct.__struct_fields__:
            assert f"| `{field}` |" in page, f"{section}.{field}"


def test_every_limit_is_documented_with_its_reason(generator: ModuleType) -> None:
    page = _text("docs/SETTINGS.md")
    documented = {name for name, _, why in generator.limit_rows() if why}
    defined = {name for name in vars(limits_module) if name.isupper()} - {"KIB", "MIB", "GIB"}
    assert documented == defined
    for name in defined:
        assert f"| `{name}` |" in page


def test_every_command_and_option_is_documented(generator: ModuleType) -> None:
    page = _text("docs/CLI.md")
    names = []
    for path, command in generator.commands():
        names.append(path)
        assert f"## `{path}`" in page
        for parameter in command.params:
            for option in parameter.opts:
                assert option in page or option.upper() in page or parameter.human_readable_name in page
    assert len(names) > 15
    assert "leadglass vault verify" in names


def test_every_command_says_what_it_does(generator: ModuleType) -> None:
    for path, command in generator.commands():
        assert command.help, path
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or getattr(parameter, "help", ""), (
                path,
                parameter.name,
            )


def test_every_dependency_is_documented_and_none_besides() -> None:
    project = tomllib.loads(_text("pyproject.toml"))
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["postgresql"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
        "uv",  # of ``make lock``
    ]
    names = {re.split(r"[\[<>=!~ ]", requirement, maxsplit=1)[0] for requirement in wanted}
    assert set(re.findall(r"^\| `([\w-]+)` \|", _text("docs/DEPENDENCIES.md"), re.MULTILINE)) == names


def test_every_decision_has_its_four_parts_and_a_number_of_its_own() -> None:
    numbers = []
    for path in sorted((DOCS / "decisions").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        numbers.append(path.name[:4])
        assert text.startswith(f"# {path.name[:4]} "), path.name
        for part in ("## Context", "## Decision", "## Consequences", "## Rejected"):
            assert f"\n{part}\n" in text, (path.name, part)
        assert len(text.split()) < 600, f"{path.name} is longer than a page"
    assert numbers == [f"{n:04d}" for n in range(1, len(numbers) + 1)]


# --- what is said is there -------------------------------------------------------------------------------------


def _anchor(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def _anchors(page: Path) -> set[str]:
    text = _CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))
    return {_anchor(match) for match in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    text = _CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        if anchor:
            assert anchor in _anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_paths_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:src|tests|tools|docs|bench)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:app|archive|base|dicom|doors|store|trust|wire)/[\w/]+\.py)`", text):
        assert (ROOT / "src" / "leadglass" / path).exists(), path


_COMMAND_LINE = re.compile(
    r"`leadglass ([^`]*)`|^    (?:sudo -u \w+ )?leadglass ((?:.*\\\n)*.*)$", re.MULTILINE
)


def _command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words after ``leadglass`` of every command that a page shows."""
    for inline, block in _COMMAND_LINE.findall(_GENERATED.sub("", text)):
        words = re.sub(r"#.*|\\$", " ", inline or block, flags=re.MULTILINE).split()
        alternatives = [words]
        for position, word in enumerate(words):
            if "|" in word:
                alternatives = [
                    [*words[:position], one.strip("\\"), *words[position + 1 :]] for one in word.split("|")
                ]
        yield from alternatives


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_that_are_shown_exist(page: Path, generator: ModuleType) -> None:
    known = {tuple(path.split()[1:]): command for path, command in generator.commands()}
    for words in _command_lines(page.read_text(encoding="utf-8")):
        name = tuple(words[:2]) if tuple(words[:2]) in known else tuple(words[:1])
        assert name in known, words
        options = {option for parameter in known[name].params for option in parameter.opts} | {
            "--help",
            "--version",
        }
        for word in words:
            if word.startswith("-") and word != "-":
                assert word.rstrip(",.") in options, words


@functools.cache
def _tests_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_tests_that_are_named_exist(page: Path) -> None:
    for path, name in _TEST_NAME.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).is_file(), path
        assert name in _tests_in(path), f"{path}::{name}"


def _items(text: str) -> Iterator[str]:
    """Yield the list items of a page, each with its continued and nested lines."""
    item = ""
    for line in text.splitlines():
        if line.startswith("- "):
            if item:
                yield item
            item = line
        elif item and line.startswith("  "):
            item += "\n" + line
        elif item:
            yield item
            item = ""
    if item:
        yield item


def test_every_promise_against_an_adversary_names_its_test() -> None:
    promises = [item for item in _items(_text("docs/THREATS.md")) if "**cannot**" in item]
    assert len(promises) > 30
    for promise in promises:
        assert _TEST_NAME.search(promise), promise


def test_symbols_of_the_data_flow_exist() -> None:
    """The names in ARCHITECTURE's data flow are names of the code."""
    page = _text("docs/ARCHITECTURE.md")
    flow = page[page.index("## A C-STORE arrives") : page.index("## When the process dies")]
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "src" / "leadglass").rglob("*.py")
    )
    # Dotted and called names, and CamelCase ones: ``Incoming.finish``, ``negotiate()``, ``PeerFacts``.
    dotted = {part for name in re.findall(r"\b[A-Za-z_]+(?:\.[a-z_]+)+\b", flow) for part in name.split(".")}
    called = set(re.findall(r"\b([a-z_]{4,})\(", flow))
    camel = set(re.findall(r"\b(?:[A-Z]+[a-z]+){2,}\b|\b[A-Z]{2,}_[A-Z_]+\b", flow))
    names = {name for name in dotted | called | camel if len(name) > 3} - {"contexts"}
    assert {"Incoming", "permit", "resolve", "PeerFacts", "INSTANCE_STORE"} <= names
    for name in names:
        assert re.search(rf"\b{name}\b", source), name


def test_no_page_claims_what_nobody_has_shown() -> None:
    """Neither a law nor a certificate: what a site fulfils depends on the site."""
    claims = re.compile(
        r"(?:HIPAA|GDPR|FIPS|DICOM|NIST)[- ](?:compliant|certified|validated|approved)|military[- ]grade|unbreakable",
        re.IGNORECASE,
    )
    for page in PAGES:
        assert not claims.search(_GENERATED.sub("", page.read_text(encoding="utf-8"))), page
