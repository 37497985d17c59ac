"""Puts the rooms together. The only place that knows which class stands behind which interface.

Order matters: keys before everything, the audit log before anything that could be worth an event, recovery before the
first door opens.
"""

import os
import socket
from base64 import b64decode
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from leadglass import __version__
from leadglass.app.clock import SystemClock
from leadglass.app.config import Settings, load_settings
from leadglass.app.config.settings import render_settings
from leadglass.app.federation import federation_settings
from leadglass.app.identity import Identity, IdentityKeys, IdentityOptions, open_identity
from leadglass.app.site import SiteLock, SitePaths
from leadglass.archive.access import Access, EmergencyStudies, PolicyRecorder
from leadglass.archive.administration.emergencies import Emergencies
from leadglass.archive.administration.people import People
from leadglass.archive.administration.policies import Directories, Policies
from leadglass.archive.administration.reviews import AccountGrants, Reviews
from leadglass.archive.administration.services import SCOPES, ServiceClients
from leadglass.archive.commitment import Commitment
from leadglass.archive.deletion import Deletions
from leadglass.archive.disclosure import Disclosures
from leadglass.archive.ingest import Ingest
from leadglass.archive.query import Finder
from leadglass.archive.reading import Reader
from leadglass.archive.recovery import Recovery, RecoveryReport
from leadglass.archive.relations import RelationKeeper
from leadglass.archive.rendering import Renderer
from leadglass.archive.retrieve import Retriever
from leadglass.archive.transcoding import ProcessTranscoder
from leadglass.archive.verification import Verification
from leadglass.archive.worklist import Worklist
from leadglass.base.clock import Clock
from leadglass.base.errors import ConfigurationError, UsageError
from leadglass.base.ids import UID
from leadglass.base.secret import Secret
from leadglass.dicom.sop_classes import ACCEPTED_STORAGE_CLASSES
from leadglass.dicom.syntaxes import TRANSFER_SYNTAXES, private_transfer_syntax
from leadglass.store.index.database import Database
from leadglass.store.index.postgresql import PostgreSQLDatabase
from leadglass.store.index.service import SQLIndex
from leadglass.store.index.site_rows import SiteRows
from leadglass.store.index.sqlite import SQLiteDatabase
from leadglass.store.index.writer import IndexWriter
from leadglass.store.jobs.service import SQLJobQueue
from leadglass.store.vault.service import FileVault
from leadglass.store.worklist.service import SQLWorkitemStore
from leadglass.trust.audit.interfaces import Actor, AuditEvent, AuditLog, EventCode, NoteVerifier
from leadglass.trust.audit.reader import LogReader
from leadglass.trust.audit.service import FileAuditLog
from leadglass.trust.audit.signed_note import verifier_key
from leadglass.trust.certs.authority import CertificateAuthority
from leadglass.trust.certs.node_key import NodeCredentials
from leadglass.trust.certs.passcode import Argon2Passcodes
from leadglass.trust.certs.renewal import make_node_certificate, open_node_certificate
from leadglass.trust.certs.token import JWTVerifier
from leadglass.trust.identity.database import IDENTITY_VERSION_FACT
from leadglass.trust.identity.federation.service import Federation, open_federation
from leadglass.trust.identity.jose import JoseRefused, KeySet
from leadglass.trust.identity.models import AccountKind, CertificateFacts, Principal
from leadglass.trust.identity.passwords import NIST, BreachedPasswords, legacy
from leadglass.trust.identity.posture import NoPostures, Postures, SignedPostures
from leadglass.trust.identity.registry import VERSION_FACT, DeviceRegistry
from leadglass.trust.identity.sessions import SessionRules
from leadglass.trust.identity.sign_in import ADMINISTRATOR_ROLES, SignInPolicy
from leadglass.trust.identity.user_identity import UserIdentityService
from leadglass.trust.keys.interfaces import KeyEncryptionProvider
from leadglass.trust.keys.providers.key_file import KeyFileProvider
from leadglass.trust.keys.providers.passphrase import PassphraseProvider
from leadglass.trust.keys.providers.systemd_credential import SystemdCredentialProvider
from leadglass.trust.keys.ring import SiteKeys, create_site_keys, open_site_keys
from leadglass.trust.keys.signer import note_verifier
from leadglass.trust.policy.access_review import AccessReview, ReviewOptions
from leadglass.trust.policy.break_glass import BreakGlass, BreakGlassOptions
from leadglass.trust.policy.bundle_store import POLICY_VERSION_FACT, SitePolicy
from leadglass.trust.policy.duties import Duties

