"""Does a value meet a key? The rules of PS3.4 C.2.2.2, one value representation at a time.

Decisions that the standard leaves open:

- Person names match without regard to case and accents, and a key without ``=`` matches any component group, so
  that a name is found in whatever script it is known. Everything else is exact, after Unicode composition.
- A time or date-time is compared as written; Timezone Offset From UTC is not applied.
- An attribute with several values matches when one of them does.
- A fuzzy match of a person name takes the words of the key in any order; each must be a word of the name, its
  beginning, or sound like it (``FuzzyNamePattern``).

**Invariant:** nothing raises on any stored value, and the time is linear in its length: wild cards are not regular
expressions.

Source: PS3.4 C.2.2.2.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from leadglass.base.limits import NAME_WORDS_MAX, WILDCARD_CHARACTERS_MAX
from leadglass.dicom.normalise import fold_name_group

WILDCARDS: Final = frozenset("*?")

_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_DA: Final = re.compile(r"([0-9]{4})[.-]?([0-9]{2})[.-]?([0-9]{2})", re.ASCII)
_TM: Final = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]{1,6}))?)?)?", re.ASCII)
_DT: Final = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?)?)?)?"
    r"(?:[+-](?:0[0-9]|1[0-4])[0-5][0-9])?",
    re.ASCII,
)


_NO_WORD: Final = re.compile(r"[\^=\s,;./_()\[\]-]+")
_APOSTROPHES: Final = re.compile("['`\u2019]")
_SOUNDING_LETTERS_MIN: Final = 3
_LATIN: Final = re.compile(rf"[a-zßæœøłđ]{{{_SOUNDING_LETTERS_MIN},}}")
_SPELLINGS: Final = (
    ("ß", "s"), ("æ", "e"), ("œ", "e"), ("ø", "o"), ("ł", "l"), ("đ", "d"), ("ph", "f"), ("dt", "t"), ("ck", "k"),
    ("tz", "s"), ("ts", "s"),
)  # fmt: skip
"""Letters and spellings of one sound that Soundex would tell apart."""
_SOUNDS: Final = {
    letter: str(number)
    for number, letters in enumerate(("bfpv", "cgjkqsxz", "dt", "l", "mn", "r"), start=1)
    for letter in letters
}
"""Codes of Soundex (Russell 1918)."""


# --- wild cards ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Piece:
    """What stands between two ``*``: characters, some of them ``?``."""

    text: str
    masks: dict[str, int]
    any_mask: int

    @classmethod
    def of(cls, text: str) -> "_Piece":
        masks: dict[str, int] = {}
        any_mask = 0
        for position, character in enumerate(text):
            if character == "?":
                any_mask |= 1 << position
            else:
                masks[character] = masks.get(character, 0) | 1 << position
        return cls(text, masks, any_mask)

    def at(self, value: str, start: int) -> bool:
        """Tell whether the piece stands at ``start``, which leaves room for it."""
        if not self.any_mask:
            return value.startswith(self.text, start)
        return all(
            c in ("?", v) for c, v in zip(self.text, value[start : start + len(self.text)], strict=True)
        )

    def find(self, value: str, start: int, end: int) -> int:
        """Return where the piece first stands within ``value[start:end]``, or -1.

        With ``?`` all positions of the piece advance together, as bits of one number (shift-and, Baeza-Yates and
        Gonnet 1992): one step per character, whatever the piece.
        """
        if not self.any_mask:
            return value.find(self.text, start, end)
        goal = 1 << (len(self.text) - 1)
        state = 0
        for position in range(start, end):
            state = (state << 1 | 1) & (self.masks.get(value[position], 0) | self.any_mask)
            if state & goal:
                return position - len(self.text) + 1
        return -1


class WildcardPattern:
    """A text with ``*`` and ``?``, made ready once for many values."""

    __slots__ = ("_pieces", "_shortest")

    def __init__(self, pattern: str) -> None:
        self._pieces = tuple(_Piece.of(text) for text in pattern.split("*"))
        self._shortest = sum(len(piece.text) for piece in self._pieces)

    def matches(self, value: str) -> bool:
        """Tell whether the whole value meets the pattern. Leftmost fits suffice: ``*`` takes any rest."""
        first, *middle = self._pieces
        if not middle:
            return len(value) == self._shortest and first.at(value, 0)
        last = middle.pop()
        end = len(value) - len(last.text)
        if len(value) < self._shortest or not first.at(value, 0) or not last.at(value, end):
            return False
        position = len(first.text)
        for piece in middle:
            if not piece.text:
                continue
            found = piece.find(value, position, end)
            if found < 0:
                return False
            position = found + len(piece.text)
        return True


def count_wildcards(text: str) -> int:
    """Return the number of wild cards; runs of ``*`` count as one, as they mean one."""
    return len(re.findall(r"\*+|\?", text))


def too_many_wildcards(text: str) -> bool:
    """Tell whether a key asks for more than ``WILDCARD_CHARACTERS_MAX`` wild cards."""
    return count_wildcards(text) > WILDCARD_CHARACTERS_MAX


# --- texts and names -------------------------------------------------------------------------------------------


def comparable(text: str) -> str:
    """Return ``text`` so that equal characters are equal strings, whatever character set they came in."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


