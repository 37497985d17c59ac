"""pynetdicom as SCU and as SCP, over mutual TLS."""

import json
import queue
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts, evt
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation, UserIdentityNegotiation
from pynetdicom.presentation import build_context

from corpus import CORPUS, needs_corpus
from interop.conftest import Devices
from interop.part10 import raw_object
from interop.peers import (
    CT,
    EXPLICIT,
    IMPLICIT,
    PATIENT_FIND,
    PATIENT_GET,
    PATIENT_MOVE,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Foreign,
    RawObject,
    associate,
    associated,
    composite,
    contexts_of,
    encoded,
    get_raw,
    get_roles,
    keeping,
    keys,
    listening,
    server_tls,
    store_raw,
    stranger_tls,
    write_file,
)
from leadglass.app.cli.as_device import DeviceCaller
from leadglass.wire.dimse.assembly import CommandReceived
from leadglass.wire.dimse.messages import NActionRQ, NActionRSP
from leadglass.wire.ul.pdu import PresentationContextRQ
from running_node import DeviceFiles, Site, free_port

STUDY = "1.2.826.0.1.3680043.10.99.1"
SERIES = f"{STUDY}.1"
MANY = "1.2.826.0.1.3680043.10.99.2"
MANY_INSTANCES = 1000
EVERY_CLASS = "1.2.826.0.1.3680043.10.99.3"
COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"


@dataclass(frozen=True)
class Held:
    """What the node holds when the tests begin."""

    small: list[RawObject]
    destination: DeviceFiles
    destination_port: int


@pytest.fixture(scope="module")
def held(node: Site, devices: Devices, tmp_path_factory: pytest.TempPathFactory) -> Held:
    series = [
        encoded(composite(STUDY, f"{STUDY}.{s}", n, SeriesNumber=s, Modality=("CT", "MR")[s - 1]))
        for s in (1, 2)
        for n in (1, 2, 3)
    ]
    with associate(node, devices.modality, contexts_of([(CT, EXPLICIT)])) as association:
        assert {store_raw(association, item)[0] for item in series} == {0}
    folder = tmp_path_factory.mktemp("many")
    for number in range(MANY_INSTANCES):
        item = composite(MANY, f"{MANY}.1", number, PatientID="MANY", PatientName="Много^Снимков")
        write_file(encoded(item), folder / f"{number}.dcm")
    node.run("send", "--device", str(devices.modality.toml), str(folder))
    port = free_port()
    destination = node.enrol("dest", "DEST", ["store"], host="localhost", port=port, move_destination=True)
    return Held(series, destination, port)


def find(
    node: Site, device: DeviceFiles, identifier: Dataset, model: str = STUDY_FIND
) -> tuple[list[Dataset], Dataset]:
    """Return the matches and the last response."""
    with associate(node, device, [build_context(model)]) as association:
        responses = list(association.send_c_find(identifier, model))
    assert all(status.Status in {0xFF00, 0xFF01} for status, _ in responses[:-1])
    return [match for _, match in responses[:-1]], responses[-1][0]


