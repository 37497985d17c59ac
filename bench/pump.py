"""One association that stores synthetic objects as fast as the peer answers: the load of ``store.py``.

A process of its own, started by ``store.py`` with a JSON line on standard input. Everything that is sent was built
before; between two objects only the SOP Instance UID is written anew. So nearly all of its CPU time is TLS.

It answers with JSON lines: ``ready`` once the association is established, then (after a line from the parent) the
result, then (after another line) it releases the association.
"""

import hashlib
import json
import resource
import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
CONTEXT_ID: Final = 1
STREAM_BYTES: Final = 4 * 1024 * 1024
"""Longest object that is held whole; a longer one goes out in pieces of this size."""
_LONG_VRS: Final = frozenset({"OB", "OW", "SQ", "UN", "UT"})
_STATUS: Final = struct.pack("<HHI", 0x0000, 0x0900, 2)

Element = tuple[int, str, bytes]


# --- the object ------------------------------------------------------------------------------------------------


def head_elements(
    sop_class: str, uids: dict[str, str], rows: int, columns: int, frames: int
) -> list[Element]:
    """Return the elements of a CT slice as a scanner sends them, up to the pixel data."""

    def text(value: str) -> bytes:
        return value.encode("ascii")

    elements: list[Element] = [
        (0x00080005, "CS", b"ISO_IR 100"),
        (0x00080008, "CS", b"ORIGINAL\\PRIMARY\\AXIAL"),
        (0x00080012, "DA", b"20240506"),
        (0x00080013, "TM", b"101112.123"),
        (0x00080016, "UI", text(sop_class)),
        (0x00080018, "UI", text(uids["instance"])),
        (0x00080020, "DA", b"20240506"),
        (0x00080021, "DA", b"20240506"),
        (0x00080022, "DA", b"20240506"),
        (0x00080023, "DA", b"20240506"),
        (0x00080030, "TM", b"101010.000"),
        (0x00080031, "TM", b"101011.000"),
        (0x00080032, "TM", b"101012.000"),
        (0x00080033, "TM", b"101013.000"),
        (0x00080050, "SH", b"ACC0004711"),
        (0x00080060, "CS", b"CT"),
        (0x00080070, "LO", b"BENCH"),
        (0x00080080, "LO", b"SYNTHETIC HOSPITAL"),
        (0x00080090, "PN", b"REFERRER^ROBIN"),
        (0x00081010, "SH", b"CT01"),
        (0x00081030, "LO", b"CHEST^ROUTINE"),
        (0x0008103E, "LO", b"AXIAL 5.0 B30F"),
        (0x00081070, "PN", b"OPERATOR^OLIVE"),
        (0x00081090, "LO", b"MODEL 64"),
        (0x00100010, "PN", b"SYNTHETIC^SAM"),
        (0x00100020, "LO", b"PID0815"),
        (0x00100030, "DA", b"19600102"),
        (0x00100040, "CS", b"O"),
        (0x00101010, "AS", b"064Y"),
        (0x00101030, "DS", b"71.5"),
        (0x00180010, "LO", b"NONE"),
        (0x00180015, "CS", b"CHEST"),
        (0x00180022, "CS", b"HELICAL MODE"),
        (0x00180050, "DS", b"5"),
        (0x00180060, "DS", b"120"),
        (0x00180090, "DS", b"500"),
        (0x00181000, "LO", b"12345"),
        (0x00181020, "LO", b"V1.2.3"),
        (0x00181030, "LO", b"THORAX ROUTINE"),
        (0x00181100, "DS", b"360"),
        (0x00181110, "DS", b"1040"),
        (0x00181111, "DS", b"570"),
        (0x00181120, "DS", b"0"),
        (0x00181130, "DS", b"143"),
        (0x00181140, "CS", b"CW"),
        (0x00181150, "IS", b"500"),
        (0x00181151, "IS", b"180"),
        (0x00181152, "IS", b"90"),
        (0x00181160, "SH", b"0"),
        (0x00181170, "IS", b"21"),
        (0x00181190, "DS", b"1.2"),
        (0x00181210, "SH", b"B30f"),
        (0x00185100, "CS", b"HFS"),
        (0x0020000D, "UI", text(uids["study"])),
        (0x0020000E, "UI", text(uids["series"])),
        (0x00200010, "SH", b"4711"),
        (0x00200011, "IS", b"2"),
        (0x00200012, "IS", b"1"),
        (0x00200013, "IS", b"1"),
        (0x00200032, "DS", b"-180.0\\-180.0\\-120.5"),
        (0x00200037, "DS", b"1\\0\\0\\0\\1\\0"),
        (0x00200052, "UI", text(uids["frame"])),
        (0x00201040, "LO", b""),
        (0x00201041, "DS", b"-120.5"),
        (0x00280002, "US", struct.pack("<H", 1)),
        (0x00280004, "CS", b"MONOCHROME2"),
        (0x00280010, "US", struct.pack("<H", rows)),
        (0x00280011, "US", struct.pack("<H", columns)),
        (0x00280030, "DS", b"0.703125\\0.703125"),
        (0x00280100, "US", struct.pack("<H", 16)),
        (0x00280101, "US", struct.pack("<H", 12)),
        (0x00280102, "US", struct.pack("<H", 11)),
        (0x00280103, "US", struct.pack("<H", 0)),
        (0x00281050, "DS", b"40"),
        (0x00281051, "DS", b"400"),
        (0x00281052, "DS", b"-1024"),
        (0x00281053, "DS", b"1"),
    ]
    if frames > 1:
        elements.append((0x00280008, "IS", str(frames).encode("ascii")))
    return sorted(elements)