SERVICE: Final = Principal(principal_id="service:leadglass", roles=("service",))
"""The node itself: start, recovery, delivery of commitment reports."""

VENDOR_SUPPORT: Final = "vendor-support"
"""Whoever has this role is watched: see ``IdentityOptions.watched``."""

AUDIT_VERIFIER_FILE: Final = "audit.vkey"
"""The public key of the audit log (C2SP signed-note verifier key): all that offline verification needs."""


_asking_uid: ContextVar[int | None] = ContextVar("asking_uid", default=None)


def operator() -> Principal:
    """Return whoever runs a command on this machine: on the control socket, whom the kernel names."""
    asking = _asking_uid.get()
    uid = os.geteuid() if asking is None else asking
    return Principal(principal_id=f"operator:{uid}", roles=("operator",), address="local")


@contextmanager
def asked_by(uid: int) -> Generator[None, None, None]:
    """Carry out what stands inside on behalf of that user of this machine."""
    token = _asking_uid.set(uid)
    try:
        yield
    finally:
        _asking_uid.reset(token)


@dataclass(frozen=True, slots=True)
class Node:
    """An open site: every room, composed."""

    paths: SitePaths
    settings: Settings
    clock: Clock
    provider: KeyEncryptionProvider
    keys: SiteKeys
    authority: CertificateAuthority
    credentials: NodeCredentials
    registry: DeviceRegistry
    policy: SitePolicy
    identity: Identity
    federation: Federation
    user_identity: UserIdentityService
    passcodes: Argon2Passcodes
    audit: FileAuditLog
    vault: FileVault
    index: SQLIndex
    writer: IndexWriter
    access: Access
    ingest: Ingest
    finder: Finder
    retriever: Retriever
    commitment: Commitment
    verification: Verification
    recovery: Recovery
    reader: Reader
    renderer: Renderer
    deletions: Deletions
    relations: RelationKeeper
    worklist: Worklist
    people: People
    services: ServiceClients
    policies: Policies
    emergencies: Emergencies
    reviews: Reviews
    access_review: AccessReview
    transcoder: ProcessTranscoder
    lock: SiteLock
    recovered: RecoveryReport

    @property
    def storage_sop_classes(self) -> frozenset[str]:
        """What may be stored, by whatever door: the standard's and the site's private ones."""
        return frozenset((*ACCEPTED_STORAGE_CLASSES, *self.settings.dimse.private_sop_classes))

    @property
    def transfer_syntaxes(self) -> frozenset[str]:
        """What is stored as sent, by whatever door."""
        standard = (uid for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.storable)
        return frozenset((*standard, *self.settings.dimse.private_transfer_syntaxes))

    def close(self) -> None:
        """Write what waits, sign what is on record, and let go of the site."""
        self.writer.close()
        self.transcoder.close()
        self.identity.close()
        self.audit.close()
        self.index.close()
        self.keys.close()
        self.lock.release()


def init_site(
    paths: SitePaths, settings: Settings, passphrase: Secret | None, environment: Mapping[str, str]
) -> KeyEncryptionProvider:
    """Make a new site: keys, certificate authority, node certificate, empty registry, first audit entry.

    Raises:
        UsageError: there is a site already.
        ConfigurationError: a key file exists, or the key provider is not there.
    """
    clock = SystemClock()
    paths.make()
    provider = _create_provider(paths, settings, passphrase, environment)
    keys = create_site_keys(paths.ledger, provider, clock)
    authority = CertificateAuthority.create(paths.certs, provider, clock, settings.site.name)
    node_facts = make_node_certificate(paths.node_certificate, authority, settings.site.names, provider)
    DeviceRegistry.create(paths.devices, keys.authenticator("devices"), clock)
    audit = _open_audit(paths, keys, clock, must_exist=False)
    signer = keys.checkpoint_signer()
    vkey = verifier_key(audit_origin(keys), signer.algorithm, signer.public_key)
    (paths.certs / AUDIT_VERIFIER_FILE).write_text(vkey + "\n", encoding="ascii")
    actor = Actor(principal_id=operator().principal_id)
    audit.record(
        AuditEvent(
            code=EventCode.CONFIGURATION_CHANGED,
            at=clock.now(),
            actor=actor,
            facts={"what": "site made", "version": __version__, "key_provider": settings.keys.provider},
        )
    )
    for issued, what in ((authority.facts, "certificate authority"), (node_facts, "node")):
        audit.record(
            AuditEvent(
                code=EventCode.CERTIFICATE_ISSUED,
                at=clock.now(),
                actor=actor,
                facts={"certificate": issued.sha256, "for": what, "serial": issued.serial},
            )
        )
    audit.close()
    keys.close()
    # The settings last: a site without them is no site, and init can be run again after it was cleaned up.
    paths.settings.write_text(render_settings(settings), encoding="utf-8")
    paths.settings.chmod(0o600)
    return provider


