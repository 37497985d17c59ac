"""What an entry says: the leaf in clear for every auditor, the payload for those who hold the key.

A leaf is JSON with sorted ASCII keys, no white space and no floats (a subset of RFC 8785), so that an auditor reads
it, and hashes it, without our software::

    actor {address, ae, certificate, principal}   who; where they are known also break_glass, purpose, session,
                        through, workstation, zone
    at                  when it happened; RFC 3339, UTC, microseconds
    correlation         joins the entries of one association or command
    event, outcome      ``EventCode``, ``Outcome``
    event_id            hex, or "" (see ``AuditEvent``)
    facts               counts, statuses, reasons in our own words
    objects             kind -> sorted hex tokens (keyed, so without the key they say only "the same again")
    objects_omitted     kind -> number of tokens that only the payload has; only where there are too many
    payload_commitment  hex HMAC-SHA-256(r, payload), or "" where there is no payload
    rules               ids of the policies that decided
    seq                 sequence number, without gaps
    taken               when the log took it: never goes back unless the clock was set back
    v                   1

The last three stand last by the order of the alphabet, so all else is encoded before the log is locked.

The payload is the JSON ``{"detail":..., "objects":...}``, sealed together with 32 random octets r in front. r blinds the
commitment: a value guessed from the leaf alone cannot be confirmed, and once the payload's key is destroyed nobody
can tell what it was, while the leaf still verifies.

**Invariant:** no name, no UID, no query reaches a leaf.
"""

import hmac
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import msgspec

from leadglass.base.errors import AuditUnavailable, IntegrityError
from leadglass.base.limits import (
    AUDIT_LEAF_BYTES_MAX,
    AUDIT_PAYLOAD_BYTES_MAX,
    AUDIT_TOKEN_CACHE_MAX,
    AUDIT_TOKENS_MAX,
)
from leadglass.base.secret import Phi
from leadglass.trust.audit.interfaces import Actor, AuditEvent, EventCode, Outcome, PayloadCipher

VERSION: Final = 1
BLIND_BYTES: Final = 32
"""r of a payload commitment: as long as the hash, so that it hides as well as the hash binds."""

_PAYLOAD_LABEL: Final = b"leadglass/v1/audit-payload"
_TAIL_ROOM: Final = 80
"""Octets of ``,"seq":<20 digits>,"taken":"<27>","v":1}``."""
_CUT_CHARACTERS: Final = 256
"""Where a leaf would be too long, its strings are cut to this; the payload keeps what is sealed."""


