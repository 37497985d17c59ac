"""Files as pydicom sees them, so that our own reader is not its own judge."""

import warnings
from io import BytesIO
from pathlib import Path

from pydicom import Dataset
from pydicom.filereader import _read_file_meta_info, dcmread, read_dataset, read_preamble

from interop.peers import BIG_ENDIAN, EXPLICIT, IMPLICIT, RawObject

_TRAILING_PADDING = 0xFFFCFFFC
_NAMES = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


def raw_object(path: Path) -> RawObject | None:
    """Return the data set of a file as octets; None where the file does not say what it is."""
    return raw_object_of(path.read_bytes())


def raw_object_of(octets: bytes) -> RawObject | None:
    """Return the data set of what a file holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom has much to say about these files
        file = _behind_preamble(octets)
        meta = _read_file_meta_info(file)
        offset = file.tell()
        header = dcmread(BytesIO(octets), force=True, specific_tags=_NAMES)
        syntax = meta.get("TransferSyntaxUID") or _guessed(header.original_encoding)
        sop_class = header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID")
        sop_instance = header.get("SOPInstanceUID") or meta.get("MediaStorageSOPInstanceUID")
        if not (sop_class and sop_instance):
            return None
        study, series = header.get("StudyInstanceUID"), header.get("SeriesInstanceUID")
    return RawObject(
        str(sop_class), str(sop_instance), str(syntax), octets[offset:], str(study or ""), str(series or "")
    )


def names_itself(octets: bytes) -> bool:
    """Tell whether a file's meta information names the object that its data set is. Source: PS3.10 7.1."""
    if octets[128:132] != b"DICM":
        return False
    item = raw_object_of(octets)
    assert item is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        meta = _read_file_meta_info(_behind_preamble(octets))
    named = meta.get("MediaStorageSOPClassUID"), meta.get("MediaStorageSOPInstanceUID")
    return named == (item.sop_class_uid, item.sop_instance_uid)


def _behind_preamble(octets: bytes) -> BytesIO:
    file = BytesIO(octets)
    read_preamble(file, force=True)
    return file


def may_say_the_same(one: RawObject, other: RawObject) -> bool:
    """Tell by pydicom whether two objects have the same attributes and, octet order apart, the same pixels."""
    uncompressed = {EXPLICIT, IMPLICIT, BIG_ENDIAN}
    if one.encoding[1] != other.encoding[1] and not {one.encoding[1], other.encoding[1]} <= uncompressed:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        left, right = (_attributes(item) for item in (one, other))
    if set(left.keys()) != set(right.keys()) or left.get("PatientName") != right.get("PatientName"):
        return False
    pixels = [sorted(dataset.get("PixelData", b"")) for dataset in (left, right)]
    return pixels[0] == pixels[1]


def _attributes(item: RawObject) -> Dataset:
    syntax = item.encoding[1]
    dataset = read_dataset(BytesIO(item.dataset), syntax == IMPLICIT, syntax != BIG_ENDIAN)
    for tag in [tag for tag in dataset.keys() if tag.element == 0 or tag == _TRAILING_PADDING]:  # noqa: SIM118 - no dict
        del dataset[tag]
    return dataset


def _guessed(encoding: tuple[bool | None, bool | None]) -> str:
    is_implicit, is_little_endian = encoding
    if is_implicit:
        return IMPLICIT
    return EXPLICIT if is_little_endian else BIG_ENDIAN
