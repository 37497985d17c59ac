import io
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from corpus import corpus_files, needs_corpus
from leadglass.base.errors import DatasetRefused
from leadglass.base.limits import SEQUENCE_DEPTH_MAX
from leadglass.dicom import values
from leadglass.dicom.values import Dataset, Element

TAGS = [0x0008_0050, 0x0010_0010, 0x0010_0020, 0x0008_0018, 0x0020_0013, 0x0028_0010, 0x0018_9073]


def _elements(children: st.SearchStrategy[Dataset]) -> st.SearchStrategy[Dataset]:
    texts = st.text(alphabet="ABC\u00fc\u0436^", max_size=9).map(str.strip)
    plain = st.dictionaries(st.sampled_from(TAGS[:3]), texts).map(
        lambda d: {tag: values.text_element(tag, text) for tag, text in d.items()}
    )
    sequence = st.lists(children, max_size=3).map(lambda i: Element(0x0008_1199, "SQ", b"", tuple(i)))
    numbers = st.integers(0, 65535).map(lambda n: values.text_element(0x0028_0010, n))
    return st.tuples(plain, st.one_of(sequence, numbers)).map(lambda p: {**p[0], p[1].tag: p[1]})


datasets = st.recursive(st.just(Dataset()), _elements, max_leaves=12)


def _meaning(dataset: Dataset) -> object:
    utf_8 = values.character_set(values.UTF_8)
    return {
        tag: [_meaning(i) for i in e.items] if e.items is not None else values.texts_of(e, utf_8)
        for tag, e in dataset.items()
    }


@given(datasets, st.sampled_from(sorted(values.SYNTAXES)))
def test_what_is_written_is_read_again(dataset: Dataset, syntax: str) -> None:
    data = values.write_dataset(dataset.values(), syntax)
    assert len(data) % 2 == 0
    assert _meaning(values.read_dataset(data, syntax)) == _meaning(dataset)


@given(st.binary(max_size=300), st.sampled_from(sorted(values.SYNTAXES)))
def test_garbage_is_read_or_refused(data: bytes, syntax: str) -> None:
    try:
        dataset = values.read_dataset(data, syntax)
    except DatasetRefused:
        return
    charset = values.character_set_of(dataset)
    for element in values.walk(dataset):
        values.texts_of(element, charset)


@given(datasets, st.data())
def test_a_data_set_with_one_octet_changed_is_read_or_refused(dataset: Dataset, data: st.DataObject) -> None:
    octets = bytearray(values.write_dataset(dataset.values()))
    if octets:
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = values.read_dataset(bytes(octets))
    except DatasetRefused:
        return
    assert sum(1 for _ in values.walk(read)) <= len(octets)


def test_a_length_beyond_the_data_set_is_refused() -> None:
    with pytest.raises(DatasetRefused, match="beyond"):
        values.read_dataset(b"\x10\x00\x10\x00UT\0\0\xfe\xff\xff\xff")


def test_nesting_beyond_the_bound_is_refused() -> None:
    item: Dataset = {}
    for _ in range(SEQUENCE_DEPTH_MAX + 1):
        item = {0x0008_1199: Element(0x0008_1199, "SQ", b"", (item,))}
    with pytest.raises(DatasetRefused, match="deeper"):
        values.read_dataset(values.write_dataset(item.values()))


def test_a_deflate_bomb_is_refused() -> None:
    bomb = values.write_dataset(
        [Element(0x0040_A160, "UT", b" " * 8 * 1024 * 1024)], values.DEFLATED_LITTLE_ENDIAN
    )
    assert len(bomb) < 20_000
    with pytest.raises(DatasetRefused, match="longer"):
        values.read_dataset(bomb, values.DEFLATED_LITTLE_ENDIAN)


@given(st.binary(max_size=40), st.text(max_size=30), st.sampled_from(["PN", "LO", "UT"]))
def test_no_term_and_no_octets_make_decoding_raise(raw: bytes, term: str, vr: str) -> None:
    assert isinstance(values.character_set(term).decode(raw, vr), str)


@pytest.mark.parametrize(
    ("term", "raw", "expected"),
    [
        ("ISO_IR 100", b"M\xfcller", "Müller"),
        ("ISO IR 100", b"M\xfcller", "Müller"),
        ("ISO-IR 192", b"M\xc3\xbcller", "Müller"),
        ("", b"M\xc3\xbcller", "Müller"),
        ("", b"M\xfcller", "Müller"),
        ("ISO_IR 999", b"M\xfcller", "Müller"),
        ("GB18030", b"\xcd\xf5^\xd0\xa1\xb6\xab", "王^小东"),
        ("ISO_IR 144", b"\xbb\xee\xda^\xd0", "\u041b\u044e\u043a^\u0430"),
        ("\\ISO 2022 IR 149", b"Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "Hong=洪^吉洞"),
        ("\\ISO 2022 IR 58", b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang=张^小东"),
    ],
)
def test_character_sets(term: str, raw: bytes, expected: str) -> None:
    assert values.character_set(term).decode(raw, "PN") == expected


@needs_corpus
@pytest.mark.parametrize(
    "path", [p for p in corpus_files("charset") if "SQEncoding" not in p.name], ids=lambda p: p.stem
)
def test_names_of_the_corpus_read_as_pydicom_reads_them(path: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = dcmread(str(path), stop_before_pixels=True)
        expected = str(file.PatientName)
        term = "\\".join(
            [file.SpecificCharacterSet]
            if isinstance(file.SpecificCharacterSet, str)
            else file.SpecificCharacterSet
        )
        raw = file.PatientName.original_string
    assert isinstance(raw, bytes)
    assert values.character_set(term).decode(raw, "PN").rstrip() == expected.rstrip()


def test_pydicom_reads_what_is_written() -> None:
    elements = [
        values.text_element(values.SPECIFIC_CHARACTER_SET, values.UTF_8),
        values.text_element(0x0010_0010, "Yamada^Tarou=山田^太郎"),
        Element(0x0040_0275, "SQ", b"", ({0x0040_0009: values.text_element(0x0040_0009, "SPS1")},)),
    ]
    for syntax in (values.IMPLICIT_LITTLE_ENDIAN, values.EXPLICIT_LITTLE_ENDIAN):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = dcmread(io.BytesIO(values.write_dataset(elements, syntax)), force=True)
        assert read.PatientName == "Yamada^Tarou=山田^太郎"
        assert read.RequestAttributesSequence[0].ScheduledProcedureStepID == "SPS1"
