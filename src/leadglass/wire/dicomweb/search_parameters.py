"""The query string of a search: which parameters there are, and what each is for.

Whether an attribute exists and what its value asks for is not decided here (``dicom.query.web``): this is the form only.
Nothing is passed over in silence: what is no parameter of a search is an attribute, and what is neither is refused.

**Invariant:** pure; only ``RequestRefused`` is raised, and no message repeats what the client sent.

Source: PS3.18 8.3.1, 8.3.4.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from leadglass.base.errors import RequestRefused
from leadglass.base.limits import (
    SEARCH_CHARACTERS_MAX,
    SEARCH_OFFSET_MAX,
    SEARCH_PARAMETERS_MAX,
    SEARCH_RESULTS_MAX,
)

_FLAGS: Final = frozenset({"emptyvaluematching", "fuzzymatching", "multiplevaluematching"})
_NUMBERS: Final = frozenset({"limit", "offset"})
_ACCEPT: Final = "accept"
_CHARSET: Final = "charset"
_INCLUDE: Final = "includefield"
_UTF_8: Final = frozenset({"utf-8", "utf8"})


@dataclass(frozen=True, slots=True, repr=False)
class AttributeMatch:
    """An attribute and what is asked of it.

    Attributes:
        path: attribute ids as written, from the outermost sequence inwards: keywords or ``ggggeeee``.
        value: decoded; empty asks for the attribute only.
    """

    path: tuple[str, ...]
    value: str


@dataclass(frozen=True, slots=True)
class SearchParameters:
    """What a query string says.

    Attributes:
        matches: in their order.
        included: paths of ``includefield``.
        include_all: ``includefield=all`` was among them.
        fuzzy: person names match fuzzily.
        empty_value_matching: asked for. Source: PS3.18 8.3.4.5.
        multiple_value_matching: asked for. Source: PS3.18 8.3.4.6.
        limit: results at most, never above what a server gives; None where the client does not say.
        limited: the client asked for more than a server gives.
        offset: results to pass over.
        accept: values of the ``accept`` parameter.
    """

    matches: tuple[AttributeMatch, ...] = ()
    included: tuple[tuple[str, ...], ...] = ()
    include_all: bool = False
    fuzzy: bool = False
    empty_value_matching: bool = False
    multiple_value_matching: bool = False
    limit: int | None = None
    limited: bool = False
    offset: int = 0
    accept: tuple[str, ...] = ()


def parse_search(query_string: str | bytes) -> SearchParameters:
    """Return what a query string says.

    Args:
        query_string: as in the URL, percent-encoded, without ``?``.

    Raises:
        RequestRefused: 400, with the rule that was broken; 414 where it is too long.
    """
    raw = query_string.encode("latin-1", "replace") if isinstance(query_string, str) else query_string
    if len(raw) > SEARCH_CHARACTERS_MAX:
        raise RequestRefused("the query string is too long", http_status=414)
    matches: list[AttributeMatch] = []
    included: list[tuple[str, ...]] = []
    accept: list[str] = []
    once: dict[str, str] = {}
    count = 0
    for name, value in _pairs(raw):
        count += 1
        if name == _INCLUDE:
            fields = [field.strip() for field in value.split(",")]
            count += len(fields) - 1
            included.extend(_path(field) for field in fields if field)
        elif name == _ACCEPT:
            accept.append(value)
        elif name in _FLAGS or name in _NUMBERS or name == _CHARSET:
            if name in once:
                raise RequestRefused(f"the parameter {name} is given twice")
            once[name] = value.strip()
        else:
            matches.append(AttributeMatch(_path(name), value))
        if count > SEARCH_PARAMETERS_MAX:
            raise RequestRefused(f"more than {SEARCH_PARAMETERS_MAX} parameters or fields")
    if once.get(_CHARSET, "utf-8").lower() not in _UTF_8:
        raise RequestRefused("answers are in UTF-8 only", http_status=406)
    limit = _number(once, "limit")
    offset = _number(once, "offset") or 0
    if offset > SEARCH_OFFSET_MAX:
        raise RequestRefused(f"offset is above {SEARCH_OFFSET_MAX}: narrow the query instead")
    fields_asked = [path for path in included if path != ("all",)]
    return SearchParameters(
        matches=tuple(matches),
        included=tuple(dict.fromkeys(fields_asked)),
        include_all=len(fields_asked) < len(included),
        fuzzy=_flag(once, "fuzzymatching"),
        empty_value_matching=_flag(once, "emptyvaluematching"),
        multiple_value_matching=_flag(once, "multiplevaluematching"),
        limit=None if limit is None else min(limit, SEARCH_RESULTS_MAX),
        limited=limit is not None and limit > SEARCH_RESULTS_MAX,
        offset=offset,
        accept=tuple(accept),
    )


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for part in raw.split(b"&"):
        if not part:
            continue
        if len(pairs) >= SEARCH_PARAMETERS_MAX:
            raise RequestRefused(f"more than {SEARCH_PARAMETERS_MAX} parameters or fields")
        name, equals, value = part.partition(b"=")
        if not name or not equals:
            raise RequestRefused("a parameter without name or without '=' (PS3.18 8.3.1)")
        pairs.append((_decoded(name), _decoded(value)))
    return pairs


def _decoded(raw: bytes) -> str:
    """Return text of UTF-8; a plus is a space, as forms of browsers and most clients write it."""
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise RequestRefused("a parameter is not in UTF-8") from None
    if any(ord(character) < 0x20 and character not in "\t\x1b" for character in text):
        raise RequestRefused("a parameter holds control characters")
    return text


def _path(text: str) -> tuple[str, ...]:
    path = tuple(text.strip().split("."))
    if not all(part.isascii() and part.isalnum() for part in path):
        raise RequestRefused("a parameter is neither one of a search nor an attribute (PS3.18 8.3.4)")
    return path


def _number(once: dict[str, str], name: str) -> int | None:
    text = once.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise RequestRefused(f"{name} is not a whole number from 0 on")
    return int(text[:18]) if len(text.lstrip("0")) <= 18 else 10**18


def _flag(once: dict[str, str], name: str) -> bool:
    text = once.get(name, "false").lower()
    if text not in {"true", "false"}:
        raise RequestRefused(f"{name} is neither true nor false")
    return text == "true"