# --- association -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_pdu", [0, 4096, 16382, 2**20])
def test_echo(node: Site, devices: Devices, max_pdu: int) -> None:
    with associate(node, devices.modality, [build_context(VERIFICATION)], max_pdu=max_pdu) as association:
        assert [association.send_c_echo().Status for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("max_pdu", [0, 4096])
def test_objects_in_pdus_of_any_length(node: Site, devices: Devices, held: Held, max_pdu: int) -> None:
    kept: list[RawObject] = []
    pixels = composite(STUDY, f"{STUDY}.7", 1, PatientID="PDU", PixelData=bytes(range(256)) * 400)
    pixels["PixelData"].VR = "OW"
    item = encoded(pixels)
    with associate(node, devices.modality, contexts_of([item.encoding]), max_pdu=max_pdu) as association:
        assert store_raw(association, item) == (0, "")
    wanted = keys("SERIES", StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.7")
    contexts = [build_context(STUDY_GET), *contexts_of([item.encoding])]
    with associate(
        node,
        devices.workstation,
        contexts,
        negotiation=get_roles([CT]),
        handlers=keeping(kept),
        max_pdu=max_pdu,
    ) as association:
        assert [status.Status for status, _ in association.send_c_get(wanted, STUDY_GET)][-1] == 0
    assert [one.dataset for one in kept] == [item.dataset]


def user_identity(identity_type: int, secondary: bytes = b"") -> UserIdentityNegotiation:
    identity = UserIdentityNegotiation()
    identity.user_identity_type = identity_type
    identity.primary_field = b"somebody"
    if secondary:
        identity.secondary_field = secondary
    return identity


@pytest.mark.parametrize("identity_type", [1, 3, 4])
def test_a_user_identity_that_proves_nothing_is_harmless(
    node: Site, devices: Devices, identity_type: int
) -> None:
    with associate(
        node, devices.modality, [build_context(VERIFICATION)], negotiation=[user_identity(identity_type)]
    ) as association:
        assert association.send_c_echo().Status == 0


def test_a_wrong_passcode_is_rejected(node: Site, devices: Devices) -> None:
    identity = user_identity(2, b"secret")
    contexts = [build_context(VERIFICATION)]
    with associated(node, devices.modality, contexts, negotiation=[identity]) as association:
        primitive = association.acceptor.primitive
        assert (primitive.result, primitive.result_source, primitive.diagnostic) == (1, 2, 1)


def test_an_asynchronous_window_is_answered_with_one_at_a_time(node: Site, devices: Devices) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 8
    window.maximum_number_operations_performed = 8
    with associate(
        node, devices.modality, [build_context(VERIFICATION)], negotiation=[window]
    ) as association:
        answered = association.acceptor.asynchronous_operations
        assert answered == (1, 1)
        assert association.send_c_echo().Status == 0


def test_wrong_titles_are_rejected_for_the_reason_of_the_standard(node: Site, devices: Devices) -> None:
    for called, calling, reason in (("SOMEBODY", "", 7), ("LEADGLASS", "SOMEBODY", 3)):
        with associated(
            node, devices.modality, [build_context(VERIFICATION)], called=called, calling=calling
        ) as association:
            assert association.is_rejected
            primitive = association.acceptor.primitive
            assert (primitive.result, primitive.result_source, primitive.diagnostic) == (1, 1, reason)


def test_what_the_role_does_not_allow_is_not_negotiated(node: Site, devices: Devices) -> None:
    with associated(node, devices.modality, [build_context(STUDY_FIND)]) as association:
        assert [context.result for context in association.rejected_contexts] == [1]
    with associated(node, devices.workstation, contexts_of([(CT, EXPLICIT)])) as association:
        status = (
            store_raw(association, encoded(composite("1.2.3", "1.2.3.1", 1)))[0]
            if association.accepted_contexts
            else None
        )
        assert status in {None, 0x0124}


# --- C-STORE -----------------------------------------------------------------------------------------------------


def test_every_storage_sop_class_is_stored_and_comes_back(node: Site, devices: Devices) -> None:
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    objects = [
        encoded(composite(EVERY_CLASS, f"{EVERY_CLASS}.1", n, SOPClassUID=uid, PatientID="EVERY"))
        for n, uid in enumerate(classes)
    ]
    fetched: list[RawObject] = []
    for start in range(0, len(objects), 128):
        part = objects[start : start + 128]
        with associate(node, devices.modality, contexts_of([i.encoding for i in part])) as association:
            assert association.rejected_contexts == []
            assert {store_raw(association, item) for item in part} == {(0, "")}
    for start in range(0, len(objects), 120):
        part = objects[start : start + 120]
        wanted = keys(
            "IMAGE",
            StudyInstanceUID=EVERY_CLASS,
            SeriesInstanceUID=f"{EVERY_CLASS}.1",
            SOPInstanceUID=[item.sop_instance_uid for item in part],
        )
        kept, final = get_raw(node, devices.workstation, wanted, [item.encoding for item in part])
        assert final.Status == 0
        fetched += kept
    assert {(i.sop_instance_uid, i.dataset) for i in fetched} == {
        (i.sop_instance_uid, i.dataset) for i in objects
    }


# --- C-FIND ------------------------------------------------------------------------------------------------------


def test_find_at_every_level_of_both_roots(node: Site, devices: Devices, held: Held) -> None:
    device = devices.workstation
    for model in (PATIENT_FIND, STUDY_FIND):
        above = {"PatientID": "INTEROP-1"} if model == PATIENT_FIND else {}
        if model == PATIENT_FIND:
            patients, final = find(
                node, device, keys("PATIENT", PatientID="INTEROP-1", PatientName=""), model
            )
            assert final.Status == 0
            assert [str(match.PatientName) for match in patients] == ["Interop^Peer"]
        asked = keys(
            "STUDY", **above, StudyInstanceUID=STUDY, ModalitiesInStudy="", NumberOfStudyRelatedSeries=""
        )
        (study,), final = find(node, device, asked, model)
        assert final.Status == 0
        assert {"CT", "MR"} <= set(study.ModalitiesInStudy)
        assert study.RetrieveAETitle == "LEADGLASS"
        asked = keys(
            "SERIES", **above, StudyInstanceUID=STUDY, SeriesInstanceUID="", Modality="MR", SeriesNumber=""
        )
        (series,), final = find(node, device, asked, model)
        assert (series.SeriesInstanceUID, series.SeriesNumber, final.Status) == (f"{STUDY}.2", 2, 0)
        asked = keys(
            "IMAGE",
            **above,
            StudyInstanceUID=STUDY,
            SeriesInstanceUID=SERIES,
            SOPInstanceUID="",
            InstanceNumber="",
        )
        images, final = find(node, device, asked, model)
        assert sorted(int(image.InstanceNumber) for image in images) == [1, 2, 3]
        assert final.Status == 0


def test_find_with_thousand_matches(node: Site, devices: Devices, held: Held) -> None:
    asked = keys("IMAGE", StudyInstanceUID=MANY, SeriesInstanceUID=f"{MANY}.1", SOPInstanceUID="")
    matches, final = find(node, devices.workstation, asked)
    assert len({match.SOPInstanceUID for match in matches}) == MANY_INSTANCES
    assert final.Status == 0


def test_find_in_unicode(node: Site, devices: Devices, held: Held) -> None:
    asked = keys("STUDY", SpecificCharacterSet="ISO_IR 192", PatientName="много*", StudyInstanceUID="")
    (match,), _ = find(node, devices.workstation, asked)
    assert (match.StudyInstanceUID, str(match.PatientName)) == (MANY, "Много^Снимков")
    asked = keys("STUDY", SpecificCharacterSet="ISO_IR 144", PatientName="Много^Снимков", StudyInstanceUID="")
    (match,), _ = find(node, devices.workstation, asked)
    assert str(match.PatientName) == "Много^Снимков"


def test_find_is_cancelled_in_the_middle(node: Site, devices: Devices, held: Held) -> None:
    asked = keys("IMAGE", StudyInstanceUID=MANY, SeriesInstanceUID=f"{MANY}.1", SOPInstanceUID="")
    with associate(node, devices.workstation, [build_context(STUDY_FIND)]) as association:
        seen: list[int] = []
        for status, _ in association.send_c_find(asked, STUDY_FIND, msg_id=7):
            if not seen:
                association.send_c_cancel(7, query_model=STUDY_FIND)
            seen.append(status.Status)
        assert seen[-1] == 0xFE00
        assert len(seen) - 1 < MANY_INSTANCES
        # The association goes on.
        assert [
            s.Status for s, _ in association.send_c_find(keys("STUDY", StudyInstanceUID=STUDY), STUDY_FIND)
        ] == [0xFF00, 0]


def test_identifiers_that_break_the_rules(node: Site, devices: Devices) -> None:
    for asked in (
        keys("IMAGE", SOPInstanceUID=""),
        keys("PATIENT", PatientID="*"),
        keys("NONSENSE", PatientID="*"),
        keys("STUDY", StudyDate="not a date"),
    ):
        matches, final = find(node, devices.workstation, asked)
        assert (matches, final.Status) == ([], 0xA900)
        assert final.ErrorComment


# --- C-GET -------------------------------------------------------------------------------------------------------


def test_get_at_every_level_of_both_roots(node: Site, devices: Devices, held: Held) -> None:
    series = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES}
    patient = {"PatientID": "INTEROP-1"}
    image = {"SOPInstanceUID": f"{SERIES}.2"}
    study = {"StudyInstanceUID": STUDY}
    expected = {item.sop_instance_uid: item.dataset for item in held.small}
    for model, level, values, count in (
        (PATIENT_GET, "PATIENT", patient, 6),
        (PATIENT_GET, "STUDY", patient | study, 6),
        (PATIENT_GET, "IMAGE", patient | series | image, 1),
        (STUDY_GET, "STUDY", study, 6),
        (STUDY_GET, "SERIES", series, 3),
        (STUDY_GET, "IMAGE", series | image, 1),
    ):
        kept, final = get_raw(node, devices.workstation, keys(level, **values), [(CT, EXPLICIT)], model=model)
        kept = [item for item in kept if item.sop_instance_uid in expected]
        assert len(kept) == count
        assert final.Status == 0
        assert all(expected[item.sop_instance_uid] == item.dataset for item in kept)


def test_get_of_nothing_succeeds_with_nothing(node: Site, devices: Devices) -> None:
    kept, final = get_raw(
        node, devices.workstation, keys("STUDY", StudyInstanceUID="1.2.3"), [(CT, EXPLICIT)]
    )
    assert (kept, final.Status, final.NumberOfCompletedSuboperations) == ([], 0, 0)


def test_get_without_a_context_for_the_objects_names_what_failed(
    node: Site, devices: Devices, held: Held
) -> None:
    asked = keys("SERIES", StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES)
    with associate(
        node, devices.workstation,
        [build_context(STUDY_GET), *contexts_of([("1.2.840.10008.5.1.4.1.1.4", EXPLICIT)])],
        negotiation=get_roles(["1.2.840.10008.5.1.4.1.1.4"]),
    ) as association:  # fmt: skip
        status, failed = list(association.send_c_get(asked, STUDY_GET))[-1]
    assert (status.Status, status.NumberOfFailedSuboperations) == (0xA702, 3)
    assert set(failed.FailedSOPInstanceUIDList) == {f"{SERIES}.{n}" for n in (1, 2, 3)}


def test_get_is_cancelled_in_the_middle(node: Site, devices: Devices, held: Held) -> None:
    kept: list[RawObject] = []
    contexts = [build_context(STUDY_GET), *contexts_of([(CT, EXPLICIT)])]
    with associate(
        node, devices.workstation, contexts, negotiation=get_roles([CT]), handlers=keeping(kept)
    ) as association:
        last = Dataset()
        for status, _ in association.send_c_get(keys("STUDY", StudyInstanceUID=MANY), STUDY_GET, msg_id=9):
            if not last:
                association.send_c_cancel(9, query_model=STUDY_GET)
            last = status
        assert last.Status == 0xFE00
        assert 0 < last.NumberOfRemainingSuboperations < MANY_INSTANCES
        assert last.NumberOfCompletedSuboperations == len(kept)


@needs_corpus
@pytest.mark.parametrize(
    "name", ["MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "SC_rgb_rle"]
)
def test_who_takes_no_compression_gets_it_decoded(node: Site, devices: Devices, name: str) -> None:
    (path,) = (CORPUS / "transfer-syntax").rglob(f"pydicom__{name}.dcm")
    compressed = dcmread(path)
    held = raw_object(path)
    assert held is not None
    # An instance of its own: the corpus has the same one in other transfer syntaxes.
    new = f"1.2.3.{len(name)}".ljust(len(held.sop_instance_uid), "1")
    octets = held.dataset.replace(held.sop_instance_uid.encode(), new.encode())
    item = replace(held, sop_instance_uid=new, dataset=octets)
    with associate(node, devices.modality, contexts_of([item.encoding])) as association:
        assert store_raw(association, item) == (0, "")
    asked = keys(
        "IMAGE", StudyInstanceUID=item.study_uid, SeriesInstanceUID=item.series_uid, SOPInstanceUID=new
    )
    for syntax in (IMPLICIT, EXPLICIT):
        (received,), final = get_raw(node, devices.workstation, asked, [(item.sop_class_uid, syntax)])
        assert (final.Status, received.transfer_syntax_uid) == (0, syntax)
        dataset = decode(BytesIO(received.dataset), syntax == IMPLICIT, True)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        assert (dataset.pixel_array == compressed.pixel_array).all()
        assert (dataset.Rows, dataset.PatientID) == (compressed.Rows, compressed.PatientID)


# --- C-MOVE ------------------------------------------------------------------------------------------------------


def move(
    node: Site, device: DeviceFiles, asked: Dataset, destination: str, model: str = STUDY_MOVE
) -> tuple[Any, Any]:
    with associate(node, device, [build_context(model)]) as association:
        responses = list(association.send_c_move(asked, destination, model))
    assert all(status.Status == 0xFF00 for status, _ in responses[:-1])
    status, failed = responses[-1]
    return status, failed


def test_move_to_a_listening_device(node: Site, devices: Devices, held: Held) -> None:
    kept: list[RawObject] = []
    originators: list[tuple[str, int]] = []
    handlers = keeping(kept)

    def originator(event: Foreign) -> None:
        message = event.message
        if type(message).__name__ == "C_STORE_RQ":
            command = message.command_set
            originators.append(
                (command.MoveOriginatorApplicationEntityTitle, command.MoveOriginatorMessageID)
            )

    with listening(
        "DEST",
        held.destination_port,
        server_tls(held.destination),
        contexts_of([(CT, EXPLICIT)]),
        [*handlers, (evt.EVT_DIMSE_RECV, originator)],
    ):
        for model, values in ((STUDY_MOVE, {}), (PATIENT_MOVE, {"PatientID": "INTEROP-1"})):
            kept.clear()
            asked = keys("SERIES", **values, StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES)
            status, _ = move(node, devices.workstation, asked, "DEST", model)
            assert (status.Status, status.NumberOfCompletedSuboperations) == (0, 3)
            assert {i.dataset for i in kept} == {i.dataset for i in held.small if i.series_uid == SERIES}
    assert set(originators) == {("WS1", 1)}


def test_move_of_objects_that_the_destination_refuses(node: Site, devices: Devices, held: Held) -> None:
    kept: list[RawObject] = []

    def answer(item: RawObject) -> int:
        return {1: 0xA700, 2: 0xB000}.get(int(item.sop_instance_uid.rsplit(".", 1)[1]), 0)

    with listening(
        "DEST",
        held.destination_port,
        server_tls(held.destination),
        contexts_of([(CT, EXPLICIT)]),
        keeping(kept, answer),
    ):
        asked = keys("SERIES", StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES)
        status, failed = move(node, devices.workstation, asked, "DEST")
    assert status.Status == 0xB000
    counts = (
        status.NumberOfCompletedSuboperations,
        status.NumberOfFailedSuboperations,
        status.NumberOfWarningSuboperations,
    )
    assert counts == (1, 1, 1)
    assert failed.FailedSOPInstanceUIDList == f"{SERIES}.1"


def test_move_to_a_device_that_is_not_there(node: Site, devices: Devices, held: Held) -> None:
    asked = keys("SERIES", StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES)
    status, failed = move(node, devices.workstation, asked, "DEST")
    assert (status.Status, status.NumberOfFailedSuboperations) == (0xA702, 3)
    assert len(failed.FailedSOPInstanceUIDList) == 3


@pytest.mark.parametrize("destination", ["NOBODY", "CT1", "WS1"])
def test_move_to_who_is_no_destination(node: Site, devices: Devices, held: Held, destination: str) -> None:
    status, _ = move(node, devices.workstation, keys("STUDY", StudyInstanceUID=STUDY), destination)
    assert status.Status == 0xA801


def test_move_to_who_shows_another_certificate(node: Site, devices: Devices, held: Held) -> None:
    kept: list[RawObject] = []
    other = server_tls(devices.modality)
    with listening("DEST", held.destination_port, other, contexts_of([(CT, EXPLICIT)]), keeping(kept)):
        status, _ = move(node, devices.workstation, keys("STUDY", StudyInstanceUID=STUDY), "DEST")
    assert status.Status == 0xA702
    assert kept == []


# --- Storage Commitment ------------------------------------------------------------------------------------------


def action(transaction: str, *references: tuple[str, str]) -> Dataset:
    asked = Dataset()
    asked.TransactionUID = transaction
    asked.ReferencedSOPSequence = []
    for sop_class, sop_instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        asked.ReferencedSOPSequence.append(item)
    return asked


class Reports:
    """Takes N-EVENT-REPORT."""

    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[int, Dataset]] = queue.Queue()

    def handle(self, event: Foreign) -> tuple[int, None]:
        self.queue.put((event.event_type, event.event_information))
        return 0x0000, None

    @property
    def handlers(self) -> list[Any]:
        return [(evt.EVT_N_EVENT_REPORT, self.handle)]

    def next(self) -> tuple[int, Dataset]:
        return self.queue.get(timeout=30)


def commit(association: Foreign, asked: Dataset) -> int:
    status, _ = association.send_n_action(asked, 1, COMMITMENT, COMMITMENT_INSTANCE)
    return int(status.Status)


def test_commitment_is_reported_on_the_same_association(node: Site, devices: Devices, held: Held) -> None:
    reports = Reports()
    one = held.small[0].sop_instance_uid
    with associate(
        node, devices.modality, [build_context(COMMITMENT)], handlers=reports.handlers
    ) as association:
        assert commit(association, action("1.2.3.1", (CT, one))) == 0
        event_type, report = reports.next()
        assert (event_type, report.TransactionUID) == (1, "1.2.3.1")
        assert report.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == one
        assert "FailedSOPSequence" not in report
        wrong = (("1.2.840.10008.5.1.4.1.1.4", one), (CT, "1.2.3.4.5"))
        assert commit(association, action("1.2.3.2", (CT, held.small[1].sop_instance_uid), *wrong)) == 0
        event_type, report = reports.next()
        assert event_type == 2
        assert {item.ReferencedSOPInstanceUID: item.FailureReason for item in report.FailedSOPSequence} == {
            one: 0x0119,
            "1.2.3.4.5": 0x0112,
        }
        assert commit(association, action("1.2.3.3")) == 0x0115


def test_commitment_is_reported_on_a_new_association(node: Site, held: Held) -> None:
    reports = Reports()
    device = node.enrol("ct2", "CT2", ["store"], host="localhost", port=(port := free_port()))
    inverted = build_context(COMMITMENT)
    inverted.scu_role, inverted.scp_role = False, True
    # Some devices answer the role selection, some do not.
    for transaction, context in (("1.2.3.8", inverted), ("1.2.3.9", build_context(COMMITMENT))):
        with listening("CT2", port, server_tls(device), [context], reports.handlers):
            with associate(node, device, [build_context(COMMITMENT)]) as association:
                assert commit(association, action(transaction, (CT, held.small[0].sop_instance_uid))) == 0
            event_type, report = reports.next()
        assert (event_type, report.TransactionUID, report.RetrieveAETitle) == (1, transaction, "LEADGLASS")


def test_a_device_may_release_before_its_report(node: Site, devices: Devices, held: Held) -> None:
    """A device that does not listen may release right behind its request: PS3.4 J.3.3 leaves it free to.

    The first device is ours: pynetdicom 3.0 answers a report that comes in Sta7 with an event that its state machine
    does not know there (Evt9), and its thread dies.
    """
    caller = DeviceCaller.load(devices.modality.toml, host="", port=0, called="")
    with caller.associate([PresentationContextRQ(1, COMMITMENT, (EXPLICIT,))]) as connection:
        asked = NActionRQ(
            message_id=1,
            requested_sop_class_uid=COMMITMENT,
            requested_sop_instance_uid=COMMITMENT_INSTANCE,
            action_type_id=1,
            has_dataset=True,
        )
        body = action("1.2.3.21", (CT, held.small[0].sop_instance_uid))
        connection.send_message(1, asked, [encode(body, is_implicit_vr=False, is_little_endian=True) or b""])
        answer = connection.next_event()
        assert isinstance(answer, CommandReceived)
        assert isinstance(answer.message, NActionRSP)
        assert answer.message.status == 0
    reports = Reports()
    with associate(
        node, devices.modality, [build_context(COMMITMENT)], handlers=reports.handlers
    ) as association:
        assert commit(association, action("1.2.3.22", (CT, held.small[0].sop_instance_uid))) == 0
        seen: set[str] = set()
        while "1.2.3.22" not in seen:
            seen.add(str(reports.next()[1].TransactionUID))
    assert seen <= {"1.2.3.21", "1.2.3.22"}


# --- our SCU, pynetdicom as SCP ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Archive:
    """Another archive: answers every query with one study, and sends what it is asked for.

    Attributes:
        kept: what it was sent.
        options: of our commands, to reach it.
    """

    kept: list[RawObject]
    options: list[str]


def answer_find(_event: Foreign) -> Iterator[tuple[int, Dataset | None]]:
    answer = keys("STUDY", StudyInstanceUID=STUDY, PatientName="Ünlaut^Ä", SOPClassesInStudy=CT)
    answer.SpecificCharacterSet = "ISO_IR 100"
    yield 0xFF00, answer
    yield 0xFF00, answer
    yield 0x0000, None


def answer_get(_event: Foreign) -> Iterator[Any]:
    yield 2
    for number in (1, 2):
        held = composite(STUDY, SERIES, number)
        held.file_meta = FileMetaDataset()
        held.file_meta.TransferSyntaxUID = UID(EXPLICIT)
        yield 0xFF00, held


@pytest.fixture(scope="module")
def archive(devices: Devices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder, us = tmp_path_factory.mktemp("another"), devices.modality
    tls, known_by = stranger_tls(folder, us)
    port = free_port()
    described = us.toml.read_text()
    for name in (us.key, us.certificate):
        described = described.replace(f'"{name.name}"', f'"{name}"')
    toml = folder / "us.toml"
    toml.write_text(described.replace(f'"{us.authority.name}"', f'"{known_by}"'))
    kept: list[RawObject] = []
    handlers = [
        *keeping(kept),
        (evt.EVT_C_FIND, answer_find),
        (evt.EVT_C_GET, answer_get),
        (evt.EVT_C_ECHO, lambda _: 0),
    ]
    contexts = [build_context(uid) for uid in (VERIFICATION, STUDY_FIND, STUDY_GET)]
    storage = build_context(CT, [EXPLICIT, IMPLICIT])
    storage.scu_role, storage.scp_role = False, True
    with listening("OTHER", port, tls, [*contexts, storage], handlers):
        yield Archive(kept, ["--device", str(toml), "--port", str(port), "--called", "OTHER"])


def test_our_scu_echoes_finds_and_fetches(node: Site, archive: Archive, tmp_path: Path) -> None:
    assert "OTHER answers" in node.run("echo", *archive.options).stdout
    found = json.loads(node.run("find", *archive.options, "--json").stdout)["matches"]
    assert [match["PatientName"] for match in found] == ["Ünlaut^Ä"] * 2
    fetched = node.run("get", *archive.options, "--study", STUDY, "--out", str(tmp_path), "--json")
    assert json.loads(fetched.stdout)["completed"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{SERIES}.{n}.dcm" for n in (1, 2)]


def test_our_scu_sends(node: Site, held: Held, archive: Archive, tmp_path: Path) -> None:
    archive.kept.clear()
    for item in held.small:
        write_file(item, tmp_path / f"{item.sop_instance_uid}.dcm")
    node.run("send", *archive.options, str(tmp_path))
    assert {item.dataset for item in archive.kept} == {item.dataset for item in held.small}


def test_our_scu_does_not_speak_to_who_has_another_certificate(node: Site, devices: Devices) -> None:
    port = free_port()
    tls = server_tls(devices.workstation)
    with listening("OTHER", port, tls, [build_context(VERIFICATION)], []):
        options = ["--device", str(devices.modality.toml), "--port", str(port), "--called", "OTHER"]
        assert "another host" in node.run("echo", *options, status=6).stderr
