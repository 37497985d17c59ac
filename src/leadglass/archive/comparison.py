"""A newcomer held against the object of the same UID, as it streams in.

The same again is not an error: the sender did not hear our answer, or the object came by another way. The same is the
same octets; or, for objects of up to ``DUPLICATE_COMPARED_BYTES_MAX``, the same attributes in another encoding, since
software on the way may have written it anew.
"""

import hashlib
from enum import Enum

from leadglass.base.limits import DUPLICATE_COMPARED_BYTES_MAX
from leadglass.base.objects import ObjectIdentity
from leadglass.dicom.equivalence import same_content
from leadglass.store.index.interfaces import InstanceRecord, QuarantineEntry
from leadglass.store.vault.interfaces import SealedObject

Buffer = bytes | bytearray | memoryview


class Likeness(Enum):
    """How a newcomer relates to what is held under its UID."""

    SAME_OCTETS = "same octets"
    SAME_CONTENT = "same content in another encoding"
    OTHER = "other content"


class Comparison:
    """One newcomer, one held object. Memory is bounded; ``close`` releases the held one."""

    def __init__(self, held: SealedObject, record: InstanceRecord, identity: ObjectIdentity) -> None:
        self._held = held
        self._record = record
        self._identity = identity
        self._octets = 0
        self._same_octets = record.identity.transfer_syntax_uid == identity.transfer_syntax_uid
        self._newcomer = bytearray()  # while it is small enough to be compared attribute by attribute
        self._digest = (
            hashlib.sha256()
        )  # only of newcomers whose UID is taken: they may be kept apart already

    def feed(self, data: Buffer) -> None:
        """Take more of the newcomer's data set."""
        if self._same_octets:
            end = self._octets + len(data)
            self._same_octets = end <= self._record.dataset_length and (
                self._held.read(self._record.dataset_offset + self._octets, len(data)) == data
            )
        self._octets += len(data)
        self._digest.update(data)
        if self._octets <= DUPLICATE_COMPARED_BYTES_MAX:
            self._newcomer += data
        else:
            self._newcomer.clear()

    def likeness(self) -> Likeness:
        """Say whether the newcomer is what is held."""
        if self._same_octets and self._octets == self._record.dataset_length and self._same_place():
            return Likeness.SAME_OCTETS
        return Likeness.SAME_CONTENT if self._same_place() and self._same_content() else Likeness.OTHER

    def _same_place(self) -> bool:
        held, new = self._record.identity, self._identity
        return (held.study_uid, held.series_uid, held.sop_class_uid) == (
            new.study_uid,
            new.series_uid,
            new.sop_class_uid,
        )

    def _same_content(self) -> bool:
        if max(self._octets, self._record.dataset_length) > DUPLICATE_COMPARED_BYTES_MAX:
            return False
        return same_content(
            bytes(self._newcomer),
            self._identity.transfer_syntax_uid,
            self._held.read(self._record.dataset_offset, self._record.dataset_length),
            self._record.identity.transfer_syntax_uid,
        )

    def is_copy_of(self, entry: QuarantineEntry, sealed: SealedObject) -> bool:
        """Tell whether the newcomer is what is kept apart in that entry, octet by octet."""
        if (entry.record.identity, entry.record.dataset_length) != (self._identity, self._octets):
            return False
        kept = hashlib.sha256()
        for piece in sealed.stream(entry.record.dataset_offset):
            kept.update(piece)
        return kept.digest() == self._digest.digest()

    def close(self) -> None:
        """Release the held object."""
        self._held.close()
