"""The policies in force: applied as a whole, kept for ever, and no file on the disk counts before it was applied.

::

    applied.policy          authenticated: the chain of everything that was ever applied, and what is proposed
    bundles/<sha256>.json   each bundle, under the hash that the chain names

The folder in which people write their files is another one: nothing is read from it but when somebody applies it.

**Invariant:** what is in force is what the newest entry of the chain names, and the chain is authenticated. A file that
was changed beside it is never used: at the start it stops the node; later what is in force stays in force.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Final

import msgspec

from leadglass.base.clock import Clock
from leadglass.base.errors import (
    ConfigurationError,
    IntegrityError,
    LeadglassError,
    OutOfResources,
    UsageError,
)
from leadglass.base.limits import POLICY_LOOK_SECONDS, POLICY_VERSIONS_MAX
from leadglass.trust.identity.authenticated_file import AuthenticatedFile, Stamp
from leadglass.trust.identity.interfaces import FileAuthenticator
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.bundle import NOTHING_ADDED, SiteBundle
from leadglass.trust.policy.cedar import CedarPolicy
from leadglass.trust.policy.difference import Difference, difference
from leadglass.trust.policy.interfaces import Decision, Permission, PolicyEvents, Resource
from leadglass.trust.policy.roles import RoleCatalogue
from leadglass.trust.policy.rules import Rule

POLICY_VERSION_FACT: Final = "policy_version"
"""Name of the fact under which the audit log notes how many bundles were applied."""

_CHANGED: Final = "policy:bundle:changed"
_ALERT: Final = "site:security:alert"
_REASON_MAX: Final = 1000
_FIRST: Final = "0" * 64
_GONE: Final[Stamp] = (0, 0, 0)
_SYSTEM: Final = Principal("service:leadglass", ("service",))


class Applied(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the chain.

    Attributes:
        number: 1, 2, 3, ...
        bundle: hash of the site's files and roles.
        policies: ``bundle_hash`` of what was in force with it, this release's own included.
        at: aware UTC.
        by: principal id of who applied it, or proposed it.
        approved_by: of who approved it; empty where one person was enough.
        reason: in their words.
        previous: hash of the entry before; zeros for the first.
    """

    number: int
    bundle: str
    policies: str
    at: datetime
    by: str
    approved_by: str
    reason: str
    previous: str

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the entry."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


class Proposal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle that waits for somebody else's yes. ``after`` is the entry it was compared with."""

    bundle: str
    at: datetime
    by: str
    reason: str
    after: int


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    chain: tuple[Applied, ...] = ()
    proposal: Proposal | None = None


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    files: dict[str, str]
    roles: str


@dataclass(frozen=True, slots=True)
class _InForce:
    document: _Document
    policy: CedarPolicy
    stamp: Stamp | None


