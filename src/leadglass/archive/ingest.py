"""An object arrives: sealed as it comes, durable, found again, on record - and only then answered.

The order is what the promise rests on:

1. policy, before a session is opened (``Access.permit``), and again before each object;
2. the scanner walks the data set as it streams past and stops a malformed one;
3. the vault seals it, segment by segment, and makes the record durable with one fdatasync;
4. the index writer admits the row (visible to every query that starts later; rebuilt from the record after a crash);
5. the audit log takes the event (rebuilt from the record after a crash, by its object id);
6. the caller answers.

If the process dies before the fdatasync of (3) has returned, the record never happened and nothing was answered. If
it dies after, ``archive.recovery`` finds the record in the pack and does (4) and (5) again, which are idempotent.

Source: PS3.4 B.2.3 (statuses of C-STORE), PS3.15 A.5.3 (events).
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from leadglass.archive.access import Access, Grant, actor_of
from leadglass.archive.comparison import Buffer, Comparison, Likeness
from leadglass.base.errors import (
    AccessDenied,
    DatasetRefused,
    DuplicateObject,
    LeadglassError,
    OutOfResources,
)
from leadglass.base.ids import UID
from leadglass.base.limits import DATASET_HEAD_BYTES_MAX, OBJECT_BYTES_MAX, QUARANTINED_PER_UID_MAX
from leadglass.base.objects import ObjectIdentity, Origin, RecordAddress
from leadglass.dicom.head import ScannedHead
from leadglass.dicom.models import Head
from leadglass.dicom.part10 import file_meta
from leadglass.dicom.scan import DatasetScanner, check_identity
from leadglass.dicom.syntaxes import PrivateSyntaxes, TransferSyntax
from leadglass.store.index.interfaces import Index, IndexEntry, InstanceRecord, QuarantineEntry
from leadglass.store.index.writer import IndexWriter
from leadglass.store.vault.interfaces import Footer, PackWriter, RecordWriter, Vault
from leadglass.trust.audit.interfaces import Actor, AuditEvent, EventCode, Outcome
from leadglass.trust.policy.interfaces import Permission

_OPEN_PACKS_MAX: Final = 8
"""Studies that one sender may interleave before its oldest pack is closed. A modality sends one at a time, a router
a few."""

QUARANTINE_DUPLICATE: Final = "the SOP Instance UID is held already with other content"


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """What a C-STORE command, or the file meta of an imported file, claims. Source: PS3.7 9.3.1.

    Attributes:
        study_uid: the only study that it may belong to, as the URL of a STOW-RS request says; None for any.
    """

    sop_class_uid: UID
    sop_instance_uid: UID
    transfer_syntax_uid: UID
    study_uid: UID | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """The object is held.

    Attributes:
        already_held: it was before, with the same content.
        in_other_encoding: what is held, and is kept, has the same attributes in other octets.
    """

    already_held: bool
    in_other_encoding: bool = False


_STORED: Final = Stored(already_held=False)

_OTHER_STUDY: Final = 0xC409
"""Failure reason of an object of another study than the URL names: of the kind "cannot understand" (PS3.18 Table
I.2-2); the number is the one that dcm4chee answers."""


def stored_event(
    code: EventCode,
    identity: ObjectIdentity,
    origin: Origin,
    patient: str,
    address: RecordAddress,
    octets: int,
) -> AuditEvent:
    """Return the event of an ingest; recovery makes the very same one from the sealed record.

    Its ``event_id`` is the object id, so that it stands in the log once however often it is offered.
    """
    return AuditEvent(
        code=code,
        at=origin.received_at,
        actor=Actor(
            principal_id=origin.principal,
            ae_title=origin.calling_ae_title,
            address=origin.address,
            certificate_sha256=origin.certificate_sha256,
        ),
        objects={
            "patient": (patient,) if patient else (),
            "study": (identity.study_uid,),
            "instance": (identity.sop_instance_uid,),
        },
        facts={"octets": octets},
        detail={"series": identity.series_uid, "sop_class": identity.sop_class_uid},
        correlation_id=origin.correlation_id,
        event_id=address.object_id,
    )


@dataclass(frozen=True, slots=True)
class Ingest:
    """Opens sessions; holds no state of its own."""

    access: Access
    vault: Vault
    writer: IndexWriter
    index: Index
    private_syntaxes: PrivateSyntaxes = field(default_factory=dict[str, TransferSyntax])

    def session(self, grant: Grant, origin: Origin) -> "StoreSession":
        """Begin one sender's burst: an association, or an import.

        Args:
            grant: for ``instance:store`` or ``instance:import``, from ``Access.permit``.
            origin: who sends; ``received_at`` is set anew for each object.

        Raises:
            AccessDenied: the grant is for something else.
        """
        if grant.permission not in {Permission.INSTANCE_STORE, Permission.INSTANCE_IMPORT}:
            raise AccessDenied("not authorized")
        return StoreSession(self, grant, origin)


class StoreSession:
    """One sender's burst. Owned by one thread; keeps a pack open per study until the burst ends."""

    def __init__(self, ingest: Ingest, grant: Grant, origin: Origin) -> None:
        self.ingest = ingest
        self.grant = grant
        self.origin = origin
        self._packs: OrderedDict[tuple[UID, bool], PackWriter] = OrderedDict()
        self._left_to_recovery: set[bytes] = set()

    def begin(self, request: StoreRequest) -> "Incoming":
        """Take an object; finish or abort it before the next one begins.

        Rights are asked again for each: an association or an upload can be kept open for days, and whoever lost them
        meanwhile stores nothing more. ``Incoming.finish`` raises it.
        """
        incoming = Incoming(self, request)
        try:
            self.grant = self.ingest.access.permit(self.grant.principal, self.grant.permission)
        except LeadglassError as error:
            incoming.refuse(error)
        return incoming

    def record_refusal(self, request: StoreRequest, error: LeadglassError, octets_seen: int) -> None:
        """Put on record why an object was not taken.

        Args:
            request: what the sender claimed.
            error: why, and the status that the sender is answered.
            octets_seen: of its data set, before it was given up.

        Raises:
            AuditUnavailable: it cannot be put on record.
        """
        self.ingest.access.audit.record(
            AuditEvent(
                code=EventCode.INSTANCE_REFUSED,
                at=self.ingest.access.clock.now(),
                actor=actor_of(self.grant.principal),
                outcome=Outcome.MINOR_FAILURE,
                objects={"instance": (request.sop_instance_uid,)},
                facts={"reason": str(error), "code": error.code, "status": error.dimse_status},
                detail={"sop_class": request.sop_class_uid, "octets_seen": octets_seen},
                rules=self.grant.rules,
                correlation_id=self.origin.correlation_id,
            )
        )

    def origin_at(self, received_at: datetime) -> Origin:
        """Return who sent an object that came at that time: ``dataclasses.replace`` would take 10 us."""
        sender = self.origin
        return Origin(
            sender.principal,
            sender.calling_ae_title,
            sender.called_ae_title,
            sender.address,
            sender.certificate_sha256,
            received_at,
            sender.correlation_id,
        )

    def pack_for(self, study_uid: UID, *, quarantine: bool) -> PackWriter:
        """Return the open pack of that study, with room for another record."""
        key = (study_uid, quarantine)
        pack = self._packs.get(key)
        if pack is not None:
            if not pack.full:
                self._packs.move_to_end(key)
                return pack
            self._close_pack(self._packs.pop(key))
        while len(self._packs) >= _OPEN_PACKS_MAX:
            self._close_pack(self._packs.popitem(last=False)[1])
        # Not the size: a power cut may take entries away, events of this pack come in their place, and a second replay
        # that looked from the old size on would not find them.
        floor = self.ingest.access.audit.durable_size()
        pack = self.ingest.vault.open_pack(study_uid, floor, quarantine=quarantine)
        self._packs[key] = pack
        return pack

    def close_packs(self) -> None:
        """Close every open pack: the burst has ended. One that cannot be closed is looked at by recovery.

        Raises:
            LeadglassError: of the first that failed, after all were tried.
        """
        failure: LeadglassError | None = None
        while self._packs:
            try:
                self._close_pack(self._packs.popitem(last=False)[1])
            except LeadglassError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def leave_to_recovery(self, pack_id: bytes) -> None:
        """Never note that pack as closed: it holds a record whose row or event failed. The next start makes them."""
        self._left_to_recovery.add(pack_id)

    def _close_pack(self, pack: PackWriter) -> None:
        # A pack is noted as closed only when its rows and its events are durable: from then on nobody replays it.
        pack.close()
        if pack.record_count:
            self.ingest.writer.barrier()
            self.ingest.access.audit.sync()
            if pack.pack_id not in self._left_to_recovery:
                self.ingest.index.close_pack(pack.pack_id)


