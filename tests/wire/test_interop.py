"""DCMTK and pynetdicom talk to the machine over real sockets; no TLS here, that is the door's."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.filereader import read_dataset
from pynetdicom import AE, evt

from corpus import corpus_files, needs_corpus
from leadglass.wire.dimse.assembly import CommandReceived, DatasetChunk, DatasetEnd, MessageAssembler
from leadglass.wire.dimse.messages import CEchoRQ, CEchoRSP, CStoreRQ, CStoreRSP, Message, encode
from leadglass.wire.ul.association import Association
from leadglass.wire.ul.negotiation import ANY, Offer, negotiate
from leadglass.wire.ul.outputs import (
    Aborted,
    AssociateAccepted,
    AssociateRequested,
    CloseConnection,
    DataFragment,
    Output,
    ProtocolViolation,
    ReleaseConfirmed,
    ReleaseRequested,
    Send,
)
from leadglass.wire.ul.pdu import AssociateRQ, PresentationContextRQ, UserInformation
from wire.playbook import EXPLICIT, IMPLICIT, LOCAL, VERIFICATION

pytestmark = pytest.mark.interop


class Everything(dict[str, Offer]):
    """Takes every abstract syntax with any transfer syntax."""

    def get(self, _key: str, _default: object = None) -> Offer:
        return ANY


def sent(outputs: Iterable[Output]) -> bytes:
    return b"".join(output.data for output in outputs if isinstance(output, Send))


class Node:
    """A C-ECHO and C-STORE SCP for one connection at a time; keeps what it was sent."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.datasets: list[bytes] = []
        self.complaints: list[Output] = []
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            with connection:
                if not self.converse(connection):
                    return

    def converse(self, connection: socket.socket) -> bool:
        """Return False when the other side said nothing at all: the test is over."""
        association, assembler = Association(), MessageAssembler()
        association.transport_connected()
        message: Message | None = None
        dataset = bytearray()
        spoken = False
        while not association.closed:
            count = connection.recv_into(association.get_buffer())
            spoken = spoken or count > 0
            outputs = association.buffer_updated(count) if count else association.connection_lost()
            for output in outputs:
                if isinstance(output, Send):
                    connection.sendall(output.data)
                elif isinstance(output, AssociateRequested):
                    ac = negotiate(output.rq, Everything(), local=LOCAL)
                    connection.sendall(sent(association.accept(ac)))
                elif isinstance(output, ReleaseRequested):
                    connection.sendall(sent(association.respond_release()))
                elif isinstance(output, DataFragment):
                    for event in assembler.receive(output):
                        answer = b""
                        if isinstance(event, DatasetChunk):
                            dataset += event.data
                        elif isinstance(event, CommandReceived):
                            message = event.message
                            if isinstance(message, CEchoRQ):
                                answer = encode(CEchoRSP(message.message_id, 0, VERIFICATION))
                        else:
                            assert isinstance(event, DatasetEnd)
                            assert isinstance(message, CStoreRQ)
                            self.datasets.append(bytes(dataset))
                            dataset.clear()
                            answer = encode(
                                CStoreRSP(
                                    message.message_id,
                                    0,
                                    message.affected_sop_class_uid,
                                    message.affected_sop_instance_uid,
                                )
                            )
                        if answer:
                            buffers = association.data(output.context_id, is_command=True, payload=answer)
                            connection.sendall(b"".join(buffers))
                elif isinstance(output, Aborted | ProtocolViolation) and spoken:
                    self.complaints.append(output)
        return spoken

    def stop(self) -> None:
        socket.create_connection(("127.0.0.1", self.port)).close()
        self.thread.join(10)
        self.listener.close()
        assert not self.thread.is_alive()


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.stop()


def dcmtk(tool: str, *arguments: str) -> None:
    program = shutil.which(tool)
    if program is None:
        pytest.skip(f"{tool} of DCMTK is not installed")
    ran = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


def test_echoscu(node: Node) -> None:
    dcmtk("echoscu", "-v", "--repeat", "3", "--propose-pc", "20", "127.0.0.1", str(node.port))
    assert node.complaints == []


def is_explicit(path: Path) -> bool:
    """Small, and in the transfer syntax that storescu proposes first, so that nothing is converted."""
    if path.stat().st_size > 2**20:
        return False
    meta = pydicom.dcmread(path, specific_tags=["SOPClassUID"], force=True).file_meta
    return bool(meta.get("TransferSyntaxUID") == EXPLICIT)


@needs_corpus
@pytest.mark.parametrize("pdu", ["4096", "16384", "131072"])
def test_storescu(node: Node, pdu: str) -> None:
    files = [path for path in corpus_files("modality", "series") if is_explicit(path)][:3]
    assert files
    dcmtk("storescu", "-R", "--max-send-pdu", pdu, "127.0.0.1", str(node.port), *map(str, files))
    assert len(node.datasets) == len(files)
    for path, received in zip(files, node.datasets, strict=True):
        dataset = read_dataset(BytesIO(received), is_implicit_VR=False, is_little_endian=True)
        assert dataset == pydicom.dcmread(path)
    assert node.complaints == []


def test_pynetdicom_as_scu(node: Node) -> None:
    ae = AE()
    ae.add_requested_context(VERIFICATION)
    association = ae.associate("127.0.0.1", node.port, max_pdu=0)
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()
    assert association.is_released
    assert node.complaints == []


def test_pynetdicom_as_scp() -> None:
    ae = AE()
    ae.add_supported_context(VERIFICATION)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda _event: 0)])
    assert server is not None
    assert server.socket is not None
    try:
        seen = converse_as_scu(server.socket.getsockname()[1])
    finally:
        server.shutdown()
    assert seen == [AssociateAccepted, CEchoRSP, ReleaseConfirmed, CloseConnection]


def converse_as_scu(port: int) -> list[type]:
    rq = AssociateRQ(
        "ANY-SCP",
        "LEADGLASS",
        (PresentationContextRQ(1, VERIFICATION, (IMPLICIT,)),),
        UserInformation(16384, "1.2.3"),
    )
    association, assembler, seen = Association(), MessageAssembler(), list[type]()
    association.request(rq)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent(association.transport_connected()))
        while not association.closed:
            count = connection.recv_into(association.get_buffer())
            for output in association.buffer_updated(count) if count else association.connection_lost():
                if not isinstance(output, DataFragment):
                    seen.append(type(output))
                if isinstance(output, AssociateAccepted):
                    request = encode(CEchoRQ(1, VERIFICATION))
                    connection.sendall(b"".join(association.data(1, is_command=True, payload=request)))
                elif isinstance(output, DataFragment):
                    for event in assembler.receive(output):
                        assert isinstance(event, CommandReceived)
                        seen.append(type(event.message))
                        connection.sendall(sent(association.release()))
    return seen