def timestamp(at: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC with microseconds.

    Raises:
        AuditUnavailable: it has no zone, so nobody could say when that was.
    """
    return _time_text(at).decode()


def _time_text(at: datetime) -> bytes:
    """As ``timestamp``, in octets. The encoder takes an eighth of the time of ``isoformat``."""
    if at.tzinfo is not UTC:
        if at.tzinfo is None:
            raise AuditUnavailable("audit: a time without zone cannot be recorded")
        at = at.astimezone(UTC)
    text = _time_encoder.encode(at)[1:-1]
    # The encoder leaves out a fraction that is zero; all times of a log have one length.
    return text if len(text) == _TIME_OCTETS else text[:-1] + b".000000Z"


def payload_context(sequence: int, origin: str) -> bytes:
    """Return what a sealed payload is bound to: its place in this log, so that payloads cannot be exchanged."""
    return _PAYLOAD_LABEL + sequence.to_bytes(8, "big") + origin.encode()


def commitment(blinded: bytes) -> str:
    """Return the hex commitment to ``r ‖ payload``."""
    return hmac.digest(blinded[:BLIND_BYTES], blinded[BLIND_BYTES:], "sha256").hex()


def _plain(value: object) -> object:
    """Give the encoder what it does not know: ``Phi`` may be revealed here, as this goes into the sealed payload."""
    if isinstance(value, Phi):
        return cast("Phi[object]", value).reveal()
    raise AuditUnavailable(f"audit: a {type(value).__name__} cannot be recorded")


_TIME_OCTETS: Final = 27

_time_encoder: Final = msgspec.json.Encoder()
# "deterministic" sorts the keys of mappings; the fields of a Struct stand in the order of their declaration.
_leaf_encoder: Final = msgspec.json.Encoder(order="deterministic")
_payload_encoder: Final = msgspec.json.Encoder(order="deterministic", enc_hook=_plain)


class _Who(msgspec.Struct, gc=False, omit_defaults=True, kw_only=True):
    """``actor`` of a leaf; fields in the order of the alphabet, as in all three of these.

    What has a default is left out where it is empty; the four that every leaf had from the first always stand.
    """

    address: str
    ae: str
    break_glass: str = ""
    certificate: str
    principal: str
    purpose: str = ""
    session: str = ""
    through: str = ""
    workstation: str = ""
    zone: str = ""


def _who(actor: Actor) -> _Who:
    return _Who(
        address=actor.address,
        ae=actor.ae_title,
        break_glass=actor.break_glass,
        certificate=actor.certificate_sha256,
        principal=actor.principal_id,
        purpose=actor.purpose,
        session=actor.session_id,
        through=actor.through,
        workstation=actor.workstation,
        zone=actor.zone,
    )


class _Head(msgspec.Struct, gc=False):
    """A leaf up to ``seq``."""

    actor: _Who
    at: datetime | str
    correlation: str
    event: EventCode
    event_id: str
    facts: Mapping[str, str | int | bool]
    objects: dict[str, list[str]]
    objects_omitted: dict[str, int] | msgspec.UnsetType
    outcome: Outcome
    payload_commitment: str
    rules: Sequence[str]


class _Payload(msgspec.Struct, gc=False):
    """What is sealed."""

    detail: Mapping[str, object]
    objects: dict[str, Collection[str]]


def clean(value: Any) -> Any:  # noqa: ANN401 - any JSON value, as the callers' details are
    """Return a value with lone surrogates (names of files that are not UTF-8) as backslash escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        items = cast("Iterable[tuple[object, object]]", value.items())
        return {clean(k): clean(v) for k, v in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(v) for v in cast("Collection[Any]", value)]
    if isinstance(value, Phi):
        return clean(cast("Phi[object]", value).reveal())
    return value


def _cut(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return value if len(value) <= _CUT_CHARACTERS else value[:_CUT_CHARACTERS] + "…"
    if isinstance(value, dict):
        items = cast("Iterable[tuple[object, object]]", value.items())
        return {_cut(k): _cut(v) for k, v in items}
    if isinstance(value, list | tuple):
        return [_cut(v) for v in cast("Collection[Any]", value)]
    return value


class Draft(NamedTuple):
    """An entry all but its place: ``leaf_head`` ends before ``seq``; ``blinded`` is r ‖ payload, or b""."""

    leaf_head: bytes
    blinded: bytes

    def leaf(self, sequence: int, taken: datetime) -> bytes:
        """Return the leaf at a place."""
        return b'%s,"seq":%d,"taken":"%s","v":1}' % (self.leaf_head, sequence, _time_text(taken))


class LeafWriter:
    """Turns events into drafts. Thread-safe."""

    def __init__(self, cipher: PayloadCipher) -> None:
        def token(kind: str, value: str) -> str:
            return cipher.token(kind, value).hex()

        self.token: Callable[[str, str], str] = lru_cache(maxsize=AUDIT_TOKEN_CACHE_MAX)(token)

    def draft(self, event: AuditEvent) -> Draft:
        """Encode an event.

        Raises:
            AuditUnavailable: it cannot be encoded, or is larger than an entry can be.
        """
        try:
            return self._draft(event, event.objects, event.detail)
        except (UnicodeEncodeError, TypeError, ValueError):
            pass
        try:
            return self._draft(clean_event(event), clean(event.objects), clean(event.detail))
        except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
            # The type only: the text of the error could quote a value.
            raise AuditUnavailable(f"audit: the event cannot be encoded ({type(error).__name__})") from None

    def _draft(
        self, event: AuditEvent, objects: Mapping[str, Collection[str]], detail: Mapping[str, object]
    ) -> Draft:
        blinded = b""
        committed = ""
        if objects or detail:
            payload = _payload_encoder.encode(
                _Payload(
                    detail,
                    # A tuple is written as a list is; of other collections the encoder does not know every kind.
                    {k: v if type(v) is tuple else list(v) for k, v in objects.items()},
                )
            )
            if len(payload) > AUDIT_PAYLOAD_BYTES_MAX:
                raise AuditUnavailable("audit: the payload of the event is too long")
            blinded = os.urandom(BLIND_BYTES) + payload
            committed = commitment(blinded)
        at = event.at
        tokens, omitted = self._tokens(objects)
        head = _Head(
            _who(event.actor),
            at if at.tzinfo is UTC and at.microsecond else timestamp(at),
            event.correlation_id,
            event.code,
            event.event_id.hex(),
            event.facts,
            tokens,
            omitted,
            event.outcome,
            committed,
            event.rules,
        )
        encoded = _leaf_encoder.encode(head)
        if len(encoded) > AUDIT_LEAF_BYTES_MAX - _TAIL_ROOM:
            encoded = _leaf_encoder.encode(_cut_head(head))
            if len(encoded) > AUDIT_LEAF_BYTES_MAX - _TAIL_ROOM:
                raise AuditUnavailable("audit: the event is too long for one entry")
        return Draft(encoded[:-1], blinded)

    def _tokens(
        self, objects: Mapping[str, Collection[str]]
    ) -> tuple[dict[str, list[str]], dict[str, int] | msgspec.UnsetType]:
        """Return tokens for the leaf, up to the limit, and how many of each kind were left out."""
        token = self.token
        tokens: dict[str, list[str]] = {}
        room = AUDIT_TOKENS_MAX
        for kind, values in objects.items():
            room -= len(values)
            if room < 0:
                return self._some_tokens(objects)
            found = [token(kind, value) for value in values]
            if len(found) > 1:
                found.sort()
            tokens[kind] = found
        return tokens, msgspec.UNSET

    def _some_tokens(
        self, objects: Mapping[str, Collection[str]]
    ) -> tuple[dict[str, list[str]], dict[str, int]]:
        token = self.token
        shown: dict[str, list[str]] = {}
        omitted: dict[str, int] = {}
        room = AUDIT_TOKENS_MAX
        for kind, values in objects.items():
            some = values if len(values) <= room else list(values)[:room]
            shown[kind] = sorted([token(kind, value) for value in some])
            room -= len(some)
            if len(some) < len(values):
                omitted[kind] = len(values) - len(some)
        return shown, omitted


def _cut_head(head: _Head) -> _Head:
    """Return what a leaf says with its long strings cut; tokens stay whole."""
    return msgspec.structs.replace(
        head,
        actor=_Who(**{name: _cut(value) for name, value in msgspec.structs.asdict(head.actor).items()}),
        correlation=_cut(head.correlation),
        facts=_cut(dict(head.facts)),
        rules=_cut(list(head.rules)),
    )


def clean_event(event: AuditEvent) -> AuditEvent:
    """Return the event with the strings of its leaf free of lone surrogates."""
    return AuditEvent(
        code=event.code,
        at=event.at,
        actor=Actor(**clean(asdict(event.actor))),
        outcome=event.outcome,
        facts=clean(event.facts),
        correlation_id=clean(event.correlation_id),
        rules=tuple(clean(list(event.rules))),
        event_id=event.event_id,
    )


def decode_leaf(leaf: bytes) -> dict[str, Any]:
    """Return a leaf as a mapping.

    Raises:
        IntegrityError: it is not a leaf of a version that is known here.
    """
    try:
        value = msgspec.json.decode(leaf, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise IntegrityError("audit log: an entry is not the JSON that was written") from None
    if value.get("v") != VERSION:
        raise IntegrityError("audit log: an entry of an unknown version")
    return value


def open_payload(
    cipher: PayloadCipher, sealed: bytes, sequence: int, origin: str, committed: str
) -> dict[str, Any]:
    """Unseal a payload and compare it with what its leaf promised.

    Raises:
        IntegrityError: other octets, another place, or not what the leaf committed to.
        KeyUnavailable: the key was destroyed.
    """
    blinded = cipher.open_payload(sealed, payload_context(sequence, origin))
    if len(blinded) < BLIND_BYTES or not hmac.compare_digest(commitment(blinded), committed):
        raise IntegrityError(f"audit log: the payload of entry {sequence} is not what its leaf committed to")
    try:
        return msgspec.json.decode(blinded[BLIND_BYTES:], type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise IntegrityError(f"audit log: the payload of entry {sequence} is not JSON") from None