class SitePolicy:
    """Implements ``policy.interfaces.Policy``, and changes what is in force. Thread-safe.

    Args:
        folder: of the chain and the bundles; made when it is missing.
        authenticator: of policy files alone.
        clock: of the site.
        events: told of every change, before it counts.
        time_zone: of the site.
        two_persons: a bundle is proposed by one and approved by another.
        minimum_version: the highest ``POLICY_VERSION_FACT`` on record; an older chain was put back.

    Raises:
        IntegrityError: the chain or the bundle in force is not what was written, or is older than what is on record.
        ConfigurationError: the bundle in force does not fit this release.
    """

    def __init__(
        self,
        folder: Path,
        authenticator: FileAuthenticator,
        clock: Clock,
        events: PolicyEvents,
        *,
        time_zone: tzinfo = UTC,
        two_persons: bool = False,
        minimum_version: int = 0,
    ) -> None:
        self._bundles = folder / "bundles"
        self._file = AuthenticatedFile(folder / "applied.policy", "policy", authenticator)
        self._clock = clock
        self._events = events
        self._time_zone = time_zone
        self._two_persons = two_persons
        self._minimum_version = minimum_version
        self._lock = threading.Lock()
        self._complained: Stamp | None = None
        self._looked_at = -POLICY_LOOK_SECONDS
        self._listeners: list[Callable[[], None]] = []
        try:
            self._bundles.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError("the folder of the policies cannot be made") from error
        self._in_force = self._load()

    # --- deciding --------------------------------------------------------------------------------------------------

    @property
    def bundle_hash(self) -> str:
        """Hex SHA-256 of the policies in force."""
        return self.current.bundle_hash

    def decide(self, principal: Principal, permission: Permission, resource: Resource) -> Decision:
        """Decide by what is in force now. See ``Policy.decide``."""
        return self.current.decide(principal, permission, resource)

    def standpoint(self, principal: Principal, permission: Permission) -> Hashable | None:
        """Return all that a decision looks at beside the resource. See ``Policy.standpoint``."""
        return self.current.standpoint(principal, permission)

    @property
    def current(self) -> CedarPolicy:
        """What is in force: read anew within ``POLICY_LOOK_SECONDS`` when another process applied something."""
        held = self._in_force
        moment = self._clock.monotonic()
        if moment < self._looked_at + POLICY_LOOK_SECONDS:
            return held.policy
        self._looked_at = moment
        stamp = self._stamp()
        if stamp != held.stamp:
            self._reload(stamp)
            held = self._in_force
        return held.policy

    @property
    def catalogue(self) -> RoleCatalogue:
        """Which roles there are."""
        return self.current.roles

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The rules in force, by id."""
        return self.current.rules

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after other policies came into force; it must not raise or wait."""
        self._listeners.append(listener)

    # --- looking ---------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """How many bundles were applied."""
        return len(self._in_force.document.chain)

    def history(self) -> tuple[Applied, ...]:
        """Return all that was ever applied, oldest first."""
        _ = self.current
        return self._in_force.document.chain

    def proposal(self) -> Proposal | None:
        """Return what waits for approval."""
        _ = self.current
        return self._in_force.document.proposal

    def bundle(self, digest: str) -> SiteBundle:
        """Return a bundle that was applied or proposed, by its hash.

        Raises:
            UsageError: there is none of that hash.
            IntegrityError: it is not what was written.
        """
        if digest == NOTHING_ADDED.digest:
            return NOTHING_ADDED
        document = self._in_force.document
        known = {entry.bundle for entry in document.chain}
        if document.proposal is not None:
            known.add(document.proposal.bundle)
        if digest not in known:
            raise UsageError("no bundle of that hash was applied or proposed here")
        return self._kept(digest)

    def compare(self, old: SiteBundle, new: SiteBundle) -> Difference:
        """Return what changes from one bundle to another, with a dry run.

        Raises:
            ConfigurationError: one of them is not sound.
        """
        before = old.policy(self._clock, self._time_zone)
        after = new.policy(self._clock, self._time_zone)
        return difference(before, after, self._clock.now())

    def compare_with_current(self, new: SiteBundle) -> Difference:
        """Return what would change if a bundle were applied. As ``compare``."""
        after = new.policy(self._clock, self._time_zone)
        return difference(self.current, after, self._clock.now())

    # --- changing --------------------------------------------------------------------------------------------------

    def apply(self, bundle: SiteBundle, by: Principal, reason: str) -> Applied:
        """Put a bundle in force. An older one is brought back in the same way.

        Raises:
            UsageError: two people are needed here, or no reason was given.
            ConfigurationError: it is not sound; what is in force stays.
            AuditUnavailable: it could not be recorded; what is in force stays.
        """
        if self._two_persons:
            raise UsageError(
                "two people are needed to change the policies", hint="propose it, then approve it"
            )
        _check_reason(reason)
        with self._changing() as held:
            return self._put_in_force(held, bundle, by=by, proposed_by="", reason=reason)

    def propose(self, bundle: SiteBundle, by: Principal, reason: str) -> Proposal:
        """Lay a bundle before somebody else; it takes the place of what was proposed before.

        Raises:
            UsageError: no reason was given.
            ConfigurationError: it is not sound.
            AuditUnavailable: it could not be recorded.
        """
        _check_reason(reason)
        with self._changing() as held:
            bundle.policy(self._clock, self._time_zone)
            proposal = Proposal(
                bundle.digest, self._clock.now(), by.principal_id, reason, len(held.document.chain)
            )
            self._keep(bundle)
            self._record(held, by, {"step": "proposed", "bundle": bundle.digest}, reason)
            self._write(_Document(held.document.chain, proposal), held.policy)
        return proposal

    def approve(self, digest: str, by: Principal) -> Applied:
        """Put what was proposed in force.

        Args:
            digest: of the bundle that was looked at: what was proposed in the meantime is not approved by mistake.
            by: somebody else than who proposed it.

        Raises:
            UsageError: nothing like that is proposed, it was proposed by the same person, or something else was
                applied since.
            ConfigurationError: as ``apply``.
            AuditUnavailable: as ``apply``.
        """
        with self._changing() as held:
            proposal = held.document.proposal
            if proposal is None or proposal.bundle != digest:
                raise UsageError("no bundle of that hash waits for approval")
            if proposal.by == by.principal_id:
                self._record(held, by, {"step": "refused", "bundle": digest}, "own proposal", success=False)
                raise UsageError("whoever proposed it cannot approve it")
            if proposal.after != len(held.document.chain):
                raise UsageError("other policies came into force since it was proposed; propose it again")
            return self._put_in_force(
                held, self._kept(digest), by=by, proposed_by=proposal.by, reason=proposal.reason
            )

    def withdraw(self, by: Principal) -> None:
        """Take back what is proposed.

        Raises:
            UsageError: nothing is proposed.
            AuditUnavailable: it could not be recorded.
        """
        with self._changing() as held:
            proposal = held.document.proposal
            if proposal is None:
                raise UsageError("nothing is proposed")
            self._record(held, by, {"step": "withdrawn", "bundle": proposal.bundle}, "withdrawn")
            self._write(_Document(held.document.chain, None), held.policy)

    def _put_in_force(
        self, held: _InForce, bundle: SiteBundle, *, by: Principal, proposed_by: str, reason: str
    ) -> Applied:
        policy = bundle.policy(self._clock, self._time_zone)
        chain = held.document.chain
        if len(chain) >= POLICY_VERSIONS_MAX:
            raise OutOfResources(f"a site keeps {POLICY_VERSIONS_MAX} sets of policies")
        entry = Applied(
            number=len(chain) + 1,
            bundle=bundle.digest,
            policies=policy.bundle_hash,
            at=self._clock.now(),
            by=proposed_by or by.principal_id,
            approved_by=by.principal_id if proposed_by else "",
            reason=reason,
            previous=chain[-1].digest if chain else _FIRST,
        )
        changes = difference(held.policy, policy)
        self._keep(bundle)
        self._record(
            held,
            by,
            {
                "step": "applied",
                "bundle": bundle.digest,
                "policies": policy.bundle_hash,
                "before": held.policy.bundle_hash,
                "proposed_by": proposed_by,
                "rules_added": len(changes.added),
                "rules_removed": len(changes.removed),
                "rules_changed": len(changes.changed),
            },
            reason,
        )
        self._write(_Document((*chain, entry), None), policy)
        return entry

    def _record(
        self,
        held: _InForce,
        by: Principal,
        facts: dict[str, str | int | bool],
        reason: str,
        *,
        success: bool = True,
    ) -> None:
        # The version before the change: should the disk refuse the new chain, the old one is still good.
        facts[POLICY_VERSION_FACT] = len(held.document.chain)
        self._events.record(_CHANGED, by, success=success, facts=facts, detail={"reason": reason})

    # --- files -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Generator[_InForce]:
        """Be the only one who changes what is in force, among threads and processes, from its newest state on."""
        with self._file.locked():
            if self._stamp() != self._in_force.stamp:
                self._in_force = self._following(self._in_force)
            yield self._in_force
        self._tell()

    def _stamp(self) -> Stamp | None:
        try:
            return self._file.stamp()
        except IntegrityError:
            return None

    def _following(self, held: _InForce) -> _InForce:
        """Return what is on the disk, which must go on from what is in force.

        Raises:
            IntegrityError: it does not.
        """
        fresh = self._load()
        if fresh.document.chain[: len(held.document.chain)] != held.document.chain:
            raise IntegrityError("the chain of applied policies does not go on from what is in force")
        return fresh

    def _load(self) -> _InForce:
        if self._stamp() is None:
            if self._minimum_version:
                raise IntegrityError("the policies that this site applied are missing", hint="restore them")
            return _InForce(_Document(), NOTHING_ADDED.policy(self._clock, self._time_zone), None)
        content, stamp = self._file.read()
        document = _decoded(content)
        if len(document.chain) < self._minimum_version:
            raise IntegrityError(
                "the policies are older than what the audit log has on record: they were rolled back",
                hint="restore the newest copy",
            )
        bundle = self._kept(document.chain[-1].bundle) if document.chain else NOTHING_ADDED
        return _InForce(document, bundle.policy(self._clock, self._time_zone), stamp)

    def _reload(self, stamp: Stamp | None) -> None:
        with self._lock:
            held = self._in_force
            if held.stamp == stamp:
                return
            try:
                self._in_force = self._following(held)
            except LeadglassError as error:
                # What is in force was authenticated: it stays. Whoever changed the file gained nothing.
                self._complain(stamp or _GONE, error)
                return
        self._tell()

    def _complain(self, stamp: Stamp, error: LeadglassError) -> None:
        """Raise an alert, once for each file that was found."""
        if self._complained == stamp:
            return
        self._complained = stamp
        facts: dict[str, str | int | bool] = {"what": "policies", "reason": str(error), "code": error.code}
        try:
            self._events.record(_ALERT, _SYSTEM, success=False, facts=facts)
        except LeadglassError:
            return  # decisions go on by what is in force

    def _write(self, document: _Document, policy: CedarPolicy) -> None:
        """Replace the chain; only inside ``_changing``."""
        self._file.replace(msgspec.json.encode(document, order="deterministic"))
        self._in_force = _InForce(document, policy, self._file.stamp())

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def _keep(self, bundle: SiteBundle) -> None:
        path = self._bundles / f"{bundle.digest}.json"
        content = msgspec.json.encode(_Kept(dict(bundle.files), bundle.roles), order="deterministic")
        fresh = path.with_suffix(".new")
        try:
            with fresh.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            descriptor = os.open(self._bundles, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise OutOfResources(f"the policies cannot be written: {error.strerror}") from error

    def _kept(self, digest: str) -> SiteBundle:
        if digest == NOTHING_ADDED.digest:
            return NOTHING_ADDED
        try:
            content = (self._bundles / f"{digest}.json").read_bytes()
            kept = msgspec.json.decode(content, type=_Kept)
        except (OSError, msgspec.DecodeError) as error:
            raise IntegrityError("a bundle of policies cannot be read back") from error
        bundle = SiteBundle(kept.files, kept.roles)
        if bundle.digest != digest:
            raise IntegrityError("a bundle of policies is not what was applied: its hash does not fit")
        return bundle


def _decoded(content: bytes) -> _Document:
    """Return the document with its chain checked link by link."""
    try:
        document = msgspec.json.decode(content, type=_Document)
    except msgspec.DecodeError as error:
        raise IntegrityError("the chain of applied policies is not what was written") from error
    previous = _FIRST
    for number, entry in enumerate(document.chain, 1):
        if entry.number != number or entry.previous != previous:
            raise IntegrityError("the chain of applied policies is broken")
        previous = entry.digest
    return document


def _check_reason(reason: str) -> None:
    if not 0 < len(reason.strip()) <= _REASON_MAX:
        raise UsageError(f"say why, in 1 to {_REASON_MAX} characters")