def open_node(
    paths: SitePaths, passphrase: Secret | None, environment: Mapping[str, str], clock: Clock | None = None
) -> Node:
    """Open a site as its only owner, and bring index and audit log up to what the vault holds.

    Args:
        paths: of the site.
        passphrase: of the root key, where it has one.
        environment: of the process.
        clock: of the site; None: the machine's.

    Raises:
        SiteBusy: another process owns it.
        ConfigurationError: it is not set up, or the key provider is not there.
        KeyUnavailable: the root key does not open it.
        IntegrityError: something is not what was written.
    """
    settings = load_settings(paths.settings)
    clock = clock or SystemClock()
    lock = SiteLock(paths)
    lock.take()
    try:
        provider = open_provider(paths, settings, passphrase, environment)
        keys = open_site_keys(paths.ledger, provider, clock)
        audit = _open_audit(paths, keys, clock, must_exist=True)
    except BaseException:
        lock.release()
        raise

    def on_key_event(code: EventCode, facts: Mapping[str, str | int]) -> None:
        # Not durable by itself: a key without objects needs no record, and the first object's event follows it.
        actor = Actor(principal_id=SERVICE.principal_id)
        audit.record(AuditEvent(code=code, at=clock.now(), actor=actor, facts=facts), durable=False)

    keys.on_event(on_key_event)
    vault = FileVault(paths.vault, keys, clock)
    database = _open_database(paths, settings, keys)
    index = SQLIndex(database, keys, keys, SiteRows(keys.site_seal("index"), clock))
    # A registry, a policy or a database that is older than what the log knows was put back.
    record = LogReader(paths.audit, audit_origin(keys))
    registry = DeviceRegistry(
        paths.devices,
        keys.authenticator("devices"),
        clock,
        (settings.dimse.ae_title,),
        minimum_version=record.highest_fact(VERSION_FACT),
    )
    policy_events = PolicyRecorder(audit, clock)
    time_zone = ZoneInfo(settings.policy.time_zone)
    policy = SitePolicy(
        paths.policy,
        keys.authenticator("policy"),
        clock,
        policy_events,
        time_zone=time_zone,
        two_persons=settings.policy.two_person,
        minimum_version=record.highest_fact(POLICY_VERSION_FACT),
    )
    passcodes = Argon2Passcodes()
    federation = open_federation(federation_settings(paths.root, settings), clock)
    identity = open_identity(
        paths.identity,
        IdentityKeys(
            keys.database_key("identity"), keys.site_seal("identity"), keys.authenticator("identity")
        ),
        audit,
        registry,
        passcodes,
        clock,
        lambda opened: BreakGlass(
            opened, policy_events, EmergencyStudies(index), clock, _emergency_options(settings)
        ),
        minimum_version=record.highest_fact(IDENTITY_VERSION_FACT),
        options=_identity_options(paths, settings, federation, policy, clock),
    )
    access = Access(policy, audit, vault, clock, identity.standing)
    access_review = AccessReview(
        identity.database, policy_events, AccountGrants(identity.accounts), clock, _review_options(settings)
    )
    authority = CertificateAuthority.open(paths.certs, provider, clock)
    credentials, renewed = open_node_certificate(
        paths.node_certificate, authority, settings.site.names, provider, clock
    )
    if renewed is not None:
        record_renewal(audit, clock, renewed)
    private = {
        uid: private_transfer_syntax(UID(uid), "private") for uid in settings.dimse.private_transfer_syntaxes
    }
    recovery = Recovery(access, vault, index, private)
    recovered = recovery.replay(SERVICE)
    writer = IndexWriter(index)
    transcoder = ProcessTranscoder(settings.web.decoders)
    return Node(
        paths=paths,
        settings=settings,
        clock=clock,
        provider=provider,
        keys=keys,
        authority=authority,
        credentials=credentials,
        registry=registry,
        policy=policy,
        identity=identity,
        federation=federation,
        user_identity=UserIdentityService(
            identity.accounts, identity.passwords, passcodes, _token_verifier(paths, settings, clock), clock
        ),
        passcodes=passcodes,
        audit=audit,
        vault=vault,
        index=index,
        writer=writer,
        access=access,
        ingest=Ingest(access, vault, writer, index, private),
        finder=Finder(access, writer, index),
        retriever=Retriever(access, writer, index, transcoder),
        commitment=Commitment(access, writer, index, SQLJobQueue(database, clock), keys.audit_cipher),
        verification=Verification(access, vault, writer, index),
        recovery=recovery,
        reader=Reader(access, writer, index, transcoder, Disclosures(access), private),
        renderer=Renderer(transcoder),
        deletions=Deletions(access, index, writer, window=timedelta(days=settings.retention.restorable_days)),
        relations=RelationKeeper(access, index, partial(_exists, identity)),
        worklist=Worklist(access, SQLWorkitemStore(database, keys.site_seal("worklist")), index),
        people=People(
            access,
            identity.accounts,
            identity.passwords,
            identity.factors,
            identity.invitations,
            identity.sessions,
            identity.throttle.reset,
        ),
        services=ServiceClients(access, identity.clients, identity.tokens),
        policies=Policies(
            access,
            policy,
            index,
            writer,
            Directories(
                identity.accounts, registry.by_id, identity.clients.usable, identity.break_glass.in_force
            ),
            time_zone,
        ),
        emergencies=Emergencies(access, identity.break_glass, index, writer),
        reviews=Reviews(access, access_review, identity.accounts),
        access_review=access_review,
        transcoder=transcoder,
        lock=lock,
        recovered=recovered,
    )


