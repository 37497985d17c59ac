"""A DICOM peer made of octets: nothing of it comes from the code under test, and every field can be made to lie.

``association_request``, ``data_pdu``, ``command`` and ``dataset`` make octets; ``Peer`` carries them over TLS.
"""

import os
import socket
import ssl
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from running_node import DeviceFiles, Site

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
JPEG_2000 = "1.2.840.10008.1.2.4.90"

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"

C_STORE, C_GET, C_FIND, C_MOVE, C_ECHO = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030
NO_DATASET = 0x0101

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)

LONG_LENGTH = frozenset(("OB", "OD", "OF", "OL", "OW", "SQ", "UC", "UN", "UR", "UT"))

Element = tuple[int, str, bytes]


# --- PDUs (PS3.8 9.3) ------------------------------------------------------------------------------------------


def pdu(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """Return a PDU; ``length`` is what its header claims."""
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def context(context_id: int, abstract: str, *syntaxes: str) -> bytes:
    """Return a proposed presentation context. Source: PS3.8 9.3.2.2."""
    body = bytes((context_id, 0, 0, 0)) + _item(0x30, abstract.encode())
    return _item(0x20, body + b"".join(_item(0x40, syntax.encode()) for syntax in syntaxes))


def role(uid: str) -> bytes:
    """Return SCP/SCU role selection: both. Source: PS3.7 D.3.3.4."""
    return _item(0x54, struct.pack(">H", len(uid)) + uid.encode() + b"\x01\x01")


def association_request(
    calling: bytes,
    called: bytes,
    contexts: Iterable[bytes],
    *,
    maximum_length: int = 0,
    more_user_items: bytes = b"",
) -> bytes:
    """Return an A-ASSOCIATE-RQ. Source: PS3.8 9.3.2."""
    user = _item(0x51, struct.pack(">I", maximum_length)) + _item(0x52, b"1.2.3.4") + more_user_items
    body = struct.pack(">HH", 1, 0) + called.ljust(16) + calling.ljust(16) + bytes(32)
    body += _item(0x10, b"1.2.840.10008.3.1.1.1") + b"".join(contexts) + _item(0x50, user)
    return pdu(ASSOCIATE_RQ, body)


def pdv(context_id: int, control: int, payload: bytes) -> bytes:
    """Return a presentation data value. Control: 1 command, 2 last. Source: PS3.8 9.3.5.1, E.2."""
    return struct.pack(">IBB", len(payload) + 2, context_id, control) + payload


def data_pdu(context_id: int, control: int, payload: bytes) -> bytes:
    """Return a P-DATA-TF of one value."""
    return pdu(DATA, pdv(context_id, control, payload))


# --- command sets (PS3.7 6.3) ----------------------------------------------------------------------------------


def command(elements: Mapping[int, int | str], *, group_length: int | None = None) -> bytes:
    """Return a command set: integers are US, text is UI or AE."""
    body = b""
    for tag, value in sorted(elements.items()):
        if isinstance(value, int):
            octets = struct.pack("<H", value)
        else:
            octets = value.encode("utf-8")
            octets += b"" if len(octets) % 2 == 0 else b"\0"
        body += struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(octets)) + octets
    length = len(body) if group_length is None else group_length
    return struct.pack("<HHII", 0, 0, 4, length) + body


def store_command(sop_class: str, sop_instance: str, message_id: int = 1) -> bytes:
    """Return C-STORE-RQ."""
    return command(
        {
            0x0002: sop_class, 0x0100: C_STORE, 0x0110: message_id, 0x0700: 0, 0x0800: 1, 0x1000: sop_instance,
        }
    )  # fmt: skip


def parse_command(octets: bytes) -> dict[int, bytes]:
    """Return the elements of a command set."""
    elements: dict[int, bytes] = {}
    at = 0
    while at < len(octets):
        group, element, length = struct.unpack_from("<HHI", octets, at)
        elements[group << 16 | element] = octets[at + 8 : at + 8 + length]
        at += 8 + length
    return elements


