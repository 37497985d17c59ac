"""Passkeys and security keys: factors that cannot be phished.

What an authenticator signs names the origin that the browser saw, so a page that looks like ours gets nothing of use.
Attestation is not asked for: which make of key somebody has is not what decides here.

Source: W3C Web Authentication Level 3, 7.1 and 7.2; NIST SP 800-63B-4 3.2.5.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import parse_authentication_credential_json, parse_client_data_json
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from leadglass.base.errors import ConfigurationError, UsageError
from leadglass.trust.identity import events
from leadglass.trust.identity.database import IdentityDatabase, Row
from leadglass.trust.identity.interfaces import IdentityEvents
from leadglass.trust.identity.models import Account, Origin

PASSKEYS_PER_ACCOUNT_MAX: Final = 16
RESPONSE_CHARACTERS_MAX: Final = 64 * 1024
_CHALLENGE_BYTES: Final = 32
_HANDLE_BYTES: Final = 32
_NAME_CHARACTERS_MAX: Final = 64
_TIMEOUT_MILLISECONDS: Final = 120_000

MIGRATIONS: Final = (
    "CREATE TABLE passkey_holder (account_id TEXT PRIMARY KEY, handle BLOB NOT NULL UNIQUE) STRICT",
    """CREATE TABLE passkey (credential_id BLOB PRIMARY KEY, account_id TEXT NOT NULL, public_key BLOB NOT NULL,
       counter INTEGER NOT NULL, name TEXT NOT NULL, aaguid TEXT NOT NULL, user_verified INTEGER NOT NULL,
       backed_up INTEGER NOT NULL, created_at INTEGER NOT NULL, used_at INTEGER) STRICT""",
    "CREATE INDEX passkey_account ON passkey (account_id)",
)


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """What passkeys are made for.

    Attributes:
        rp_id: the host name that people reach the site under, or a parent domain of it.
        name: shown by the browser.
        origins: exact, as ``https://pacs.example.org``; https only.

    Raises:
        ConfigurationError: an origin is not https, or not of that host.
    """

    rp_id: str
    name: str
    origins: tuple[str, ...]

    def __post_init__(self) -> None:
        for origin in self.origins:
            host = origin.removeprefix("https://").partition(":")[0]
            if not origin.startswith("https://") or not (
                host == self.rp_id or host.endswith(f".{self.rp_id}")
            ):
                raise ConfigurationError("an origin of passkeys is https, and its host is that of the site")


@dataclass(frozen=True, slots=True)
class Passkey:
    """One passkey as lists show it."""

    passkey_id: str
    name: str
    created_at: datetime
    used_at: datetime | None
    backed_up: bool


@dataclass(frozen=True, slots=True)
class PasskeyShown:
    """An assertion that held."""

    account_id: str
    user_verified: bool


@dataclass(frozen=True, slots=True)
class PasskeyRefused:
    """An assertion that did not: why, in words of ours.

    Attributes:
        cloned: its counter ran backwards: two authenticators hold the key.
    """

    reason: str
    cloned: bool = False


class Passkeys:
    """Makes, checks and removes passkeys. Thread-safe.

    Challenges are the caller's to keep: each is good for one answer.

    Args:
        database: where they are kept.
        recorder: told of what is made and removed.
        party: what they are made for.
    """

    def __init__(self, database: IdentityDatabase, recorder: IdentityEvents, party: RelyingParty) -> None:
        self._database = database
        self._clock = database.clock
        self._events = recorder
        self._party = party
        database.register("passkeys", MIGRATIONS)

    def of(self, account_id: str) -> tuple[Passkey, ...]:
        """Return the account's passkeys, oldest first."""
        return tuple(
            Passkey(
                row[0].hex(), row[4], _time(row[8]), None if row[9] is None else _time(row[9]), bool(row[7])
            )
            for row in self._rows(account_id)
        )

    def options_to_enrol(self, account: Account, *, verify_user: bool) -> tuple[bytes, str]:
        """Return a challenge, and the options that ``navigator.credentials.create`` takes as JSON."""
        challenge = secrets.token_bytes(_CHALLENGE_BYTES)
        options = generate_registration_options(
            rp_id=self._party.rp_id,
            rp_name=self._party.name,
            user_name=account.account_id,
            user_display_name=account.display_name,
            user_id=self._handle(account.account_id),
            challenge=challenge,
            timeout=_TIMEOUT_MILLISECONDS,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED, user_verification=_verification(verify_user)
            ),
            exclude_credentials=_descriptors(self._rows(account.account_id)),
        )
        return challenge, options_to_json(options)

    def enrol(
        self,
        account: Account,
        challenge: bytes,
        response: str,
        name: str,
        origin: Origin,
        *,
        verify_user: bool,
    ) -> PasskeyShown | PasskeyRefused:
        """Take what the browser made.

        Raises:
            UsageError: the account has as many passkeys as it may, or the name cannot be shown.
            AuditUnavailable: it was not put on record; there is none.
        """
        if not name or len(name) > _NAME_CHARACTERS_MAX or not name.isprintable():
            raise UsageError(f"a passkey has a name of 1 to {_NAME_CHARACTERS_MAX} printable characters")
        if len(response) > RESPONSE_CHARACTERS_MAX:
            return PasskeyRefused("the answer is too long")
        try:
            verified = verify_registration_response(
                credential=response,
                expected_challenge=challenge,
                expected_rp_id=self._party.rp_id,
                expected_origin=list(self._party.origins),
                require_user_verification=verify_user,
            )
        except Exception:  # noqa: BLE001 - octets of a stranger: whatever they trip over, the answer is no
            return PasskeyRefused("the answer does not hold")
        now = _milliseconds(self._clock.now())
        with self._database.writing() as transaction:
            if len(self._rows(account.account_id)) >= PASSKEYS_PER_ACCOUNT_MAX:
                raise UsageError(f"an account has at most {PASSKEYS_PER_ACCOUNT_MAX} passkeys")
            if transaction.execute(
                "SELECT 1 FROM passkey WHERE credential_id = ?", (verified.credential_id,)
            ):
                # WebAuthn 7.1: an id that is somebody's already would make it two people's.
                return PasskeyRefused("that passkey is enrolled")
            transaction.execute(
                "INSERT INTO passkey VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                (
                    verified.credential_id,
                    account.account_id,
                    verified.credential_public_key,
                    verified.sign_count,
                    name,
                    verified.aaguid,
                    int(verified.user_verified),
                    int(verified.credential_backed_up),
                    now,
                ),
            )
            self._events.record(
                events.CREDENTIAL_ENROLLED,
                account.principal_id,
                origin,
                facts={"credential": "passkey", "id": verified.credential_id.hex()[:16]},
            )
        return PasskeyShown(account.account_id, bool(verified.user_verified))

    def options_to_assert(self, account_id: str, *, verify_user: bool) -> tuple[bytes, str]:
        """Return a challenge, and the options that ``navigator.credentials.get`` takes as JSON.

        Args:
            account_id: whose; empty: whoever has a passkey that names its user.
            verify_user: with a PIN or a finger, beside a touch.
        """
        challenge = secrets.token_bytes(_CHALLENGE_BYTES)
        options = generate_authentication_options(
            rp_id=self._party.rp_id,
            challenge=challenge,
            timeout=_TIMEOUT_MILLISECONDS,
            allow_credentials=_descriptors(self._rows(account_id)) if account_id else None,
            user_verification=_verification(verify_user),
        )
        return challenge, options_to_json(options)

    def verify(
        self, challenge: bytes, response: str, account_id: str, *, verify_user: bool
    ) -> PasskeyShown | PasskeyRefused:
        """Check an assertion.

        Args:
            challenge: of the options; the caller has forgotten it already.
            response: of the browser, JSON.
            account_id: whose it must be; empty: whoever it names.
            verify_user: as in the options.
        """
        if len(response) > RESPONSE_CHARACTERS_MAX:
            return PasskeyRefused("the answer is too long")
        try:
            credential = parse_authentication_credential_json(response)
            framed = parse_client_data_json(credential.response.client_data_json).cross_origin
        except Exception:  # noqa: BLE001 - as above
            return PasskeyRefused("the answer cannot be read")
        if framed:  # WebAuthn 7.2 step 13: asked for by a page of somebody else, around ours
            return PasskeyRefused("the answer was made inside another site's page")
        row = self._row(credential.raw_id)
        if row is None or (account_id and row[1] != account_id):
            return PasskeyRefused("that passkey is not enrolled for this account")
        if not account_id and credential.response.user_handle != self._handle(row[1]):
            return PasskeyRefused("the passkey names another user")
        return self._verified(challenge, credential, row, verify_user=verify_user)

    def remove(self, account: Account, passkey_id: str, origin: Origin) -> bool:
        """Remove a passkey; False when the account has none of that id."""
        try:
            credential_id = bytes.fromhex(passkey_id)
        except ValueError:
            return False
        with self._database.writing() as transaction:
            removed = transaction.changed(
                "DELETE FROM passkey WHERE credential_id = ? AND account_id = ?",
                (credential_id, account.account_id),
            )
            if removed:
                self._events.record(
                    events.CREDENTIAL_REMOVED,
                    account.principal_id,
                    origin,
                    facts={"credential": "passkey", "id": passkey_id[:16]},
                )
        return bool(removed)

    def remove_all(self, account: Account, origin: Origin) -> int:
        """Remove every passkey of an account; return how many."""
        return sum(
            self.remove(account, passkey.passkey_id, origin) for passkey in self.of(account.account_id)
        )

    # --- inside ----------------------------------------------------------------------------------------------------

    def _verified(
        self, challenge: bytes, credential: AuthenticationCredential, row: Row, *, verify_user: bool
    ) -> PasskeyShown | PasskeyRefused:
        try:
            # The counter is ours to compare, below: there two that come at once cannot both be newer.
            verified = verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._party.rp_id,
                expected_origin=list(self._party.origins),
                credential_public_key=row[2],
                credential_current_sign_count=0,
                require_user_verification=verify_user,
            )
        except Exception:  # noqa: BLE001 - as above
            return PasskeyRefused("the answer does not hold")
        count = verified.new_sign_count
        with self._database.writing() as transaction:
            moved = transaction.changed(
                """UPDATE passkey SET counter = ?1, used_at = ?2 WHERE credential_id = ?3
                   AND (counter < ?1 OR (counter = 0 AND ?1 = 0))""",
                (count, _milliseconds(self._clock.now()), row[0]),
            )
        if not moved:
            return PasskeyRefused("the passkey's counter ran backwards, or it was removed", cloned=True)
        return PasskeyShown(row[1], bool(verified.user_verified))

    def _rows(self, account_id: str) -> list[Row]:
        with self._database.reading() as snapshot:
            return snapshot.execute(
                "SELECT * FROM passkey WHERE account_id = ? ORDER BY created_at, credential_id", (account_id,)
            )

    def _row(self, credential_id: bytes) -> Row | None:
        with self._database.reading() as snapshot:
            rows = snapshot.execute("SELECT * FROM passkey WHERE credential_id = ?", (credential_id,))
        return rows[0] if rows else None

    def _handle(self, account_id: str) -> bytes:
        """Return what authenticators call the account: random, because they tell it to whoever holds them."""
        with self._database.reading() as snapshot:
            rows = snapshot.execute("SELECT handle FROM passkey_holder WHERE account_id = ?", (account_id,))
        if rows:
            return bytes(rows[0][0])
        with self._database.writing() as transaction:
            transaction.execute(
                "INSERT OR IGNORE INTO passkey_holder VALUES (?, ?)",
                (account_id, secrets.token_bytes(_HANDLE_BYTES)),
            )
            rows = transaction.execute(
                "SELECT handle FROM passkey_holder WHERE account_id = ?", (account_id,)
            )
        return bytes(rows[0][0])


def _descriptors(rows: list[Row]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=row[0]) for row in rows]


def _verification(required: bool) -> UserVerificationRequirement:
    return UserVerificationRequirement.REQUIRED if required else UserVerificationRequirement.PREFERRED


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
