"""Media types and which of ours a client takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.base.errors import RequestRefused
from leadglass.base.limits import MEDIA_RANGES_MAX, MEDIA_TYPE_CHARACTERS_MAX
from leadglass.wire.dicomweb.media_types import (
    MediaType,
    acceptable,
    choose,
    multipart_related,
    parse_accept,
    parse_media_type,
    quality_of,
)

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
EXPLICIT = "1.2.840.10008.1.2.1"
JSON = MediaType("application/dicom+json")
PLAIN_JSON = MediaType("application/json")
DICOM = multipart_related("application/dicom")
OCTETS = multipart_related("application/octet-stream", transfer_syntax=EXPLICIT)
JPEG = multipart_related("image/jpeg", transfer_syntax=JPEG_BASELINE)


@pytest.mark.parametrize(
    ("text", "essence", "parameters"),
    [
        ("application/dicom", "application/dicom", {}),
        (" Application/DICOM ", "application/dicom", {}),
        ('multipart/related; type="application/dicom"; boundary=x', "multipart/related",
         {"type": "application/dicom", "boundary": "x"}),
        ("multipart/related;type=application/dicom;boundary=x", "multipart/related",
         {"type": "application/dicom", "boundary": "x"}),
        (r'a/b; c="d\"e\\f"', "a/b", {"c": 'd"e\\f'}),
        ("a/b;; c=d ;", "a/b", {"c": "d"}),
        ("a/b; c=first; C=second", "a/b", {"c": "first"}),
    ],
)  # fmt: skip
def test_a_media_type_is_read(text: str, essence: str, parameters: dict[str, str]) -> None:
    media_type = parse_media_type(text)
    assert media_type.essence == essence
    assert dict(media_type.parameters) == parameters


@pytest.mark.parametrize(
    "text",
    ["", "a", "a/", "/b", "a/b/c", "a/b; c", "a/b, c/d", "*/*", 'a/b; c="d', "a/b\x00", "a/b; c=d e=f"],
)
def test_what_is_no_media_type_is_refused(text: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse_media_type(text)
    assert refused.value.http_status == 400


_TOKEN = st.text("abcdefghijklmnopqrstuvwxyz0123456789.+-", min_size=1, max_size=12)
_VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)


@given(_TOKEN, _TOKEN, st.dictionaries(_TOKEN.filter(lambda n: n != "q"), _VALUE, max_size=5))
def test_what_is_written_is_read_back(type_: str, subtype: str, parameters: dict[str, str]) -> None:
    written = MediaType(f"{type_}/{subtype}", parameters)
    read = parse_media_type(str(written))
    assert (read.essence, dict(read.parameters)) == (written.essence, parameters)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_media_type, parse_accept):
        refusal: RequestRefused | None = None
        try:
            parse(text)
        except RequestRefused as refused:
            refusal = refused
        if refusal is not None:
            assert refusal.http_status == 400
            assert len(text) < 8 or text not in str(refusal)


def test_an_accept_header_has_bounds() -> None:
    assert len(parse_accept(",".join(["a/b"] * MEDIA_RANGES_MAX))) == MEDIA_RANGES_MAX
    for text in (",".join(["a/b"] * (MEDIA_RANGES_MAX + 1)), "a/b" + " " * MEDIA_TYPE_CHARACTERS_MAX):
        with pytest.raises(RequestRefused):
            parse_accept(text)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", PLAIN_JSON),
        ("application/json, application/dicom+json", JSON),
        ("application/dicom+json;q=0.5, application/json", PLAIN_JSON),
        ("application/json;q=0.1, */*;q=0.9", JSON),
        ("application/dicom+json;q=0, */*", PLAIN_JSON),
        ("application/dicom+json; charset=UTF-8", JSON),
        ("multipart/related; type=application/dicom, application/json", PLAIN_JSON),
    ],
)
def test_the_offer_that_is_liked_best_is_chosen(accept: str | None, chosen: MediaType) -> None:
    assert choose([JSON, PLAIN_JSON], acceptable(accept)) == chosen


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom+xml",
        "text/*",
        "*/*;q=0",
        "application/dicom+json; charset=latin-1, application/json;q=0",
    ],
)
def test_nothing_acceptable_is_406(accept: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        choose([JSON, PLAIN_JSON], acceptable(accept))
    assert refused.value.http_status == 406


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ('multipart/related; type="application/dicom"', DICOM),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', DICOM),
        ('multipart/related; type="application/octet-stream"', OCTETS),
        (f'multipart/related; type="application/octet-stream"; transfer-syntax={EXPLICIT}', OCTETS),
        (f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG_BASELINE}', JPEG),
        ('multipart/related; type="image/*"', JPEG),
        ('multipart/related; type="*/*"', DICOM),
        ("multipart/related", DICOM),
        ('multipart/related; type="image/jpeg";q=0.9, multipart/related; type="application/octet-stream";q=0.8', JPEG),
        # A browser's header takes anything of images only; its query parameter cannot be said in a header.
        ('multipart/related; type="image/jpeg"; transfer-syntax=1.2.3, */*;q=0.1', DICOM),
    ],
)  # fmt: skip
def test_parts_and_transfer_syntaxes(accept: str, chosen: MediaType) -> None:
    assert choose([DICOM, OCTETS, JPEG], acceptable(accept)) == chosen


def test_a_transfer_syntax_that_is_not_offered_is_406() -> None:
    with pytest.raises(RequestRefused):
        choose(
            [OCTETS], acceptable('multipart/related; type="application/octet-stream"; transfer-syntax=1.2.3')
        )


def test_the_parameter_goes_before_the_header() -> None:
    assert choose([JSON, PLAIN_JSON], acceptable("text/html", ["application/json"])) == PLAIN_JSON
    assert choose([JSON, PLAIN_JSON], acceptable("application/json", [])) == PLAIN_JSON


def test_the_most_specific_range_decides() -> None:
    """RFC 9110 12.5.1."""
    ranges = parse_accept("application/*;q=0.9, application/dicom+json;q=0.2, */*;q=1")
    assert quality_of(JSON, ranges) == 200
    assert quality_of(PLAIN_JSON, ranges) == 900
    assert quality_of(MediaType("image/png"), ranges) == 1000
