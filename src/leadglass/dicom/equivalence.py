"""Whether two encodings say the same: for resends that passed through other software.

A toolkit that forwards an object may write it anew: group lengths gone, sequences of another length form, values padded
otherwise, another uncompressed transfer syntax. No attribute has changed then, and the object is not another one.

**Invariant:** pure; whatever cannot be read is not the same.
"""

from typing import Final

from leadglass.base.errors import DatasetRefused
from leadglass.dicom.syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES, TransferSyntax
from leadglass.dicom.transcode import transcode
from leadglass.dicom.values import Dataset, Element, read_whole_object

_DATA_SET_TRAILING_PADDING: Final = 0xFFFC_FFFC
"""Source: PS3.10 7.2."""

_PADDING: Final = b" \0"
"""Values are padded to even length with a space, UIDs and octets with a zero (PS3.5 6.2)."""


def same_content(first: bytes, first_syntax: str, second: bytes, second_syntax: str) -> bool:
    """Tell whether two data sets have the same attributes with the same values.

    Args:
        first: a whole data set, without preamble and file meta information.
        first_syntax: UID of the transfer syntax it is in.
        second: as above.
        second_syntax: as above.

    Returns:
        False as well where one of them cannot be read, is deflated, or is compressed otherwise than the other.
    """
    encodings = TRANSFER_SYNTAXES.get(first_syntax), TRANSFER_SYNTAXES.get(second_syntax)
    if encodings[0] is None or encodings[1] is None or encodings[0].deflated or encodings[1].deflated:
        return False
    if first_syntax != second_syntax and (encodings[0].encapsulated or encodings[1].encapsulated):
        return False
    try:
        return _same_attributes(_read(first, encodings[0]), _read(second, encodings[1]))
    except DatasetRefused:
        return False


def _read(data: bytes, encoding: TransferSyntax) -> Dataset:
    if encoding.big_endian:
        # How wide the numbers in OW pixel data are stands in other attributes (PS3.5 7.3): ``transcode`` knows.
        data = transcode(data, encoding.uid, EXPLICIT_VR_LITTLE_ENDIAN)
    return read_whole_object(data, explicit=not encoding.implicit_vr, big=False)


def _same_attributes(left: Dataset, right: Dataset) -> bool:
    """Compare all but what carries no content: group lengths and trailing padding. Depth is bounded by the reader."""
    tags = [
        {tag for tag in dataset if tag & 0xFFFF and tag != _DATA_SET_TRAILING_PADDING}
        for dataset in (left, right)
    ]
    return tags[0] == tags[1] and all(_same_element(left[tag], right[tag]) for tag in tags[0])


def _same_element(left: Element, right: Element) -> bool:
    if left.items is not None and right.items is not None:
        return len(left.items) == len(right.items) and all(
            _same_attributes(one, other) for one, other in zip(left.items, right.items, strict=True)
        )
    if (left.items is None) != (right.items is None) or left.encapsulated != right.encapsulated:
        return False
    return left.value == right.value or (
        abs(len(left.value) - len(right.value)) <= 1
        and left.value.rstrip(_PADDING) == right.value.rstrip(_PADDING)
    )
