"""Octets that are moved are those that decoding and writing again would give, whatever a level holds."""

from collections.abc import Mapping, Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from leadglass.base.errors import IntegrityError
from leadglass.base.ids import UID
from leadglass.dicom.models import Level
from leadglass.dicom.query import Key, Model, Query, Responder, Single, Universal, Wildcard
from leadglass.dicom.query.models import KeyMatch
from leadglass.dicom.values import Element, write_dataset

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
CHARACTER_SET = 0x00080005
STUDY_KEYS: Mapping[str, tuple[int, str]] = {
    "StudyDate": (0x00080020, "DA"),
    "StudyDescription": (0x00081030, "LO"),
    "ReferencedStudySequence": (0x00081110, "SQ"),
    "PatientName": (0x00100010, "PN"),
    "PatientID": (0x00100020, "LO"),
    "PatientComments": (0x00104000, "LT"),
    "StudyID": (0x00200010, "SH"),
}
SERIES_KEYS: Mapping[str, tuple[int, str]] = {
    "Modality": (0x00080060, "CS"),
    "SeriesDescription": (0x0008103E, "LO"),
    "SmallestPixelValueInSeries": (0x00280108, "US"),
}
TEXTS = ("", "CT", "Li^Wei", "Müller^Jörg", "\x1b$B;3ED\x1b(J", "A" * 300, "x=y=z", "a\\b", "20260101")
TERMS = ("", "ISO_IR 100", "ISO_IR 192", "\\ISO 2022 IR 87")


def element_of(tag: int, vr: str, text: str, term: str) -> Element:
    if vr == "SQ":
        return Element(tag, vr, b"", ({0x00081150: Element(0x00081150, "UI", b"1.2")},))
    if vr == "US":
        return Element(tag, vr, bytes([len(text) % 256, 27]))
    return Element(tag, vr, text.encode("utf-8" if term == "ISO_IR 192" else "latin-1"))


@st.composite
def levels(draw: st.DrawFn) -> list[bytes]:
    made: list[bytes] = []
    for keys, uid in ((STUDY_KEYS, 0x0020000D), (SERIES_KEYS, 0x0020000E)):
        term = draw(st.sampled_from(TERMS))
        held = draw(st.dictionaries(st.sampled_from(sorted(keys)), st.sampled_from(TEXTS)))
        elements = [element_of(*keys[name], text, term) for name, text in held.items()]
        elements.append(Element(uid, "UI", b"1.2.3"))
        if term:
            elements.append(Element(CHARACTER_SET, "CS", term.encode()))
        made.append(write_dataset(elements))
    return made


MATCHES: st.SearchStrategy[KeyMatch] = st.one_of(
    st.just(Universal()), st.sampled_from(TEXTS[1:4]).map(Single), st.just(Wildcard("*i*"))
)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    every = {**STUDY_KEYS, **SERIES_KEYS, "NumberOfSeriesRelatedInstances": (0x00201209, "IS")}
    names = draw(st.lists(st.sampled_from(sorted(every)), unique=True))
    keys = tuple(
        Key(name, tag, vr, Universal() if vr in {"SQ", "US", "IS", "DA"} else draw(MATCHES))
        for name in names
        for tag, vr in [every[name]]
    )
    syntax = draw(st.sampled_from([EXPLICIT, EXPLICIT, IMPLICIT]))
    return Query(Model.STUDY, Level.SERIES, keys, transfer_syntax_uid=UID(syntax))


def decoded(query: Query, datasets: Sequence[bytes], computed: Mapping[str, object]) -> bytes | None:
    """Answer without moving anything."""
    responder = Responder(query)
    responder._moves = responder._scans = False  # pyright: ignore[reportPrivateUsage]
    return responder.respond(datasets, computed)


@settings(max_examples=400, deadline=None)
@given(query=queries(), candidates=st.lists(levels(), min_size=1, max_size=3), counted=st.integers(0, 300))
@example(query=Query(Model.STUDY, Level.SERIES, ()), candidates=[[b"", b""]], counted=0)
def test_moved_and_decoded_responses_are_the_same(
    query: Query, candidates: list[list[bytes]], counted: int
) -> None:
    responder = Responder(query)
    computed = {"NumberOfSeriesRelatedInstances": counted}
    for datasets in candidates:
        expected = decoded(query, datasets, computed)
        assert responder.meets(datasets, computed) == (expected is not None)
        assert responder.respond(datasets, computed) == expected


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_level_that_is_cut_short_is_refused(cut: int) -> None:
    whole = write_dataset([Element(0x00080020, "DA", b"20260101"), Element(0x0020000D, "UI", b"1.2\0")])
    query = Query(Model.STUDY, Level.STUDY, (Key("StudyDate", 0x00080020, "DA", Universal()),))
    with pytest.raises(IntegrityError):
        Responder(query).respond([whole[:-cut] if cut != 12 else b"\xff" * 16], {})
