"""Fetching: objects leave, each authenticated on the way, and the log knows before the first byte does.

Source: PS3.4 C.4.2, C.4.3; PS3.15 A.5.3.3 (Begin Transferring), A.5.3.7 (Instances Transferred).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from leadglass.archive.access import Access, Grant, subject_of
from leadglass.archive.selected import selected
from leadglass.base.errors import DatasetRefused, IntegrityError
from leadglass.base.ids import UID
from leadglass.base.limits import TRANSCODE_BYTES_MAX
from leadglass.dicom.part10 import file_meta
from leadglass.dicom.query import RetrieveKeys
from leadglass.dicom.transcode import can_transcode
from leadglass.store.index.interfaces import Index, InstanceRecord, Selector
from leadglass.store.index.writer import IndexWriter
from leadglass.trust.audit.interfaces import EventCode, Outcome
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission

# Doors name InstanceRecord and may not import the store: it is given out here.
__all__ = ["InstanceRecord", "Retrieval", "Retriever", "Transcoder"]

_STUDIES_PER_EVENT: Final = 500

_ENDED: Final = {
    Permission.INSTANCE_MOVE: EventCode.MOVE_ENDED,
    Permission.STUDY_EXPORT: EventCode.EXPORT_ENDED,
}


class Transcoder(Protocol):
    """Decodes to an uncompressed transfer syntax; implemented in ``archive.transcoding``."""

    def transcode(self, dataset: bytes, stored_as: str, wanted: str) -> bytes:
        """Return the data set in the wanted transfer syntax.

        Raises:
            DatasetRefused: it cannot be decoded.
        """
        ...


@dataclass(slots=True)
class Retrieval:
    """A granted retrieve. Ends with ``ended``, which puts the outcome on record."""

    access: Access
    grant: Grant
    records: Sequence[InstanceRecord]
    destination: str
    transcoder: Transcoder
    _over: bool = field(default=False)

    def dataset(self, record: InstanceRecord, transfer_syntax_uid: str) -> Iterator[bytes | memoryview]:
        """Yield the data set of one of the granted instances, in that transfer syntax.

        As stored it is streamed, each piece valid until the next is asked for; otherwise it is decoded whole in a
        process of its own.

        Raises:
            IntegrityError: it is not what was written; on record already.
            KeyUnavailable: its key was destroyed.
            DatasetRefused: it cannot be decoded.
        """
        return self._stream(record, transfer_syntax_uid, record.dataset_offset)

    def part10(self, record: InstanceRecord, transfer_syntax_uid: str) -> Iterator[bytes | memoryview]:
        """Yield one of the granted instances as a file: preamble of zeros, file meta, data set; raises as ``dataset``."""
        if transfer_syntax_uid != record.identity.transfer_syntax_uid:
            yield file_meta(replace(record.identity, transfer_syntax_uid=UID(transfer_syntax_uid)))
            yield from self._stream(record, transfer_syntax_uid, record.dataset_offset)
        else:
            yield from self._stream(record, transfer_syntax_uid, 0)

    def _stream(
        self, record: InstanceRecord, transfer_syntax_uid: str, offset: int
    ) -> Iterator[bytes | memoryview]:
        stored_as = record.identity.transfer_syntax_uid
        if transfer_syntax_uid != stored_as and record.dataset_length > TRANSCODE_BYTES_MAX:
            raise DatasetRefused("larger than what is transcoded")  # before a single octet of it is in memory
        sealed = self.access.open(self.grant, record)
        try:
            pieces = sealed.stream(offset)
            if transfer_syntax_uid == stored_as:
                yield from pieces
            else:
                # A piece is valid only until the next is asked for: join copies.
                whole = b"".join(bytes(piece) for piece in pieces)
                yield self.transcoder.transcode(whole, stored_as, transfer_syntax_uid)
        except IntegrityError as error:
            self.access.record_damage(self.grant.principal, record, str(error))
            raise
        finally:
            sealed.close()

    def can_send(self, record: InstanceRecord, transfer_syntax_uid: str) -> bool:
        """Tell whether that instance can be had in that transfer syntax."""
        stored_as = record.identity.transfer_syntax_uid
        return stored_as == transfer_syntax_uid or can_transcode(stored_as, transfer_syntax_uid)

    def ended(
        self,
        *,
        completed: int,
        failed: int,
        warning: int = 0,
        cancelled: bool = False,
        durable: bool = True,
    ) -> None:
        """Put the outcome on record, once.

        Without ``durable`` a power cut may take it; what left is on record since the beginning.
        """
        if self._over:
            return
        self._over = True
        self.access.record(
            self.grant,
            _ENDED.get(self.grant.permission, EventCode.RETRIEVE_ENDED),
            outcome=Outcome.MINOR_FAILURE if failed else Outcome.SUCCESS,
            facts={
                "completed": completed,
                "failed": failed,
                "warning": warning,
                "cancelled": cancelled,
                "destination": self.destination,
            },
            durable=durable,
        )


@dataclass(frozen=True, slots=True)
class Retriever:
    """Grants retrieves; holds no state."""

    access: Access
    writer: IndexWriter
    index: Index
    transcoder: Transcoder

    def begin(self, principal: Principal, keys: RetrieveKeys, *, destination: str = "") -> Retrieval:
        """Select the instances that policy shows, and put the transfer on record before any of it is read.

        Args:
            principal: who asks.
            keys: what they ask for.
            destination: AE title of an enrolled device for a move; empty when the objects go to the principal.

        Raises:
            AccessDenied: policy said no.
            AuditUnavailable: it cannot be put on record.
            OutOfResources: more instances than one retrieve may have.
        """
        permission = Permission.INSTANCE_MOVE if destination else Permission.INSTANCE_RETRIEVE
        self.access.permit(principal, permission)
        selector = Selector(
            level=keys.level,
            patient_id=keys.patient_id.reveal(),
            study_uids=keys.study_uids,
            series_uids=keys.series_uids,
            sop_instance_uids=keys.sop_instance_uids,
        )
        self.writer.barrier()
        records = selected(self.index.select(selector))
        studies = list(dict.fromkeys(record.identity.study_uid for record in records))
        facts = self.index.facts(studies, subject_of(principal))
        grant = self.access.permit_studies(principal, permission, facts)
        # What policy hides is as good as missing: neither sent nor counted, but on record.
        permitted = grant.studies or frozenset[UID]()
        held_back = sum(record.identity.study_uid not in permitted for record in records)
        if len(permitted) < len(studies):
            records = selected(record for record in records if record.identity.study_uid in permitted)
            studies = [study for study in studies if study in permitted]
        code = EventCode.MOVE_STARTED if destination else EventCode.RETRIEVE_STARTED
        for start in range(0, max(len(studies), 1), _STUDIES_PER_EVENT):
            self.access.record(
                grant,
                code,
                objects={"study": studies[start : start + _STUDIES_PER_EVENT]},
                facts={
                    "level": keys.level.value,
                    "instances": len(records),
                    "destination": destination or principal.ae_title,
                    "purpose": principal.circumstances.purpose,
                    **({"held_back": held_back} if held_back else {}),
                },
            )
        return Retrieval(
            access=self.access,
            grant=grant,
            records=records,
            destination=destination or principal.ae_title,
            transcoder=self.transcoder,
        )