class NamePattern:
    """A person name as a key, with or without wild cards. Source: PS3.4 C.2.2.2.1, PS3.5 6.2.1."""

    __slots__ = ("_groups", "_in_any_group", "_wildcards")

    def __init__(self, key: str) -> None:
        # Folding makes "*" of a full-width asterisk, which is no wild card of its own accord.
        self._wildcards = any(character in WILDCARDS for character in key)
        self._in_any_group = "=" not in key
        self._groups = tuple(
            (folded, folded.count("^"), WildcardPattern(folded))
            for folded in (fold_name_group(group) for group in key.split("="))
        )

    def matches(self, value: str) -> bool:
        """Tell whether a name meets the key: any group of it, or group by group where the key names groups."""
        if self._in_any_group:
            folded = (fold_name_group(group) for group in value.split("="))
            return any(self._group_matches(0, group) for group in folded if group)
        groups = [fold_name_group(group) for group in value.split("=")]
        groups += [""] * (len(self._groups) - len(groups))
        return all(
            not folded or self._group_matches(number, groups[number])
            for number, (folded, _, _) in enumerate(self._groups)
        )

    def _group_matches(self, number: int, group: str) -> bool:
        folded, carets, pattern = self._groups[number]
        if not self._wildcards:
            return folded == group
        if pattern.matches(group):
            return True
        # "DOE" is "DOE^^^^": a key "DOE^*" asks for any given name, and none is one.
        missing = carets - group.count("^")
        return missing > 0 and pattern.matches(group + "^" * missing)


# --- fuzzy names -----------------------------------------------------------------------------------------------


class FuzzyNamePattern:
    """A person name as a key of a fuzzy match, made ready once for many names.

    It meets every name that the same key meets without it, and every name of which one component group has, for each
    word of the key, a word of its own that is the same, begins with it, or sounds like it. Words are what stands between
    delimiters, spaces and punctuation, folded as for literal matching; which component they stand in does not count. In a
    word with wild cards these mean what they mean elsewhere, within the word.

    How a word sounds is Soundex with two changes: its first letter is coded like the others, so that Karl is Carl and
    Philip is Filip, and a code says more than four digits. Words of fewer than ``_SOUNDING_LETTERS_MIN`` letters, and of
    other scripts than Latin, only match as they are written.

    Source: PS3.4 C.2.2.2.1.1 leaves the algorithm to the provider; PS3.18 8.3.4.2.
    """

    __slots__ = ("_literal", "_words")

    def __init__(self, key: str) -> None:
        self._literal = NamePattern(key)
        words = [word for group in key.split("=") for word in _words(group)]
        self._words = tuple(_FuzzyWord(word) for word in dict.fromkeys(words[:NAME_WORDS_MAX]))

    def matches(self, value: str) -> bool:
        """Tell whether a name meets the key."""
        if self._literal.matches(value):
            return True
        return any(self._group_meets(_words(group)[:NAME_WORDS_MAX]) for group in value.split("="))

    def _group_meets(self, words: list[str]) -> bool:
        if not self._words or len(words) < len(self._words):
            return False
        candidates = [
            [n for n, word in enumerate(words) if asked.meets(word)]
            for asked in sorted(self._words, key=_by_text)
        ]
        return all(candidates) and _all_placed(candidates)


def _by_text(word: "_FuzzyWord") -> str:
    return word.text


def _all_placed(candidates: list[list[int]]) -> bool:
    """Tell whether each word of the key can have a word of the name of its own (augmenting paths, Kuhn 1955)."""
    taken: dict[int, int] = {}

    def place(asked: int, tried: set[int]) -> bool:
        for word in candidates[asked]:
            if word in tried:
                continue
            tried.add(word)
            if word not in taken or place(taken[word], tried):
                taken[word] = asked
                return True
        return False

    return all(place(asked, set()) for asked in range(len(candidates)))


