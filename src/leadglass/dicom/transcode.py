"""From any stored transfer syntax to one that every peer takes.

Used when a peer did not accept the syntax in which an object is stored. Only what the encoding asks for is changed:

- value representations become explicit or implicit, numbers little endian; a "US or SS" follows Pixel Representation;
- encapsulated pixel data are decoded; Planar Configuration becomes 0, and Photometric Interpretation what the decoded
  samples are: RGB after JPEG (lossy) and after the colour transforms of JPEG 2000, otherwise as it was;
- Extended Offset Tables and group lengths go, since they describe the encoding that was.

SOP Instance UID stays, also behind a lossy compression: the decoded image is the same image, and Lossy Image
Compression keeps saying what happened to it (PS3.3 C.7.6.1.1.5). Values are never interpreted, so what is odd stays odd.

**Invariant:** octets in, octets out: no file, no clock, no state. Decoders are native code: for objects of strangers run
``dicom.transcode_main`` in a process of its own. Sizes are checked against header *and* code stream before a decoder
sees a frame (decompression bombs).

Source: PS3.5 Annex A, 8.2; PS3.3 C.7.6.3.1.
"""

import importlib
import struct
import warnings
import zlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID as PydicomUID  # noqa: N811 - a name, no constant

from leadglass.base.errors import DatasetRefused
from leadglass.base.limits import FRAME_BYTES_MAX, TRANSCODE_BYTES_MAX
from leadglass.dicom import values
from leadglass.dicom.match import integer_of
from leadglass.dicom.syntaxes import TRANSFER_SYNTAXES, TransferSyntax
from leadglass.dicom.values import Dataset, Element

_GDCM: Final[Any] = importlib.import_module("gdcm")
"""Generated bindings without types."""

TARGETS: Final = frozenset({values.IMPLICIT_LITTLE_ENDIAN, values.EXPLICIT_LITTLE_ENDIAN})
"""Transfer syntaxes that can be written. Implicit VR little endian is everybody's duty (PS3.5 10.1)."""

_UNCOMPRESSED: Final = values.SYNTAXES
_JPEG_LOSSY: Final = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
_JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
_JPEG_LS: Final = "1.2.840.10008.1.2.4.8"
_JPEG_2000: Final = "1.2.840.10008.1.2.4.9"
_HTJ2K: Final = "1.2.840.10008.1.2.4.20"

_PIXEL_DATA: Final = 0x7FE0_0010
_OFFSET_TABLES: Final = frozenset({0x7FE0_0001, 0x7FE0_0002, 0x7FE0_0003})
_SAMPLES_PER_PIXEL: Final = 0x0028_0002
_PHOTOMETRIC_INTERPRETATION: Final = 0x0028_0004
_PLANAR_CONFIGURATION: Final = 0x0028_0006
_NUMBER_OF_FRAMES: Final = 0x0028_0008
_ROWS: Final = 0x0028_0010
_COLUMNS: Final = 0x0028_0011
_BITS_ALLOCATED: Final = 0x0028_0100
_BITS_STORED: Final = 0x0028_0101
_PIXEL_REPRESENTATION: Final = 0x0028_0103


def can_transcode(from_syntax: str, to_syntax: str) -> bool:
    """Tell whether objects in one transfer syntax can be written in another; a particular one may still be refused."""
    if to_syntax not in TARGETS:
        return False
    return from_syntax in _UNCOMPRESSED or _has_decoder(from_syntax)


def transcode(dataset: bytes, from_syntax: str, to_syntax: str) -> bytes:
    """Return a data set in another transfer syntax.

    Args:
        dataset: a whole data set, without preamble and file meta information.
        from_syntax: UID of the transfer syntax it is in.
        to_syntax: one of ``TARGETS``.

    Returns:
        The data set; memory is about four times the larger of the two.

    Raises:
        DatasetRefused: there is no decoder, it is malformed, it says it is larger than ``TRANSCODE_BYTES_MAX``, or its
            code streams do not decode to what its attributes say.
    """
    if not can_transcode(from_syntax, to_syntax):
        raise DatasetRefused("there is no decoder from its transfer syntax to the one that is asked for")
    syntax = TRANSFER_SYNTAXES[from_syntax]
    if syntax.deflated:
        dataset = _inflate(dataset)
    source = values.read_whole_object(dataset, explicit=not syntax.implicit_vr, big=syntax.big_endian)
    return values.write_dataset(_reencoded(source, syntax, "").values(), to_syntax)