def _exists(identity: Identity, principal_id: str) -> bool:
    kind, _, name = principal_id.partition(":")
    return (kind == "user" and identity.accounts.get(name) is not None) or (
        kind == "client" and identity.clients.get(name) is not None
    )


def record_renewal(audit: AuditLog, clock: Clock, renewed: CertificateFacts) -> None:
    """Put on record that the node made itself a new certificate.

    Raises:
        AuditUnavailable: it was not taken.
    """
    facts = {"certificate": renewed.sha256, "serial": renewed.serial, "for": "node, renewed"}
    actor = Actor(principal_id=SERVICE.principal_id)
    audit.record(AuditEvent(code=EventCode.CERTIFICATE_ISSUED, at=clock.now(), actor=actor, facts=facts))


def audit_origin(keys: SiteKeys) -> str:
    """Return the name of the site's log: C2SP asks for a schema-less URL that is unique."""
    return f"leadglass.invalid/{keys.tenant_id.hex()}/audit"


def audit_verifiers(keys: SiteKeys) -> tuple[NoteVerifier, ...]:
    """Return what verifies the checkpoints of the site's own log."""
    signer = keys.checkpoint_signer()
    return (note_verifier(signer.algorithm, signer.public_key),)


def parse_verifier_key(text: str) -> tuple[str, NoteVerifier]:
    """Return the origin and the verifier that a verifier key, ``name+hash+base64(type || key)``, stands for.

    Raises:
        UsageError: it is none.
        ConfigurationError: the key in it is of no kind that is known.

    Source: C2SP signed-note, "Verifier keys".
    """
    try:
        origin, _, encoded = text.split("+", 2)
        key = b64decode(encoded, validate=True)
    except ValueError as error:
        raise UsageError("this is not a verifier key (name+hash+base64)") from error
    if not key:
        raise UsageError("this is not a verifier key (name+hash+base64)")
    return origin, note_verifier(key[0], key[1:])


def open_provider(
    paths: SitePaths, settings: Settings, passphrase: Secret | None, environment: Mapping[str, str]
) -> KeyEncryptionProvider:
    """Open the holder of the root key.

    Raises:
        ConfigurationError: it is not there, or not as it must be.
        KeyUnavailable: the passphrase is wrong.
    """
    path = _key_path(paths, settings)
    match settings.keys.provider:
        case "key-file":
            return KeyFileProvider.open(path, paths.vault)
        case "passphrase":
            return PassphraseProvider.open(path, _required(passphrase), paths.vault)
        case "systemd-credential":
            return SystemdCredentialProvider.open(settings.keys.credential, environment)