class _FuzzyWord:
    """One word of a key."""

    __slots__ = ("_pattern", "_sound", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        wild = any(character in WILDCARDS for character in text)
        self._pattern = WildcardPattern(re.sub(r"\*+", "*", text)) if wild else None
        self._sound = "" if wild else sound_of(text)

    def meets(self, word: str) -> bool:
        if self._pattern is not None:
            return self._pattern.matches(word)
        return word.startswith(self.text) or (bool(self._sound) and self._sound == sound_of(word))


def _words(group: str) -> list[str]:
    """Return the folded words of a component group; wild cards are part of a word, apostrophes are not."""
    return _NO_WORD.sub(" ", _APOSTROPHES.sub("", fold_name_group(group))).split()


@lru_cache(maxsize=65_536)
def sound_of(word: str) -> str:
    """Return how a folded word sounds, for comparison with others; empty where that is not told.

    Vowels are left out, but one between two letters of the same sound keeps them apart; H and W do not
    (Soundex of the US National Archives).
    """
    if not _LATIN.fullmatch(word):
        return ""
    for letters, sound in _SPELLINGS:
        word = word.replace(letters, sound)
    digits: list[str] = []
    last = ""
    for letter in word:
        code = _SOUNDS.get(letter, "")
        if code and code != last:
            digits.append(code)
        if letter not in "hw":
            last = code
    if word[0] in "aeiouy":
        digits.insert(0, "0")
    return "".join(digits) if len(digits) > 1 else ""


# --- numbers ---------------------------------------------------------------------------------------------------


def numbers_equal(key: str, value: str) -> bool:
    """Tell whether two decimal texts are the same number: ``1.50`` is ``1.5``; texts that are none must be equal."""
    if key == value:
        return True
    # Python's float() takes more than DS does: underscores, "nan", digits of other scripts.
    if not _DECIMAL.fullmatch(key) or not _DECIMAL.fullmatch(value):
        return False
    return float(key) == float(value)


def integer_of(text: str) -> int | None:
    """Return the 64-bit integer that a text states, or None."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


# --- dates and times -------------------------------------------------------------------------------------------


def span(vr: str, text: str) -> tuple[str, str] | None:
    """Return first and last instant of a DA, TM or DT value at its precision, or None for anything else.

    ``"1015"`` of TM spans ``101500.000000`` to ``101559.999999``. A leap second and the old forms ``YYYY.MM.DD`` and
    ``HH:MM:SS`` are understood. Source: PS3.5 6.2.
    """
    if vr == "DA":
        return _date_span(text)
    if vr == "TM":
        return _time_span(text)
    return _date_time_span(text)


def _date_span(text: str) -> tuple[str, str] | None:
    match = _DA.fullmatch(text)
    if match is None or not _is_date(match[1], match[2], match[3]):
        return None
    day = match[1] + match[2] + match[3]
    return day, day


def _is_date(year: str, month: str, day: str) -> bool:
    """Tell whether it is a date, or at least a day 31 of a month that has fewer: many clients end a month so."""
    return int(year) > 0 and 1 <= int(month) <= 12 and 1 <= int(day) <= 31


def _time_span(text: str) -> tuple[str, str] | None:
    match = _TM.fullmatch(text)
    if match is None:
        return None
    hour, minute, second, fraction = match[1], match[2], match[3], match[4]
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 60:
        return None
    low = f"{hour}{minute or '00'}{second or '00'}.{(fraction or '').ljust(6, '0')}"
    high = f"{hour}{minute or '59'}{second or '59'}.{(fraction or '').ljust(6, '9')}"
    return low, high


def _date_time_span(text: str) -> tuple[str, str] | None:
    match = _DT.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction = match.groups()
    if not _is_date(year, month or "01", day or "01"):
        return None
    time = (
        _time_span(f"{hour or ''}{minute or ''}{second or ''}{'.' + fraction if fraction else ''}")
        if hour
        else None
    )
    if hour and time is None:
        return None
    low, high = time or ("000000.000000", "235959.999999")
    return (
        f"{year}{month or '01'}{day or '01'}{low}",
        # The last day of a month only needs to sort behind every real one.
        f"{year}{month or '12'}{day or '31'}{high}",
    )


def in_range(vr: str, low: str, high: str, value: str) -> bool:
    """Tell whether a stored date or time begins within a range, both ends included; an empty end is open."""
    spanned = span(vr, value)
    return spanned is not None and low <= spanned[0] and (not high or spanned[0] <= high)