class Incoming:
    """One object on its way in. After a failure it swallows the rest, and ``finish`` raises what happened."""

    def __init__(self, session: StoreSession, request: StoreRequest) -> None:
        self._session = session
        self._request = request
        private = session.ingest.private_syntaxes.get(request.transfer_syntax_uid)
        self._scanner = DatasetScanner(request.transfer_syntax_uid, syntax=private, outlining=True)
        self._head = bytearray()
        self._received = 0
        self._meta_length = 0
        self._identity: ObjectIdentity | None = None
        self._free_since = 0
        self._record: RecordWriter | None = None
        self._comparison: Comparison | None = None
        self._failure: LeadglassError | None = None
        self._kept_apart = False

    @property
    def identity(self) -> ObjectIdentity | None:
        """What it says that it is, once its head has come and was believed."""
        return self._identity

    def refuse(self, error: LeadglassError) -> None:
        """Take nothing of it; who refuses has put it on record."""
        self._failure = error

    def write(self, data: Buffer) -> None:
        """Take more of the data set, in any cut. The buffer may be reused after the call. Never raises a refusal."""
        if self._failure is None:
            try:
                self._take(data)
            except LeadglassError as error:
                self._fail(error)

    def finish(self) -> Stored:
        """Make the object durable, visible and on record.

        Raises:
            AccessDenied: whoever sends it may not any more.
            DatasetRefused: it cannot be understood, or is not what was announced.
            DuplicateObject: the UID is held with other content; this one is kept apart.
            OutOfResources: no room.
            AuditUnavailable: it cannot be put on record.
            IntegrityError: what is held under that UID is damaged.
        """
        if self._failure is None:
            try:
                return self._finish()
            except LeadglassError as error:
                self._fail(error)
        assert self._failure is not None
        raise self._failure

    def abort(self) -> None:
        """Forget it: the peer went away in the middle."""
        self._release()

    # --- on the way in -----------------------------------------------------------------------------------------

    def _take(self, data: Buffer) -> None:
        self._received += len(data)
        if self._received > OBJECT_BYTES_MAX:
            raise OutOfResources("the object is larger than this archive takes")
        self._scanner.feed(data)
        if self._record is None:
            if not self._scanner.study_known:
                self._hold(data)
                return
            self._record = self._begin_record(self._scanner.identity())
            if self._head:
                self._append(self._record, self._head)
                self._head = bytearray()
        self._append(self._record, data)

    def _hold(self, data: Buffer) -> None:
        self._head += data
        if len(self._head) > DATASET_HEAD_BYTES_MAX:
            raise DatasetRefused("no Study and Series Instance UID in the first 16 MiB of the data set")

    def _begin_record(self, identity: ObjectIdentity) -> RecordWriter:
        check_identity(identity, self._request.sop_class_uid, self._request.sop_instance_uid)
        if self._request.study_uid not in {None, identity.study_uid}:
            raise DatasetRefused("it belongs to another study than the one named", dimse_status=_OTHER_STUDY)
        ingest = self._session.ingest
        self._identity = identity
        self._free_since = ingest.writer.admitted
        existing = ingest.writer.lookup(identity.sop_instance_uid)
        if existing is not None:
            held = ingest.access.open(self._session.grant, existing)
            self._comparison = Comparison(held, existing, identity)
        pack = self._session.pack_for(identity.study_uid, quarantine=existing is not None)
        record = pack.begin(identity)
        meta = file_meta(identity, self._session.origin.calling_ae_title)
        self._meta_length = len(meta)
        record.write(meta)
        return record

    def _append(self, record: RecordWriter, data: Buffer) -> None:
        if self._comparison is not None:
            self._comparison.feed(data)
        record.write(data)

    # --- the end -----------------------------------------------------------------------------------------------

    def _finish(self) -> Stored:
        self._scanner.finish()
        record, identity = self._record, self._identity
        if record is None or identity is None:
            self._scanner.identity()  # says which UID is missing
            raise DatasetRefused("the data set ends before it says what it is")
        ingest = self._session.ingest
        origin = self._session.origin_at(ingest.access.clock.now())
        if self._comparison is not None:
            return self._finish_existing(record, identity, origin, self._comparison)
        address = record.commit(self._footer(identity, origin))
        try:
            return self._admit(identity, origin, address)
        except DuplicateObject:
            raise  # kept apart: its row and its event are there
        except BaseException:
            self._session.leave_to_recovery(address.pack_id)
            raise

    def _admit(self, identity: ObjectIdentity, origin: Origin, address: RecordAddress) -> Stored:
        """Make a durable record visible and put it on record."""
        ingest = self._session.ingest
        head = ScannedHead.of(self._scanner)
        outline = self._scanner.outline()
        entry = IndexEntry(
            head=head,
            address=address,
            dataset_offset=self._meta_length,
            dataset_length=self._received,
            received_at=origin.received_at,
            source=origin.principal,
            outline=b"" if outline is None else outline.encode(),
        )
        holder = ingest.writer.admit(entry, free_since=self._free_since)
        if holder is not None:
            return self._lost_race(entry, identity, origin, holder)
        self._record_event(EventCode.INSTANCE_STORED, head, origin, address)
        return _STORED

    def _footer(self, identity: ObjectIdentity, origin: Origin, quarantined: str = "") -> Footer:
        return Footer(
            identity=identity,
            origin=origin,
            dataset_offset=self._meta_length,
            dataset_length=self._received,
            quarantined=quarantined,
        )

    def _record_event(
        self,
        code: EventCode,
        head: Head,
        origin: Origin,
        address: RecordAddress,
        *,
        durable: bool = False,
    ) -> None:
        event = stored_event(code, head.identity, origin, head.patient_reference(), address, self._received)
        self._session.ingest.access.audit.record(event, durable=durable)

    def _finish_existing(
        self, record: RecordWriter, identity: ObjectIdentity, origin: Origin, comparison: Comparison
    ) -> Stored:
        likeness = comparison.likeness()
        if likeness is not Likeness.OTHER:
            self._release()
            self._session.ingest.access.record(
                self._session.grant,
                EventCode.INSTANCE_ALREADY_HELD,
                objects={"study": (identity.study_uid,), "instance": (identity.sop_instance_uid,)},
                facts={"octets": self._received, "likeness": likeness.value},
            )
            return Stored(already_held=True, in_other_encoding=likeness is Likeness.SAME_CONTENT)
        kept = self._session.ingest.index.quarantined_as(identity.sop_instance_uid)
        if self._is_kept_apart(kept, comparison):
            raise DuplicateObject("held already with other content; the newcomer was kept apart before")
        if len(kept) >= QUARANTINED_PER_UID_MAX:
            raise DuplicateObject("held already with other content; as many as may be are kept apart")
        address = record.commit(self._footer(identity, origin, QUARANTINE_DUPLICATE))
        try:
            self._keep_apart(identity, origin, address)
        except BaseException:
            self._session.leave_to_recovery(address.pack_id)
            raise
        raise DuplicateObject("held already with other content; the newcomer is kept apart")

    def _is_kept_apart(self, kept: Sequence[QuarantineEntry], comparison: Comparison) -> bool:
        """Tell whether this very newcomer was kept apart before: a sender that tries again must not fill the disk."""
        ingest = self._session.ingest
        for entry in kept:
            sealed = ingest.access.open(self._session.grant, entry.record)
            try:
                if comparison.is_copy_of(entry, sealed):
                    return True
            finally:
                sealed.close()
        return False

    def _keep_apart(self, identity: ObjectIdentity, origin: Origin, address: RecordAddress) -> None:
        kept = InstanceRecord(
            identity=identity,
            address=address,
            dataset_offset=self._meta_length,
            dataset_length=self._received,
            received_at=origin.received_at,
        )
        self._session.ingest.index.add_quarantined(QuarantineEntry(kept, QUARANTINE_DUPLICATE))
        head = ScannedHead.of(self._scanner)
        self._record_event(EventCode.INSTANCE_QUARANTINED, head, origin, address, durable=True)
        self._kept_apart = True

    def _lost_race(
        self, entry: IndexEntry, identity: ObjectIdentity, origin: Origin, holder: InstanceRecord
    ) -> Stored:
        """Two senders stored one UID at the same moment; the other's row came first."""
        ingest = self._session.ingest
        held = ingest.access.open(self._session.grant, holder)
        mine = ingest.vault.open(entry.address, identity)
        try:
            comparison = Comparison(held, holder, identity)
            for piece in mine.stream(entry.dataset_offset):
                comparison.feed(piece)
            likeness = comparison.likeness()
        finally:
            held.close()
            mine.close()
        if likeness is not Likeness.OTHER:
            self._record_event(
                EventCode.INSTANCE_ALREADY_HELD, entry.head, origin, entry.address, durable=True
            )
            return Stored(already_held=True, in_other_encoding=likeness is Likeness.SAME_CONTENT)
        self._keep_apart(identity, origin, entry.address)
        raise DuplicateObject("held already with other content; the newcomer is kept apart")

    # --- when it goes wrong ------------------------------------------------------------------------------------

    def _fail(self, error: LeadglassError) -> None:
        self._failure = error
        self._head = bytearray()
        self._release()
        if isinstance(error, DuplicateObject) and self._kept_apart:
            return  # on record as quarantined
        try:
            self._session.record_refusal(self._request, error, self._received)
        except LeadglassError as unrecorded:
            # Raised by ``finish``: whoever writes goes on to the end of the data set first.
            self._failure = unrecorded

    def _release(self) -> None:
        if self._record is not None:
            self._record.abort()
            self._record = None
        if self._comparison is not None:
            self._comparison.close()
            self._comparison = None
