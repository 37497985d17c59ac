"""Pictures and decoded frames of what a reading grants.

The reading was decided and put on record before; what is made here never goes to anybody who has none. Pictures are kept
for a while, in memory only, and are given out again only through a reading of the same object.

Source: PS3.18 10.4.1.1.3 (rendered), 10.4.1.1.4 (thumbnails), 8.7.3.5 (frames in another transfer syntax).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from leadglass.archive.reading import InstanceRecord, Reading, StoredOctets
from leadglass.archive.transcoding import FrameOctets
from leadglass.base.errors import DatasetRefused, NotFound
from leadglass.base.limits import FRAME_BYTES_MAX, MIB, RENDERED_CACHE_BYTES_MAX
from leadglass.dicom.outline import Outline
from leadglass.dicom.rendering.description import LOOKED_UP
from leadglass.dicom.rendering.models import RenderOptions
from leadglass.dicom.syntaxes import TRANSFER_SYNTAXES

__all__ = ["Decoders", "Renderer"]

_LOOKUP_BYTES_MAX: Final = 1 * MIB
"""A palette of 65 536 entries of 16 bits has an eighth of it."""
_LOOKED_AT_MAX: Final = 16
"""Instances that are looked at for one that can be shown."""


class Decoders(Protocol):
    """Processes that decode and render; implemented in ``archive.transcoding``. Thread-safe."""

    def decode_frame(self, header: bytes, header_syntax: str, read: Callable[[], FrameOctets]) -> bytes:
        """Return one frame as native pixels. Raises as ``render``."""
        ...

    def render(
        self,
        header: bytes,
        header_syntax: str,
        read: Callable[[], FrameOctets],
        number: int,
        options: RenderOptions,
    ) -> bytes:
        """Return a picture of one frame.

        Raises:
            DatasetRefused: it cannot be shown.
            OutOfResources: every process is busy.
        """
        ...


class Renderer:
    """Makes pictures; thread-safe.

    Args:
        decoders: where strangers' pixels are read.
        cache_bytes_max: octets of pictures that are kept; 0 for none.
    """

    def __init__(self, decoders: Decoders, *, cache_bytes_max: int = RENDERED_CACHE_BYTES_MAX) -> None:
        self._decoders = decoders
        self._cache = _Pictures(cache_bytes_max)

    def render(self, reading: Reading, record: InstanceRecord, number: int, options: RenderOptions) -> bytes:
        """Return a picture of one frame, JPEG or PNG as the options say.

        Args:
            reading: that grants the record.
            record: one of its records.
            number: of the frame, from 1.
            options: what is asked for.

        Raises:
            NotFound: there is no such frame.
            DatasetRefused: it cannot be shown.
            OutOfResources: every decoder is busy.
            IntegrityError: it is not what was written; on record already.
        """
        # Of one record the reading itself says that it is granted; of many it is looked up where they are read.
        cached = record is reading.record
        key = (record.address.object_id, number, options)
        found = self._cache.get(key) if cached else None
        if found is not None:
            return found
        outline = reading.outline(record)
        picture = self._decoders.render(
            outline.header,
            outline.transfer_syntax_uid,
            self._read(reading, record, number, outline),
            number,
            options,
        )
        if cached:
            self._cache.put(key, picture)
        return picture

    def decoded(self, reading: Reading, record: InstanceRecord, number: int) -> bytes:
        """Return a frame as native pixels, little endian, whatever it is stored as.

        Raises:
            NotFound: there is no such frame.
            DatasetRefused: it cannot be decoded.
            OutOfResources: every decoder is busy.
            IntegrityError: it is not what was written; on record already.
        """
        outline = reading.outline(record)
        return self._decoders.decode_frame(
            outline.header, outline.transfer_syntax_uid, self._read(reading, record, number, outline)
        )

    def representative(self, reading: Reading) -> tuple[InstanceRecord, int]:
        """Return the instance and frame that stand for all of a reading: the middle one that has pixels.

        Raises:
            NotFound: none of those that were looked at has any.
        """
        records = reading.records
        middle = len(records) // 2
        # From the middle to both ends: 5, 4, 6, 3, ...
        places = sorted(range(len(records)), key=lambda place: abs(place - middle))
        for place in places[:_LOOKED_AT_MAX]:
            record = records[place]
            try:
                frames = reading.frame_count(record)
            except DatasetRefused:
                continue
            if frames:
                return record, (frames + 1) // 2
        raise NotFound("nothing of it can be shown")

    def _read(
        self, reading: Reading, record: InstanceRecord, number: int, outline: Outline
    ) -> Callable[[], FrameOctets]:
        syntax = TRANSFER_SYNTAXES.get(record.identity.transfer_syntax_uid)
        if syntax is not None and syntax.deflated:
            # It is inflated in a decoding process, too: whoever held one while it waits for another could wait for ever.
            octets = self._octets(reading, record, number, outline)
            return lambda: octets
        return lambda: self._octets(reading, record, number, outline)

    @staticmethod
    def _octets(reading: Reading, record: InstanceRecord, number: int, outline: Outline) -> FrameOctets:
        frame = reading.frame(record, number)
        octets = _whole(frame, FRAME_BYTES_MAX)
        lookups: list[tuple[int, str, bytes]] = []
        for bulk in outline.bulk:
            if bulk.tag in LOOKED_UP:
                value = reading.bulk(record, f"{bulk.tag:08X}")
                lookups.append((bulk.tag, value.vr, _whole(value, _LOOKUP_BYTES_MAX)))
        return FrameOctets(octets, frame.transfer_syntax_uid, tuple(lookups))


def _whole(octets: StoredOctets, bytes_max: int) -> bytes:
    try:
        if octets.length > bytes_max:
            raise DatasetRefused(f"a frame or table of more than {bytes_max} octets")
        return octets.read(0, octets.length)
    finally:
        octets.close()


class _Pictures:
    """The pictures that were asked for last, up to so many octets."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._pictures: OrderedDict[tuple[object, ...], bytes] = OrderedDict()  # guarded by _lock
        self._bytes = 0  # guarded by _lock

    def get(self, key: tuple[object, ...]) -> bytes | None:
        with self._lock:
            found = self._pictures.get(key)
            if found is not None:
                self._pictures.move_to_end(key)
            return found

    def put(self, key: tuple[object, ...], picture: bytes) -> None:
        if len(picture) > self._bytes_max // 8:
            return
        with self._lock:
            before = self._pictures.pop(key, b"")
            self._pictures[key] = picture
            self._bytes += len(picture) - len(before)
            while self._bytes > self._bytes_max:
                _, oldest = self._pictures.popitem(last=False)
                self._bytes -= len(oldest)