@lru_cache(maxsize=128)
def _has_decoder(transfer_syntax_uid: str) -> bool:
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    if syntax is None or not syntax.encapsulated:
        return False
    try:
        return get_decoder(transfer_syntax_uid).is_available
    except NotImplementedError:
        return False


def load_decoders() -> None:
    """Load every decoder that there is, so that the first frame does not wait for it."""
    for uid in TRANSFER_SYNTAXES:
        _has_decoder(uid)


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        out = inflater.decompress(data, TRANSCODE_BYTES_MAX)
    except zlib.error as error:
        raise DatasetRefused("the deflated stream is broken") from error
    if not inflater.eof:
        raise DatasetRefused("the deflated stream is cut short, or inflates beyond the bound")
    return out


def _reencoded(dataset: Dataset, syntax: TransferSyntax, representation: str) -> Dataset:
    """Return a data set or item as it is written in the new syntax."""
    own = _text(dataset, _PIXEL_REPRESENTATION)
    representation = own or representation
    out: Dataset = {}
    for tag, element in dataset.items():
        if tag & 0xFFFF == 0:
            continue
        if element.items is not None:
            items = tuple(_reencoded(item, syntax, representation) for item in element.items)
            out[tag] = Element(tag, "SQ", b"", items)
        elif element.encapsulated:
            if tag != _PIXEL_DATA:
                raise DatasetRefused("fragments in an attribute other than Pixel Data")
        elif syntax.implicit_vr and representation == "1" and _may_be_signed(tag):
            out[tag] = Element(tag, "SS", element.value)
        else:
            out[tag] = element
    pixel_data = dataset.get(_PIXEL_DATA)
    if pixel_data is not None and pixel_data.encapsulated:
        for table in _OFFSET_TABLES:
            out.pop(table, None)
        for element in _decoded(dataset, pixel_data, syntax):
            out[element.tag] = element
    elif pixel_data is not None and syntax.big_endian:
        out[_PIXEL_DATA] = _little_endian_pixels(dataset, pixel_data)
    return out


@lru_cache(maxsize=4096)
def _may_be_signed(tag: int) -> bool:
    try:
        return dictionary_VR(tag) in {"US or SS", "US or SS or OW"}
    except KeyError:
        return False


def _text(dataset: Dataset, tag: int) -> str:
    element = dataset.get(tag)
    if element is None or element.items is not None:
        return ""
    if element.vr == "UN":
        element = Element(tag, values.vr_of(tag), element.value)
    texts = values.texts_of(element, values.character_set(""))
    return texts[0] if texts else ""


def _number(dataset: Dataset, tag: int, *, default: int | None = None) -> int:
    text = _text(dataset, tag)
    number = integer_of(text) if text or default is None else default
    if number is None or number < 0:
        raise DatasetRefused(
            f"{values.keyword_of(tag)} is missing or no number, so its pixel data cannot be decoded"
        )
    return number