# --- data sets (PS3.5) -----------------------------------------------------------------------------------------


def explicit(tag: int, vr: str, value: bytes, *, length: int | None = None) -> bytes:
    """Return an element in Explicit VR Little Endian; ``length`` is what its header claims."""
    if len(value) % 2:
        value += b"\0" if vr in {"UI", "OB", "UN"} else b" "
    claimed = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    head += struct.pack("<xxI" if vr in LONG_LENGTH else "<H", claimed)
    return head + value


def implicit(tag: int, value: bytes, *, length: int | None = None) -> bytes:
    """Return an element in Implicit VR Little Endian."""
    if len(value) % 2:
        value += b"\0"
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


@dataclass(frozen=True)
class Slice:
    """A small synthetic CT image."""

    sop_instance: str
    study: str
    series: str
    dataset: bytes

    @property
    def key(self) -> str:
        return self.sop_instance


def ct_slice(
    number: int,
    *,
    root: str = "1.2.826.0.1.3680043.10.999",
    study: str = "1",
    pixels: int = 2048,
    more: Sequence[Element] = (),
    sop_instance: str = "",
    marker: bytes = b"",
) -> Slice:
    """Return a CT image of its own: the pixels differ with ``number`` and ``marker``."""
    instance = sop_instance or f"{root}.{study}.2.{number}"
    study_uid, series_uid = f"{root}.{study}", f"{root}.{study}.1"
    elements: dict[int, tuple[str, bytes]] = {
        0x00080016: ("UI", CT.encode()),
        0x00080018: ("UI", instance.encode()),
        0x00080020: ("DA", b"20260102"),
        0x00080060: ("CS", b"CT"),
        0x00100010: ("PN", b"Fault^Test"),
        0x00100020: ("LO", f"FT-{study}".encode()),
        0x0020000D: ("UI", study_uid.encode()),
        0x0020000E: ("UI", series_uid.encode()),
        0x00200013: ("IS", str(number).encode()),
        0x00280002: ("US", b"\x01\0"),
        0x00280004: ("CS", b"MONOCHROME2"),
        0x00280010: ("US", struct.pack("<H", 32)),
        0x00280011: ("US", struct.pack("<H", pixels // 64)),
        0x00280100: ("US", b"\x10\0"),
        0x00280101: ("US", b"\x10\0"),
        0x00280102: ("US", b"\x0f\0"),
        0x00280103: ("US", b"\0\0"),
    }
    elements |= {tag: (vr, value) for tag, vr, value in more}
    body = b"".join(explicit(tag, vr, value) for tag, (vr, value) in sorted(elements.items()))
    seed = struct.pack("<I", number) + marker
    noise = (seed * (pixels // len(seed) + 1))[:pixels]
    return Slice(instance, study_uid, series_uid, body + explicit(0x7FE00010, "OW", noise))


# --- the peer --------------------------------------------------------------------------------------------------


class Gone(Exception):
    """The node closed the connection, or aborted."""


def tls_context(device: DeviceFiles, *, with_certificate: bool = True) -> ssl.SSLContext:
    """Return the TLS context of an enrolled device."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(device.authority)
    if with_certificate:
        made.load_cert_chain(device.certificate, device.key)
    return made


def connect(
    port: int, tls: ssl.SSLContext | None, *, source: str = "127.0.0.1", seconds: float = 10
) -> socket.socket:
    """Connect, from one of the addresses of the loopback interface."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=seconds, source_address=(source, 0))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        return raw
    try:
        return tls.wrap_socket(raw, server_hostname="localhost")
    except BaseException:
        raw.close()
        raise


class Peer:
    """One connection to the node."""

    def __init__(
        self,
        site: Site,
        device: DeviceFiles,
        *,
        source: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        seconds: float = 10,
    ) -> None:
        self.device = device
        self.sock = connect(site.port, tls or tls_context(device), source=source, seconds=seconds)
        self.message_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *octets: bytes) -> None:
        """Send octets as they are.

        Raises:
            Gone: the node has closed.
        """
        try:
            self.sock.sendall(b"".join(octets))
        except (OSError, ssl.SSLError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise Gone from error

    def read_pdu(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU.

        Raises:
            Gone: the node has closed.
            TimeoutError: nothing came.
        """
        kind, length = struct.unpack(">BxI", self._exactly(6))
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        octets = bytearray()
        while len(octets) < count:
            try:
                piece = self.sock.recv(count - len(octets))
            except TimeoutError:
                raise
            except OSError as error:
                raise Gone from error
            if not piece:
                raise Gone
            octets += piece
        return bytes(octets)

    def ended_by_node(self) -> list[int]:
        """Read until the node ends it; return the types of the PDUs that came.

        After A-ABORT and A-ASSOCIATE-RJ the node waits for us to close (PS3.8 9.2, Sta13), so they end it.
        """
        kinds: list[int] = []
        try:
            while not kinds or kinds[-1] not in {ABORT, ASSOCIATE_RJ}:
                kinds.append(self.read_pdu()[0])
        except Gone:
            pass
        return kinds

    def associate(
        self,
        *contexts: bytes,
        calling: bytes = b"",
        called: bytes = b"LEADGLASS",
        maximum_length: int = 0,
        more_user_items: bytes = b"",
    ) -> tuple[int, bytes]:
        """Ask for an association; return type and body of the answer."""
        self.send(
            association_request(
                calling or self.device.ae_title.encode(),
                called,
                contexts or (context(1, VERIFICATION, IMPLICIT), context(3, CT, EXPLICIT)),
                maximum_length=maximum_length,
                more_user_items=more_user_items,
            )
        )
        return self.read_pdu()

    def accepted(self, *contexts: bytes, maximum_length: int = 0, more_user_items: bytes = b"") -> "Peer":
        """Associate, and insist on it."""
        kind, body = self.associate(*contexts, maximum_length=maximum_length, more_user_items=more_user_items)
        assert kind == ASSOCIATE_AC, (kind, body[:16])
        return self

    def messages(self) -> Iterator[tuple[dict[int, bytes], bytes]]:
        """Yield messages: command set and data set."""
        held, body = b"", b""
        elements: dict[int, bytes] | None = None
        while True:
            kind, octets = self.read_pdu()
            if kind != DATA:
                raise Gone(f"PDU type {kind}")
            at = 0
            while at < len(octets):
                length, _, control = struct.unpack_from(">IBB", octets, at)
                payload = octets[at + 6 : at + 4 + length]
                at += 4 + length
                if control & 1:
                    held += payload
                    if control & 2:
                        elements, held = parse_command(held), b""
                        if elements[0x0800] == b"\x01\x01":
                            yield elements, b""
                            elements = None
                else:
                    body += payload
                    if control & 2:
                        assert elements is not None
                        yield elements, body
                        elements, body = None, b""

    def status(self) -> int:
        """Return the status of the next message."""
        elements, _ = next(self.messages())
        return int.from_bytes(elements[0x0900], "little")

    def echo(self, context_id: int = 1) -> int:
        """Do C-ECHO; return its status."""
        self.message_id += 1
        self.send(
            data_pdu(
                context_id,
                3,
                command({0x0002: VERIFICATION, 0x0100: C_ECHO, 0x0110: self.message_id, 0x0800: NO_DATASET}),
            )
        )
        return self.status()

    def store(self, image: Slice, context_id: int = 3, *, sop_class: str = CT) -> int:
        """Do C-STORE; return its status."""
        self.message_id = self.message_id % 0xFFFF + 1
        self.send(
            data_pdu(context_id, 3, store_command(sop_class, image.sop_instance, self.message_id)),
            data_pdu(context_id, 2, image.dataset),
        )
        return self.status()

    def find(self, identifier: bytes, context_id: int = 1) -> tuple[int, list[bytes]]:
        """Do C-FIND; return the final status and the identifiers."""
        self.send(
            data_pdu(context_id, 3, command({0x0002: FIND, 0x0100: C_FIND, 0x0110: 1, 0x0700: 0, 0x0800: 1})),
            data_pdu(context_id, 2, identifier),
        )
        found: list[bytes] = []
        for elements, body in self.messages():
            status = int.from_bytes(elements[0x0900], "little")
            if status not in {0xFF00, 0xFF01}:
                return status, found
            found.append(body)
        raise AssertionError

    def get(
        self, study: str, *, get_id: int = 1, level: bytes = b"STUDY", instance: str = ""
    ) -> tuple[int, dict[str, bytes], int]:
        """Do C-GET; return the final status, what came by SOP Instance UID, and the failed sub-operations."""
        identifier = explicit(0x00080052, "CS", level)
        if instance:
            identifier += explicit(0x00080018, "UI", instance.encode())
        identifier += explicit(0x0020000D, "UI", study.encode())
        if instance:
            identifier += explicit(0x0020000E, "UI", f"{study}.1".encode())
        self.send(
            data_pdu(get_id, 3, command({0x0002: GET, 0x0100: C_GET, 0x0110: 1, 0x0700: 0, 0x0800: 1})),
            data_pdu(get_id, 2, identifier),
        )
        got: dict[str, bytes] = {}
        for elements, body in self.messages():
            if elements[0x0100] == struct.pack("<H", C_STORE):
                uid = elements[0x1000].rstrip(b"\0").decode()
                got[uid] = body
                answer: dict[int, int | str] = {
                    0x0002: elements[0x0002].rstrip(b"\0").decode(),
                    0x0100: 0x8001,
                    0x0120: int.from_bytes(elements[0x0110], "little"),
                    0x0800: NO_DATASET,
                    0x0900: 0,
                    0x1000: uid,
                }
                self.send(data_pdu(3, 3, command(answer)))
                continue
            status = int.from_bytes(elements[0x0900], "little")
            if status != 0xFF00:
                return status, got, int.from_bytes(elements.get(0x1022, b"\0\0"), "little")
        raise AssertionError

    def release(self) -> None:
        """Release in order."""
        self.send(pdu(RELEASE_RQ, bytes(4)))
        assert self.read_pdu()[0] == RELEASE_RP


STORING = (context(1, VERIFICATION, IMPLICIT), context(3, CT, EXPLICIT))
FINDING = (context(1, FIND, EXPLICIT),)
GETTING = (context(1, GET, EXPLICIT), context(3, CT, EXPLICIT))


def fetch(site: Site, device: DeviceFiles, study: str) -> tuple[int, dict[str, bytes], int]:
    """C-GET a study on an association of its own."""
    with Peer(site, device, seconds=30) as peer:
        peer.accepted(*GETTING, more_user_items=role(CT))
        return peer.get(study)


def instances_found(site: Site, device: DeviceFiles, study: str, series: str) -> set[str]:
    """C-FIND at IMAGE level: the SOP Instance UIDs of a series."""
    identifier = (
        explicit(0x00080018, "UI", b"")
        + explicit(0x00080052, "CS", b"IMAGE")
        + explicit(0x0020000D, "UI", study.encode())
        + explicit(0x0020000E, "UI", series.encode())
    )
    with Peer(site, device, seconds=30) as peer:
        status, found = peer.accepted(*FINDING).find(identifier)
    assert status == 0, hex(status)
    uids: set[str] = set()
    for body in found:
        at = body.index(b"\x08\x00\x18\x00UI")
        length = struct.unpack_from("<H", body, at + 6)[0]
        uids.add(body[at + 8 : at + 8 + length].rstrip(b"\0").decode())
    return uids


def resident_kib(pid: int) -> int:
    """Return the resident set of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") // 1024