def encode(element: Element) -> bytes:
    """Return an element in Explicit VR Little Endian. Source: PS3.5 7.1.2."""
    tag, vr, value = element
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode("ascii"))
    if vr in _LONG_VRS:
        return head + struct.pack("<xxI", len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def pixel_header(octets: int) -> bytes:
    return struct.pack("<HH2sxxI", 0x7FE0, 0x0010, b"OW", octets)


def noise(octets: int) -> bytes:
    """Return octets that do not compress."""
    return hashlib.shake_128(b"leadglass bench").digest(octets)


# --- messages ----------------------------------------------------------------------------------------------------


def command(sop_class: str, sop_instance: str, message_id: int) -> bytes:
    """Return the command set of a C-STORE-RQ. Source: PS3.7 9.3.1.1."""

    def element(tag: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, tag, len(value)) + value

    def uid(text: str) -> bytes:
        return text.encode("ascii") + b"\0" * (len(text) % 2)

    body = (
        element(0x0002, uid(sop_class))
        + element(0x0100, struct.pack("<H", 0x0001))
        + element(0x0110, struct.pack("<H", message_id))
        + element(0x0700, struct.pack("<H", 0))
        + element(0x0800, struct.pack("<H", 1))
        + element(0x1000, uid(sop_instance))
    )
    return element(0x0000, struct.pack("<I", len(body))) + body


def data_pdu(payload_bytes: int, control: int) -> bytes:
    """Return the header of a P-DATA-TF with one value. Source: PS3.8 9.3.5."""
    return struct.pack(">BxIIBB", 4, payload_bytes + 6, payload_bytes + 2, CONTEXT_ID, control)


def messages(job: dict[str, Any], pdu_bytes_max: int) -> Iterator[Iterator[memoryview]]:
    """Yield, for each object, the buffers to send. The memory is the same every time."""
    uids, frames, rows, columns = job["uids"], job["frames"], job["rows"], job["columns"]
    head = b"".join(map(encode, head_elements(job["sop_class"], uids, rows, columns, frames)))
    pixels = rows * columns * 2 * frames
    head += pixel_header(pixels)
    total = len(head) + pixels
    piece = (pdu_bytes_max - 6) // 2 * 2
    placeholder = uids["instance"].encode("ascii")
    request = command(job["sop_class"], uids["instance"], 1)
    whole = bytearray(data_pdu(len(request), 3) + request)
    filler = noise(min(pixels, STREAM_BYTES))
    if total <= STREAM_BYTES:
        dataset = head + filler
        for start in range(0, total, piece):
            part = dataset[start : start + piece]
            whole += data_pdu(len(part), 2 if start + piece >= total else 0) + part
        rest: list[memoryview] = []
    else:
        first = head + filler[: piece - len(head)]
        whole += data_pdu(piece, 0) + first
        full, last = divmod(total - piece, piece)
        # Whole PDUs in front, and the last one apart: the same memory is sent again and again.
        per_block = STREAM_BYTES // (piece + 12)
        block = memoryview((data_pdu(piece, 0) + filler[:piece]) * per_block)
        pdu = piece + 12
        ends_with_full = not last
        rest = [block] * ((full - ends_with_full) // per_block)
        rest += [block[: (full - ends_with_full) % per_block * pdu]]
        final = last or piece
        rest += [memoryview(data_pdu(final, 2) + filler[:final])]
    view = memoryview(whole)
    places = [i for i in range(len(whole)) if whole.startswith(placeholder, i)] if len(whole) < 2048 else []
    if not places:
        first_place = whole.index(placeholder)
        places = [first_place, whole.index(placeholder, first_place + 1)]
    prefix = placeholder[:-10]
    for number in range(job["count"]):
        uid = prefix + b"%010d" % (number + job["first"])
        for place in places:
            view[place : place + len(uid)] = uid
        yield iter([view, *rest])


def associate_rq(job: dict[str, Any]) -> bytes:
    """Return an A-ASSOCIATE-RQ with one context. Source: PS3.8 9.3.2."""

    def item(kind: int, body: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(body)) + body

    syntaxes = item(0x30, job["sop_class"].encode()) + item(0x40, EXPLICIT_LITTLE_ENDIAN.encode())
    context = item(0x20, struct.pack(">Bxxx", CONTEXT_ID) + syntaxes)
    user = item(
        0x50,
        item(0x51, struct.pack(">I", 16384))
        + item(0x52, b"1.2.826.0.1.3680043.8.498.1")
        + item(0x55, b"BENCH"),
    )
    body = (
        struct.pack(">Hxx16s16s32x", 1, job["called"].ljust(16).encode(), job["calling"].ljust(16).encode())
        + item(0x10, APPLICATION_CONTEXT.encode())
        + context
        + user
    )
    return struct.pack(">BxI", 1, len(body)) + body


class Peer:
    """A TLS connection that sends large buffers with few system calls."""

    def __init__(self, job: dict[str, Any]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(job["authority"])
        context.load_cert_chain(job["certificate"], job["key"])
        self._socket = socket.create_connection((job["host"], job["port"]))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls = context.wrap_socket(self._socket)
        self.cipher = self._tls.cipher()
        self._received = b""

    def send(self, data: memoryview | bytes) -> None:
        self._tls.sendall(data)

    def pdu(self) -> tuple[int, bytes]:
        """Return the next PDU: its type and what follows the length."""
        received = self._received
        while len(received) < 6 or len(received) < 6 + int.from_bytes(received[2:6], "big"):
            more = self._tls.recv(65536)
            if not more:
                raise SystemExit("the peer closed the connection")
            received += more
        end = 6 + int.from_bytes(received[2:6], "big")
        self._received = received[end:]
        return received[0], received[6:end]


def maximum_length(ac: bytes) -> int:
    """Return the peer's maximum length of a P-DATA-TF, and see that it took our context. Source: PS3.8 D.1."""
    at, found = 68, 16384
    while at < len(ac):
        kind, size = struct.unpack_from(">BxH", ac, at)
        body = ac[at + 4 : at + 4 + size]
        if kind == 0x21 and body[2]:
            raise SystemExit(f"the peer does not take the presentation context: {body[2]}")
        if kind == 0x50 and body[0] == 0x51:
            found = struct.unpack_from(">I", body, 4)[0] or 131072
        at += 4 + size
    return int(found)


def main() -> None:
    job: dict[str, Any] = json.loads(sys.stdin.readline())
    peer = Peer(job)
    peer.send(associate_rq(job))
    kind, body = peer.pdu()
    if kind != 2:
        raise SystemExit(f"no association: PDU type {kind}, {body.hex()}")
    pdu_bytes_max = min(maximum_length(body), 262144)
    prepared = messages(job, pdu_bytes_max)
    first = next(prepared)
    print(json.dumps({"ready": True, "pdu": pdu_bytes_max, "cipher": peer.cipher}), flush=True)
    sys.stdin.readline()
    started, cpu_before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    sent, failed, slowest = 0, 0, 0.0
    buffers: Iterator[memoryview] | None = first
    while buffers is not None:
        begun = time.monotonic()
        for buffer in buffers:
            peer.send(buffer)
        kind, body = peer.pdu()
        at = body.find(_STATUS)
        if kind != 4 or at < 0:
            raise SystemExit(f"no C-STORE-RSP but PDU type {kind}: {body.hex()}")
        sent += 1
        failed += body[at + 8 : at + 10] != b"\0\0"
        slowest = max(slowest, time.monotonic() - begun)
        buffers = next(prepared, None)
    ended, cpu = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "started": started,
                "ended": ended,
                "sent": sent,
                "failed": failed,
                "slowest": slowest,
                "cpu": cpu.ru_utime + cpu.ru_stime - cpu_before.ru_utime - cpu_before.ru_stime,
            }
        ),
        flush=True,
    )
    sys.stdin.readline()
    peer.send(struct.pack(">BxI4x", 5, 4))
    peer.pdu()


if __name__ == "__main__":
    main()
