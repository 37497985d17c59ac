"""Peers of the node: what pynetdicom needs to speak to it over mutual TLS, with data sets as plain octets.

pynetdicom would decode and encode data sets again; here they stay what they are, so that a comparison of octets says
something.
"""

import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, build_context, build_role

from running_node import DeviceFiles, Site

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
PATIENT_FIND, PATIENT_MOVE, PATIENT_GET = (f"1.2.840.10008.5.1.4.1.2.1.{n}" for n in (1, 2, 3))
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))

MAX_PDU = 16382
Handlers = list[Any]

Foreign = Any
"""An object of pynetdicom: its types are unions of all services, of which each use knows one member."""


@dataclass(frozen=True)
class RawObject:
    """One SOP instance as octets, with what a sender has to know of it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset: bytes
    study_uid: str = ""
    series_uid: str = ""

    @property
    def encoding(self) -> tuple[str, str]:
        return self.sop_class_uid, self.transfer_syntax_uid


def client_tls(device: DeviceFiles) -> ssl.SSLContext:
    """Return what the device shows, and whom it trusts."""
    context = ssl.create_default_context(cafile=str(device.authority))
    context.load_cert_chain(device.certificate, device.key)
    return context


def server_tls(device: DeviceFiles) -> ssl.SSLContext:
    """Return the context of a device that listens: it wants a certificate of the site too."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(device.authority))
    context.load_cert_chain(device.certificate, device.key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def application(title: str) -> AE:
    """Return an application entity that waits long enough for a busy machine, and not for ever."""
    made = AE(ae_title=title)
    made.acse_timeout = made.dimse_timeout = made.network_timeout = 60
    return made


def noting(sockets: list[socket.socket]) -> tuple[Any, Any]:
    """Return the handler that notes each connection: pynetdicom leaves open those that the peer closes first."""
    return evt.EVT_CONN_OPEN, lambda event: sockets.append(event.assoc.dul.socket.socket)


@contextmanager
def associate(
    node: Site,
    device: DeviceFiles,
    contexts: Sequence[PresentationContext],
    *,
    negotiation: Sequence[Any] = (),
    handlers: Handlers | None = None,
    max_pdu: int = MAX_PDU,
    called: str = "LEADGLASS",
    calling: str = "",
) -> Iterator[Any]:
    """Open an association to the node, and release it; that both worked is asserted."""
    with associated(
        node,
        device,
        contexts,
        negotiation=negotiation,
        handlers=handlers,
        max_pdu=max_pdu,
        called=called,
        calling=calling,
    ) as association:
        assert association.is_established
        yield association
        association.release()
        assert association.is_released


@contextmanager
def associated(
    node: Site,
    device: DeviceFiles,
    contexts: Sequence[PresentationContext],
    *,
    negotiation: Sequence[Any] = (),
    handlers: Handlers | None = None,
    max_pdu: int = MAX_PDU,
    called: str = "LEADGLASS",
    calling: str = "",
) -> Iterator[Any]:
    """Ask for an association, whatever comes of it; one that is still open at the end is aborted."""
    sockets: list[socket.socket] = []
    association = application(calling or device.ae_title).associate(
        "localhost",
        node.port,
        contexts=list(contexts),
        ae_title=called,
        max_pdu=max_pdu,
        ext_neg=list(negotiation),
        evt_handlers=[*(handlers or []), noting(sockets)],
        tls_args=(client_tls(device), "localhost"),
    )
    try:
        yield association
    finally:
        if association.is_established:
            association.abort()
        if association.is_alive():
            association.join(10)
        for sock in sockets:
            sock.close()


def stranger_tls(folder: Path, device: DeviceFiles) -> tuple[ssl.SSLContext, Path]:
    """Return the context of a server that is not of the site, but trusts it; and the certificate to know it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another archive")])
    now = datetime.now(UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, encipher_only=False, decipher_only=False, **usage
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    known_by = folder / "another.cert.pem"
    known_by.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file = folder / "another.key.pem"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(device.authority))
    context.load_cert_chain(known_by, key_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context, known_by


@contextmanager
def listening(
    title: str,
    port: int,
    tls: ssl.SSLContext,
    contexts: Sequence[PresentationContext],
    handlers: Handlers,
) -> Iterator[AE]:
    """Let an application entity listen for associations."""
    entity = application(title)
    for context in contexts:
        assert context.abstract_syntax is not None
        entity.add_supported_context(
            context.abstract_syntax, context.transfer_syntax, context.scu_role, context.scp_role
        )
    sockets: list[socket.socket] = []
    server = entity.start_server(
        ("127.0.0.1", port), block=False, ssl_context=tls, evt_handlers=[*handlers, noting(sockets)]
    )
    assert server is not None
    try:
        yield entity
    finally:
        server.shutdown()
        server.server_close()
        for sock in sockets:
            sock.close()


def contexts_of(encodings: Collection[tuple[str, str]]) -> list[PresentationContext]:
    """Return a presentation context for each (SOP class, transfer syntax)."""
    return [build_context(sop_class, syntax) for sop_class, syntax in dict.fromkeys(encodings)]


@contextmanager
def reactor_paused(association: Foreign) -> Iterator[None]:
    """Keep the association's own thread from taking the response: as ``Association.send_c_store`` does."""
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.001)
    try:
        yield
    finally:
        association._reactor_checkpoint.set()
        # Else the next call could see it paused when it is just about to go on.
        while association._is_paused and association.is_established:
            time.sleep(0.001)