def _create_provider(
    paths: SitePaths, settings: Settings, passphrase: Secret | None, environment: Mapping[str, str]
) -> KeyEncryptionProvider:
    path = _key_path(paths, settings)
    match settings.keys.provider:
        case "key-file":
            return KeyFileProvider.create(path, paths.vault)
        case "passphrase":
            return PassphraseProvider.create(path, _required(passphrase), paths.vault)
        case "systemd-credential":
            return SystemdCredentialProvider.open(settings.keys.credential, environment)


def _key_path(paths: SitePaths, settings: Settings) -> Path:
    return paths.root / settings.keys.path  # an absolute path stays what it is


def _emergency_options(settings: Settings) -> BreakGlassOptions:
    said = settings.policy
    return BreakGlassOptions(
        lasts=timedelta(minutes=said.emergency_minutes),
        review_within=timedelta(hours=said.emergency_review_hours),
    )


def _review_options(settings: Settings) -> ReviewOptions:
    said = settings.policy
    return ReviewOptions(timedelta(days=said.review_days), said.reviewer, said.deputy)


def _identity_options(
    paths: SitePaths, settings: Settings, federation: Federation, policy: SitePolicy, clock: Clock
) -> IdentityOptions:
    said = settings.identity
    breached = (BreachedPasswords(paths.root / said.breached_passwords),) if said.breached_passwords else ()
    return IdentityOptions(
        site_name=settings.site.name,
        host_name=settings.site.names[0],
        origins=(settings.origin,),
        check_roles=Duties(lambda: policy.catalogue).require,
        profile=NIST if said.password_profile == NIST.name else legacy(),
        blocklists=breached,
        context_words=(settings.site.name, "leadglass", *settings.site.names),
        networks=settings.zones.networks,
        postures=_postures(paths, settings, clock),
        sessions=SessionRules(
            consoles=frozenset(f"device:{device_id}" for device_id in said.consoles),
            sessions_per_person=said.sessions_per_person,
            sessions_per_administrator=said.sessions_per_administrator,
            administrator_roles=ADMINISTRATOR_ROLES,
        ),
        policy=SignInPolicy(second_factor_always=said.second_factor_always, make_accounts=said.make_accounts),
        watched=lambda account: (
            account.kind is AccountKind.VENDOR or VENDOR_SUPPORT in policy.catalogue.closure(account.roles)
        ),
        directories=() if federation.passwords is None else (federation.passwords,),
        scopes=SCOPES,
    )


def _required(passphrase: Secret | None) -> Secret:
    if passphrase is None:
        raise ConfigurationError(
            "the root key is sealed with a passphrase",
            hint="give it with --passphrase-fd N, or run the command on a terminal",
        )
    return passphrase


def _open_audit(paths: SitePaths, keys: SiteKeys, clock: Clock, *, must_exist: bool) -> FileAuditLog:
    signer = keys.checkpoint_signer()
    verifiers = audit_verifiers(keys)
    return FileAuditLog(
        paths.audit,
        audit_origin(keys),
        keys.audit_cipher,
        signer,
        clock,
        verifiers=verifiers,
        must_exist=must_exist,
    )


def _open_database(paths: SitePaths, settings: Settings, keys: SiteKeys) -> Database:
    if settings.index.url == "sqlite":
        return SQLiteDatabase(paths.index, keys.database_key("index"))
    return PostgreSQLDatabase(Secret(settings.index.url.encode("utf-8")))


def _postures(paths: SitePaths, settings: Settings, clock: Clock) -> Postures:
    web = settings.web
    if not web.posture_issuer:
        return NoPostures()
    try:
        keys = KeySet((paths.root / web.posture_keys).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"web.posture_keys cannot be read: {error.strerror}") from error
    except JoseRefused as error:
        raise ConfigurationError(f"web.posture_keys: {error}") from error
    return SignedPostures(web.posture_issuer, settings.site.names[0], keys, clock)


def _token_verifier(paths: SitePaths, settings: Settings, clock: Clock) -> JWTVerifier | None:
    if not settings.users.token_issuer:
        return None
    try:
        keys = (paths.root / settings.users.token_keys).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"users.token_keys cannot be read: {error.strerror}") from error
    return JWTVerifier(
        settings.users.token_issuer,
        settings.dimse.ae_title,
        keys,
        clock,
        require_binding=settings.users.token_binding_required,
    )


def default_names() -> tuple[str, ...]:
    """Return the names that a node on this machine is reached under."""
    return tuple(dict.fromkeys((socket.gethostname(), "localhost", "127.0.0.1")))
