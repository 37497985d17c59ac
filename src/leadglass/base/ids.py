"""Names of things, checked where they enter."""

import re
from typing import Final, NewType

from leadglass.base.errors import UsageError

UID = NewType("UID", str)
"""A DICOM unique identifier. Source: PS3.5 9.1."""

AETitle = NewType("AETitle", str)
"""An application entity title without its padding. Source: PS3.5 6.2 (AE), PS3.8 9.3.2."""

_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
UID_LENGTH_MAX: Final = 64
AE_TITLE_LENGTH_MAX: Final = 16


def is_uid(text: str) -> bool:
    """Tell whether ``text`` has the form of a UID.

    Components with leading zeros break PS3.5 9.1 but are common in the field and harmless here: no name of a file,
    and no other decision, is ever made from the text of a UID. They are taken as they are.
    """
    return 0 < len(text) <= UID_LENGTH_MAX and _UID.fullmatch(text) is not None


def parse_uid(text: str) -> UID:
    """Return ``text`` as a UID.

    Raises:
        UsageError: it is empty, longer than 64 characters, or holds anything but digits and dots.
    """
    if not is_uid(text):
        raise UsageError("not a DICOM UID (PS3.5 9.1): 1 to 64 digits and dots are expected")
    return UID(text)


def parse_ae_title(text: str) -> AETitle:
    """Return ``text`` without leading and trailing spaces, which are not significant.

    Raises:
        UsageError: it is empty, longer than 16 characters, or holds a control character, a backslash or anything
            outside the ISO 646 basic G0 set.
    """
    title = text.strip(" ")
    if not 0 < len(title) <= AE_TITLE_LENGTH_MAX:
        raise UsageError("an AE title has 1 to 16 characters (PS3.5 6.2)")
    if any(not 0x20 <= ord(c) < 0x7F or c == "\\" for c in title):
        raise UsageError("an AE title holds printable ASCII without backslash (PS3.5 6.2)")
    return AETitle(title)