def _little_endian_pixels(dataset: Dataset, pixel_data: Element) -> Element:
    """Order the octets of 32 and 64 bit cells in OW, which were swapped by words only. Source: PS3.5 8.1.1, 8.2."""
    bits = _number(dataset, _BITS_ALLOCATED, default=16)
    words = bits // 16
    value = pixel_data.value
    if pixel_data.vr != "OW" or bits not in {32, 64} or len(value) % (bits // 8):
        return pixel_data
    swapped = bytearray(len(value))
    for word in range(words):
        for octet in (0, 1):
            swapped[2 * word + octet :: 2 * words] = value[2 * (words - 1 - word) + octet :: 2 * words]
    return Element(_PIXEL_DATA, pixel_data.vr, bytes(swapped))


# --- encapsulated pixel data -----------------------------------------------------------------------------------


def decoded_frame(dataset: Dataset, stream: bytes, transfer_syntax_uid: str) -> tuple[bytes, str]:
    """Return one frame decoded, colour by pixel, numbers little endian, and its photometric interpretation.

    Args:
        dataset: the object's attributes; Pixel Data may be missing.
        stream: the frame's code stream: its fragments, joined.
        transfer_syntax_uid: that it is in.

    Raises:
        DatasetRefused: there is no decoder; the frame would be larger than ``FRAME_BYTES_MAX``; it does not decode to what
            the attributes say.
    """
    if not _has_decoder(transfer_syntax_uid):
        raise DatasetRefused("there is no decoder for its transfer syntax")
    frame_bytes, options = _frame_options(dataset)
    if frame_bytes > FRAME_BYTES_MAX:
        raise DatasetRefused(f"a frame would be larger than {FRAME_BYTES_MAX} octets")
    _check_sizes((stream,), options, transfer_syntax_uid)
    return _pixels([stream], options, transfer_syntax_uid, frame_bytes)


def _frame_options(dataset: Dataset) -> tuple[int, dict[str, int | str]]:
    """Return the octets of a decoded frame, and what its decoder is told."""
    samples = _number(dataset, _SAMPLES_PER_PIXEL, default=1)
    bits_allocated = _number(dataset, _BITS_ALLOCATED)
    if samples not in {1, 3, 4} or bits_allocated not in {8, 16, 32, 64}:
        raise DatasetRefused("compressed pixel data of an unusual number of samples or bits")
    rows, columns = _number(dataset, _ROWS), _number(dataset, _COLUMNS)
    photometric = _text(dataset, _PHOTOMETRIC_INTERPRETATION) or ("MONOCHROME2" if samples == 1 else "RGB")
    frame_bytes = rows * columns * samples * (bits_allocated // 8)
    if not frame_bytes:
        raise DatasetRefused("its pixel data would be empty")
    return frame_bytes, {
        "rows": rows,
        "columns": columns,
        "samples_per_pixel": samples,
        "photometric_interpretation": photometric,
        "bits_allocated": bits_allocated,
        "bits_stored": _number(dataset, _BITS_STORED, default=bits_allocated),
        "pixel_representation": _number(dataset, _PIXEL_REPRESENTATION, default=0),
        "planar_configuration": _number(dataset, _PLANAR_CONFIGURATION, default=0),
        "number_of_frames": 1,
    }


def _check_sizes(streams: Iterable[bytes], options: dict[str, int | str], transfer_syntax_uid: str) -> None:
    """Refuse a code stream that says another size, before any decoder allocates what it says instead."""
    for stream in streams:
        size = code_stream_size(stream, transfer_syntax_uid)
        if size is not None and size != (options["rows"], options["columns"]):
            raise DatasetRefused("a code stream has other rows and columns than the attributes say")


def _decoded(dataset: Dataset, pixel_data: Element, syntax: TransferSyntax) -> Iterable[Element]:
    """Decode every frame; return Pixel Data and the attributes that change with it."""
    # 1. What the attributes say has a size that we are willing to make.
    frame_bytes, options = _frame_options(dataset)
    frames = _number(dataset, _NUMBER_OF_FRAMES, default=1) or 1
    if frame_bytes * frames > TRANSCODE_BYTES_MAX:
        raise DatasetRefused(f"its pixel data would be larger than {TRANSCODE_BYTES_MAX} octets")
    # 2. Every code stream says the same.
    streams = _code_streams(pixel_data, frames, dataset)
    _check_sizes(streams, options, syntax.uid)
    # 3. Decode; each frame must come out as large as was announced.
    pixels, photometric = _pixels(streams, options, syntax.uid, frame_bytes)
    # 4. PS3.5 A.2, 8.2: OW above eight bits, OB up to eight; even length.
    vr = "OW" if int(options["bits_allocated"]) > 8 else "OB"
    changed = [Element(_PIXEL_DATA, vr, pixels + b"\0" * (len(pixels) & 1))]
    if _text(dataset, _PHOTOMETRIC_INTERPRETATION) != photometric:
        changed.append(Element(_PHOTOMETRIC_INTERPRETATION, "CS", photometric.encode()))
    if options["samples_per_pixel"] != 1:
        changed.append(values.text_element(_PLANAR_CONFIGURATION, 0))
    return changed


def _code_streams(pixel_data: Element, frames: int, dataset: Dataset) -> list[bytes]:
    """Return one code stream a frame. Source: PS3.5 A.4."""
    value = pixel_data.value
    if len(value) < 8:
        raise DatasetRefused("encapsulated pixel data without fragments")
    tables = [dataset.get(tag) for tag in (0x7FE0_0001, 0x7FE0_0002)]
    extended = cast("tuple[bytes, bytes] | None", None)
    if tables[0] is not None and tables[1] is not None and tables[0].value and tables[1].value:
        extended = (tables[0].value, tables[1].value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            streams = list(generate_frames(value, number_of_frames=frames, extended_offsets=extended))
    except (ValueError, IndexError, struct.error, EOFError) as error:
        raise DatasetRefused("its fragments cannot be assigned to frames") from error
    if len(streams) != frames:
        raise DatasetRefused("it has more or fewer frames than Number of Frames says")
    return streams


def _pixels(
    streams: list[bytes], options: dict[str, int | str], transfer_syntax_uid: str, frame_bytes: int
) -> tuple[bytes, str]:
    """Decode frame by frame; return all of them, colour by pixel, and their photometric interpretation."""
    photometric = str(options["photometric_interpretation"])
    out = bytearray()
    for stream in streams:
        frame, found = _frame(stream, options, transfer_syntax_uid)
        if len(frame) != frame_bytes:
            raise DatasetRefused("a code stream decodes to another size than the attributes say")
        if out and found != photometric:
            raise DatasetRefused("its frames decode to different photometric interpretations")
        photometric = found
        out += frame
    return bytes(out), photometric


def _frame(stream: bytes, options: dict[str, int | str], transfer_syntax_uid: str) -> tuple[bytes, str]:
    if transfer_syntax_uid == _JPEG_EXTENDED and _precision(stream) == 12:
        return _extended_frame(stream, options), str(options["photometric_interpretation"])
    decoder = get_decoder(PydicomUID(transfer_syntax_uid))
    # One frame, encapsulated again, is what the decoder's interface takes: empty offset table, one fragment.
    padded = stream + b"\0" * (len(stream) & 1)
    fragments = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, len(padded)) + padded
    lossy_jpeg = transfer_syntax_uid in _JPEG_LOSSY
    try:
        # Warnings of the decoders (contradicting headers) concern what is checked here anyway.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoded = list(
                decoder.iter_array(
                    fragments,
                    as_rgb=lossy_jpeg,
                    # pydicom corrects in place what GDCM gives read-only: done below.
                    apply_jls_sign_correction=False,
                    **cast("dict[str, Any]", options),
                )
            )
    except Exception as error:  # native plugins raise whatever they like
        raise DatasetRefused("its code stream cannot be decoded") from error
    array, properties = decoded[0]
    width = int(options["bits_allocated"]) // 8
    if array.dtype.itemsize > width:
        raise DatasetRefused("a code stream has more bits than Bits Allocated")
    if transfer_syntax_uid.startswith(_JPEG_LS) and array.dtype.kind == "i":
        array = _sign_extended(array, _precision(stream))
    # Decoders choose the smallest container for the precision of the code stream.
    wanted = array.dtype.newbyteorder("=").kind + str(width)
    frame = array.astype(f"<{wanted}", copy=False).tobytes()
    photometric = str(properties["photometric_interpretation"])
    # What was sub-sampled is whole again.
    return frame, "YBR_FULL" if photometric == "YBR_FULL_422" else photometric


def _extended_frame(stream: bytes, options: dict[str, int | str]) -> bytes:
    """Decode JPEG Extended of 12 bits by GDCM, which pydicom does not let do it.

    GDCM goes wrong when it is told Bits Stored where that is not the precision of the code stream; told the precision,
    its samples are those of DCMTK (a test compares).
    """
    if options["samples_per_pixel"] != 1 or options["bits_allocated"] != 16:
        raise DatasetRefused("JPEG Extended of 12 bits is decoded for one sample per pixel in 16 bits only")
    fragment = _GDCM.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = _GDCM.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    pixel_data = _GDCM.DataElement(_GDCM.Tag(0x7FE0, 0x0010))
    pixel_data.SetValue(fragments.__ref__())
    image = _GDCM.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((options["columns"], options["rows"], 1))
    image.SetDataElement(pixel_data)
    monochrome = _GDCM.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(_GDCM.PhotometricInterpretation(monochrome))
    image.SetTransferSyntax(_GDCM.TransferSyntax(_GDCM.TransferSyntax.GetTSType(_JPEG_EXTENDED)))
    image.SetPixelFormat(_GDCM.PixelFormat(1, 16, 12, 11, 0))
    try:
        # GDCM's binding gives octets as text with surrogates.
        frame = cast("str", image.GetBuffer()).encode("utf-8", "surrogateescape")
    except Exception as error:  # as above
        raise DatasetRefused("its code stream cannot be decoded") from error
    if options["pixel_representation"] != 1 or len(frame) % 2:
        return frame
    return _sign_extended(np.frombuffer(frame, "<i2"), 12).tobytes()


def _sign_extended(array: NDArray[np.signedinteger[Any]], precision: int) -> NDArray[np.signedinteger[Any]]:
    """Spread the sign bit of a ``precision`` bit sample: JPEG-LS codes signed samples as unsigned ones."""
    unused = max(0, 8 * array.dtype.itemsize - precision)
    extended: NDArray[np.signedinteger[Any]] = np.right_shift(np.left_shift(array, unused), unused)
    return extended


def code_stream_size(stream: bytes, transfer_syntax_uid: str) -> tuple[int, int] | None:
    """Return rows and columns that a JPEG, JPEG-LS or JPEG 2000 code stream states; None for RLE, which states none.

    Raises:
        DatasetRefused: it is no such code stream.

    Source: ITU-T T.81 B.2.2, T.87 C.2.2, T.800 A.5.1.
    """
    if transfer_syntax_uid.startswith((_JPEG_2000, _HTJ2K)):
        return _siz(stream)
    if transfer_syntax_uid.startswith("1.2.840.10008.1.2.4."):
        return _sof(stream)
    return None


def _siz(stream: bytes) -> tuple[int, int]:
    # A JP2 file instead of the bare code stream occurs in the field: the code stream starts at its SOC and SIZ markers.
    start = stream.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(stream) < start + 24:
        raise DatasetRefused("not a JPEG 2000 code stream")
    x1, y1, x0, y0 = struct.unpack_from(">4I", stream, start + 8)
    if x0 >= x1 or y0 >= y1:
        raise DatasetRefused("a JPEG 2000 code stream of no size")
    return y1 - y0, x1 - x0


def _sof(stream: bytes) -> tuple[int, int]:
    frame = _frame_header(stream)
    rows, columns = struct.unpack_from(">HH", stream, frame + 5)
    return rows, columns


def _precision(stream: bytes) -> int:
    return stream[_frame_header(stream) + 4]


def _frame_header(stream: bytes) -> int:
    """Return where the frame header (SOFn) stands, with at least nine octets behind."""
    position = stream.find(b"\xff\xd8")
    if position < 0:
        raise DatasetRefused("not a JPEG code stream")
    position += 2
    while position + 9 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        # SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC); SOF55 of JPEG-LS.
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}):
            return position
        position += 2
        if marker != 0x01 and not 0xD0 <= marker <= 0xD7:
            (length,) = struct.unpack_from(">H", stream, position)
            position += length
    raise DatasetRefused("a JPEG code stream without frame header")