def store_raw(association: Foreign, item: RawObject, message_id: int = 1) -> tuple[int, str]:
    """Send one object as it is; return the status of the response and its comment."""
    context = next(
        c
        for c in association.accepted_contexts
        if c.abstract_syntax == item.sop_class_uid and item.transfer_syntax_uid in c.transfer_syntax
    )
    request: Any = C_STORE()
    request.MessageID = message_id
    request.AffectedSOPClassUID = UID(item.sop_class_uid)
    request.AffectedSOPInstanceUID = UID(item.sop_instance_uid)
    request.Priority = 2
    request.DataSet = BytesIO(item.dataset)
    with reactor_paused(association):
        association.dimse.send_msg(request, context.context_id)
        _, response = association.dimse.get_msg(block=True)
    assert response is not None, "the node ended the association"
    return response.Status, response.ErrorComment or ""


def keeping(kept: list[RawObject], status: Callable[[RawObject], int] = lambda _: 0) -> Handlers:
    """Return the handler of a C-STORE that keeps octets."""

    def handle(event: Foreign) -> int:
        item = RawObject(
            event.request.AffectedSOPClassUID,
            event.request.AffectedSOPInstanceUID,
            event.context.transfer_syntax,
            event.request.DataSet.getvalue(),
        )
        kept.append(item)
        return status(item)

    return [(evt.EVT_C_STORE, handle)]


def get_roles(sop_classes: Collection[str]) -> list[SCP_SCU_RoleSelectionNegotiation]:
    """Return role selection for a C-GET: the requestor is SCP of storage."""
    return [build_role(uid, scp_role=True) for uid in dict.fromkeys(sop_classes)]


def get_raw(
    node: Site,
    device: DeviceFiles,
    identifier: Dataset,
    encodings: Collection[tuple[str, str]],
    *,
    model: str = STUDY_GET,
) -> tuple[list[RawObject], Dataset]:
    """Fetch with C-GET; return what came, as octets, and the last response."""
    kept: list[RawObject] = []
    classes = {sop_class for sop_class, _ in encodings}
    with associate(
        node,
        device,
        [build_context(model), *contexts_of(encodings)],
        negotiation=get_roles(classes),
        handlers=keeping(kept),
    ) as association:
        final = Dataset()
        for status, _ in association.send_c_get(identifier, model):
            final = status
    return kept, final


def keys(level: str, **values: str | list[str]) -> Dataset:
    """Return the identifier of a query or retrieve."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(identifier, keyword, value)
    return identifier


def encoded(dataset: Dataset, syntax: str = EXPLICIT) -> RawObject:
    """Return a data set of a test as octets; it needs its four UIDs."""
    octets = encode(dataset, syntax == IMPLICIT, syntax != BIG_ENDIAN)
    assert octets is not None
    return RawObject(
        dataset.SOPClassUID,
        dataset.SOPInstanceUID,
        syntax,
        octets,
        dataset.StudyInstanceUID,
        dataset.SeriesInstanceUID,
    )


def composite(study: str, series: str, number: int, **values: Foreign) -> Dataset:
    """Return a small object of that study: a CT image unless said otherwise."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = f"{series}.{number}"
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = series
    dataset.Modality = "CT"
    dataset.PatientName = "Interop^Peer"
    dataset.PatientID = "INTEROP-1"
    dataset.StudyDate = "20260102"
    dataset.StudyTime = "030405"
    dataset.AccessionNumber = "ACC1"
    dataset.StudyID = "1"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = number
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def write_file(item: RawObject, path: Path) -> Path:
    """Write a Part 10 file as pydicom does."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(item.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(item.sop_instance_uid)
    meta.TransferSyntaxUID = UID(item.transfer_syntax_uid)
    head = DicomBytesIO()
    write_file_meta_info(head, meta, enforce_standard=True)
    path.write_bytes(bytes(128) + b"DICM" + head.getvalue() + item.dataset)
    return path
