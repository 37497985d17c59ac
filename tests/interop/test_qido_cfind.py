"""C-FIND and QIDO-RS, asked the same, answer the same: which objects, and which values. Both by libraries of others."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pynetdicom.presentation import build_context

from corpus import CORPUS
from interop.peers import STUDY_FIND, associate, composite, encoded, keys
from interop.test_corpus_round_trip import manifest_paths
from interop.test_dicomweb_corpus import post
from interop.web import Gateway, gateway, part10
from running_node import DeviceFiles, Site

pytestmark = [pytest.mark.interop, pytest.mark.timeout(280)]

KEYS: Mapping[str, Sequence[str]] = {
    "STUDY": (
        "PatientName", "PatientID", "PatientSex", "PatientBirthDate", "StudyDate", "StudyTime", "AccessionNumber",
        "StudyID", "ReferringPhysicianName", "StudyDescription", "ModalitiesInStudy", "SOPClassesInStudy",
        "StudyInstanceUID", "NumberOfStudyRelatedInstances", "NumberOfStudyRelatedSeries", "PatientComments",
    ),
    "SERIES": (
        "Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined", "SeriesDate", "SeriesTime", "ProtocolName",
        "SeriesInstanceUID", "OperatorsName", "Manufacturer", "NumberOfSeriesRelatedInstances",
        "PerformedProcedureStepStartDate",
    ),
    "IMAGE": (
        "SOPInstanceUID", "SOPClassUID", "InstanceNumber", "Rows", "Columns", "BitsAllocated", "NumberOfFrames",
        "ContentDate", "ContentTime", "ImageType", "AcquisitionDate",
    ),
}  # fmt: skip
PENDING_SOME_KEYS = 0xFF01
"""Optional keys are not supported for matching. Source: PS3.4 Table C.4-1."""
UNIQUE = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
FOLDERS = ("charset/", "modality/", "private/", "structured/", "standard/", "phi-synthetic/")
NAMES = {
    "ISO_IR 100": "Äneas^Rüdiger",
    "ISO_IR 144": "Люксембург^Юрий",
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 127": "قباني^لنزار",
    "ISO_IR 138": "שרון^דבורה",
    "ISO_IR 13": "ﾔﾏﾀﾞ^ﾀﾛｳ",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "GB18030": "Wang^XiaoDong=王^小东",
    "ISO_IR 192": "Ελένη^山田",
}

Row = Mapping[str, Sequence[str]]
Answer = Mapping[str, Row] | None
"""Rows by the unique key of their level; None where the question was refused."""


@dataclass
class Both:
    """One node, asked through both doors."""

    node: Site
    device: DeviceFiles
    peer: Gateway
    rows: dict[str, list[tuple[Sequence[str], Row]]] = field(default_factory=dict)
    passed_over: dict[str, bool] = field(default_factory=dict)
    """Whether the last answer said that some key took no part."""

    def by_c_find(self, level: str, parents: Sequence[str], asked: Mapping[str, str]) -> Answer:
        identifier = keys(level, **dict.fromkeys(KEYS[level], ""))
        identifier.SpecificCharacterSet = "ISO_IR 192"
        for keyword, text in zip(("StudyInstanceUID", "SeriesInstanceUID"), parents, strict=False):
            setattr(identifier, keyword, text)
        for keyword, text in asked.items():
            setattr(identifier, keyword, int(text) if dictionary_VR(keyword) == "US" else text)
        found: dict[str, Row] = {}
        # One for each question: an association ends when nothing is asked for a minute.
        with associate(self.node, self.device, [build_context(STUDY_FIND)]) as association:
            answers = list(association.send_c_find(identifier, STUDY_FIND))
        for status, one in answers:
            if one is not None:
                self.passed_over["C-FIND"] = status.Status == PENDING_SOME_KEYS
                row = {keyword: values_of(one, keyword) for keyword in KEYS[level]}
                assert row[UNIQUE[level]][0] not in found
                found[row[UNIQUE[level]][0]] = row
            elif status.Status:
                return None
        return found

    def by_qido(self, level: str, parents: Sequence[str], asked: Mapping[str, str]) -> Answer:
        path = "".join(f"/{name}/{uid}" for name, uid in zip(("studies", "series"), parents, strict=False))
        resource = {"STUDY": "studies", "SERIES": "series", "IMAGE": "instances"}[level]
        parameters = {"includefield": ",".join(KEYS[level]), **asked}
        answer = self.peer.http.get(f"{self.peer.url}{path}/{resource}", params=parameters)
        if answer.status_code == 400:
            return None
        assert answer.status_code in {200, 204}, answer.text
        warned = answer.headers.get("warning", "")
        assert not warned or "not supported at this level" in warned
        self.passed_over["QIDO"] = bool(warned)
        documents: list[Any] = answer.json() if answer.content else []
        rows = [{keyword: json_values_of(one, keyword) for keyword in KEYS[level]} for one in documents]
        assert len({row[UNIQUE[level]][0] for row in rows}) == len(rows)
        return {row[UNIQUE[level]][0]: row for row in rows}


def values_of(one: Dataset, keyword: str) -> list[str]:
    """Return the values of a C-FIND response as texts; numbers as they stand there, also those that are none."""
    raw: Any = one.get_item(keyword)
    if isinstance(raw, RawDataElement) and dictionary_VR(keyword) in {"IS", "DS"}:
        return plain(keyword, (raw.value or b"").decode().split("\\"))
    value = one.get(keyword)
    several = value if isinstance(value, (list, tuple, MultiValue)) else [value]
    return plain(keyword, ["" if single is None else str(single) for single in several])


def json_values_of(one: Mapping[str, Any], keyword: str) -> list[str]:
    """Return the values of a QIDO result as texts. Source: PS3.18 F.2."""
    element = one.get(f"{tag_for_keyword(keyword):08X}", {})
    values = element.get("Value", [""])
    if element.get("vr") == "PN":
        groups = ("Alphabetic", "Ideographic", "Phonetic")
        values = ["=".join(name.get(group, "") for group in groups) if name else "" for name in values]
    return plain(keyword, ["" if single is None else str(single) for single in values])


def plain(keyword: str, texts: Sequence[str]) -> list[str]:
    """Take off padding, and write numbers in one way: JSON has numbers where C-FIND has texts."""
    stripped = [text.strip(" ").rstrip("=" if dictionary_VR(keyword) == "PN" else "") for text in texts]
    if dictionary_VR(keyword) in {"IS", "DS"}:
        stripped = [str(int(text)) if text.strip("+-").isdecimal() else text for text in stripped]
    return stripped if any(stripped) else [""]


@contextmanager
def both(node: Site) -> Iterator[Both]:
    device = node.enrol("gateway", "GATEWAY", ["store", "query-retrieve"])
    with gateway(node, device) as peer:
        store(peer)
        yield Both(node, device, peer)


def store(peer: Gateway) -> None:
    if CORPUS.is_dir():
        contents = {
            path: (CORPUS / path).read_bytes() for path in manifest_paths() if path.startswith(FOLDERS)
        }
    else:
        folder = Path(str(files("pydicom") / "data" / "test_files"))
        contents = {path.name: path.read_bytes() for path in sorted(folder.glob("*.dcm"))}
    held = sum(entry.status == 0 for entry in post(peer, contents))
    assert held > 25
    made: list[bytes] = []
    for number, (charset, name) in enumerate(NAMES.items()):
        study = f"1.2.826.0.1.3680043.10.97.4.{number}"
        for series in (1, 2):
            item = composite(
                study, f"{study}.{series}", 1, PatientName=name, PatientID=f"P{number}", SeriesNumber=series
            )
            item.SpecificCharacterSet = charset.split("\\")
            item.PatientComments = f"Comment {number}"
            made.append(part10(encoded(item)))
    taken, refused = peer.post(made)
    assert (len(taken), refused) == (2 * len(NAMES), {})


@pytest.fixture(scope="module")
def asked(node: Site) -> Iterator[Both]:
    with both(node) as made:
        studies = made.by_qido("STUDY", (), {})
        assert studies is not None
        made.rows["STUDY"] = [((), row) for row in studies.values()]
        for level, above in (("SERIES", "STUDY"), ("IMAGE", "SERIES")):
            made.rows[level] = []
            for parents, row in made.rows[above][:: 1 if level == "SERIES" else 3]:
                path = (*parents, row[UNIQUE[above]][0])
                found = made.by_qido(level, path, {})
                assert found is not None
                made.rows[level] += [(path, one) for one in found.values()]
        yield made


def alike(asked: Both, level: str, parents: Sequence[str], given: Mapping[str, str]) -> Answer:
    by_c_find = asked.by_c_find(level, parents, given)
    by_qido = asked.by_qido(level, parents, {k: v.replace("\\", ",") for k, v in given.items()})
    if by_c_find is None or by_qido is None:
        assert by_c_find is by_qido, given
        return None
    assert set(by_c_find) == set(by_qido), given
    if by_qido and given:
        assert asked.passed_over["C-FIND"] == asked.passed_over["QIDO"], given
    different = [
        (uid, keyword, row[keyword], by_qido[uid][keyword])
        for uid, row in by_c_find.items()
        for keyword in KEYS[level]
        if row[keyword] != by_qido[uid][keyword]
    ]
    assert different == [], given
    return by_qido


def test_every_study_series_and_instance(asked: Both) -> None:
    assert len(asked.rows["STUDY"]) > 20
    assert len(alike(asked, "STUDY", (), {}) or {}) == len(asked.rows["STUDY"])
    for parents in dict.fromkeys(tuple(parents) for parents, _ in asked.rows["SERIES"]):
        alike(asked, "SERIES", parents, {})
    for parents in dict.fromkeys(tuple(parents) for parents, _ in asked.rows["IMAGE"]):
        alike(asked, "IMAGE", parents, {})


def a_key(keyword: str, value: str, draw: st.DrawFn) -> str:
    """Return something that ``value`` may be asked for by."""
    vr = dictionary_VR(keyword)
    if vr == "UI":
        return draw(st.sampled_from([value, f"{value}\\1.2.3.4", "1.2.3.4"]))
    if vr in {"DA", "TM"}:
        return draw(st.sampled_from([value, f"{value}-", f"-{value}", f"{value}-{value}", "19990101-20201231" if vr == "DA" else "1000-1400", value[:4]]))  # fmt: skip
    if vr in {"IS", "US", "DS"}:
        return draw(st.sampled_from([value if value.isdecimal() else "1", "1", "512"]))
    middle = draw(st.integers(0, max(len(value) - 1, 0)))
    forms = [
        value,
        value[: middle + 1] + "*",
        "*" + value[middle:],
        f"*{value[middle : middle + 3]}*",
        value[:middle] + "?" + value[middle + 1 :],
        value.lower(),
        value.upper(),
        value.partition("=")[0],
        value.partition("^")[0] + "*",
    ]
    if vr == "CS":
        forms += [f"{value}\\MR", "CT\\M*"]
    return draw(st.sampled_from(forms))


@st.composite
def questions(
    draw: st.DrawFn, rows: Mapping[str, list[tuple[Sequence[str], Row]]]
) -> tuple[str, Sequence[str], dict[str, str]]:
    level = draw(st.sampled_from(["STUDY", "STUDY", "SERIES", "IMAGE"]))
    parents, row = draw(st.sampled_from(rows[level]))
    chosen = draw(st.lists(st.sampled_from(KEYS[level]), min_size=1, max_size=3, unique=True))
    return level, parents, {k: a_key(k, draw(st.sampled_from(list(row[k]))), draw) for k in chosen}


def test_generated_questions(asked: Both) -> None:
    matched = refused = 0

    @settings(
        max_examples=250,
        derandomize=True,
        deadline=None,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
        database=None,
    )
    @given(questions(asked.rows))
    def check(question: tuple[str, Sequence[str], dict[str, str]]) -> None:
        nonlocal matched, refused
        found = alike(asked, *question)
        refused += found is None
        matched += bool(found)

    check()
    assert matched > 80
    assert refused < 60


@pytest.mark.parametrize("name", NAMES.values())
def test_names_of_every_character_set_are_found_by_both(asked: Both, name: str) -> None:
    for text in (name, name.partition("=")[0], name[:2] + "*"):
        found = alike(asked, "STUDY", (), {"PatientName": text})
        assert found is not None
        assert name in [row["PatientName"][0] for row in found.values()], text
