"""LDAP and Active Directory: a name and a password, checked where a site keeps them.

A service account searches for the person, then the person's own name and password are bound. Nothing is sent before
TLS stands: ``ldaps``, or StartTLS as the first operation; there is no third way. ``ldap3`` would check the server's
certificate by a function of its own, by default not at all, and from Python 3.12 on wrongly for IP addresses. So the
handshake is ours: OpenSSL checks name or address, or there is no connection.

Source: RFC 4511 4.2, 4.5, 4.14; RFC 4513 3, 5.1.2; RFC 4515 3; [MS-ADTS] 3.1.1.3.4.4.3, 2.2.16.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# ldap3's stubs leave nearly everything open.

import secrets
import ssl
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from leadglass.base.clock import Clock
from leadglass.base.errors import ConfigurationError, OutOfResources
from leadglass.base.limits import GROUPS_MAX
from leadglass.base.secret import Secret
from leadglass.trust.identity.federation.ldap_library import (
    LDAPException,
    LDAPExceptionError,
    LDAPStartTLSError,
    escape_filter_chars,
    ldap3,
)
from leadglass.trust.identity.federation.mapping import vouched
from leadglass.trust.identity.federation.models import (
    DirectorySettings,
    ExternalIdentity,
    GroupSearch,
    SignInRefused,
)
from leadglass.trust.identity.federation.secret_file import read_secret_file
from leadglass.trust.identity.models import Vouched

_NAME_CHARACTERS_MAX: Final = 256
_PASSWORD_OCTETS_MAX: Final = 1024
_IN_CHAIN: Final = "1.2.840.113556.1.4.1941"
"""LDAP_MATCHING_RULE_IN_CHAIN: groups of groups, followed by the directory."""
_DISABLED_OR_LOCKED: Final = 0x0002 | 0x0010
"""UF_ACCOUNTDISABLE, UF_LOCKOUT. Source: [MS-ADTS] 2.2.16."""
_STANDING: Final = ("userAccountControl", "pwdAccountLockedTime", "nsAccountLock")
_SUCCESS: Final = 0
_INVALID_CREDENTIALS: Final = 49
_SIZE_LIMIT_EXCEEDED: Final = 4


class Failure(StrEnum):
    """What went wrong with a directory, for the self-test."""

    CONNECTION = "connection"
    CERTIFICATE = "certificate"
    TLS = "tls"
    BIND = "bind"
    SEARCH = "search"


class DirectoryFailed(OutOfResources):
    """The directory does not answer as it should: nobody can sign in by it now.

    Attributes:
        failure: what went wrong.
    """

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a directory: octets, as nothing of its schema is known."""

    distinguished_name: str
    attributes: Mapping[str, Sequence[bytes]]

    def text(self, attribute: str) -> str:
        """Return the first value as text; empty when there is none or it is not UTF-8."""
        return next(iter(self.texts(attribute)), "")

    def texts(self, attribute: str) -> tuple[str, ...]:
        """Return the values that are UTF-8."""
        found: list[str] = []
        for value in self.attributes.get(attribute.lower(), ()):
            try:
                found.append(value.decode("utf-8"))
            except UnicodeDecodeError:
                continue
        return tuple(found)


class _OwnHandshake(ldap3.Tls):
    """Wraps the socket with a context of ours, whatever ldap3 would have done."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:  # noqa: ANN401, ARG002 - as ldap3 has it
        connection.socket = self._context.wrap_socket(
            connection.socket, server_hostname=connection.server.host, do_handshake_on_connect=True
        )


class Directory:
    """Checks names and passwords at one directory. Thread-safe: each question has a connection of its own.

    Args:
        settings: see there; its files are read now.

    Raises:
        ConfigurationError: the settings contradict themselves, or a file of theirs cannot be read.
    """

    def __init__(self, settings: DirectorySettings) -> None:
        address = urlsplit(settings.url)
        if address.scheme not in {"ldaps", "ldap"} or not address.hostname or address.path.strip("/"):
            raise ConfigurationError(
                "the address of the directory is no LDAP URL",
                hint="ldaps://host[:636], or ldap://host[:389] for StartTLS; plain LDAP is not offered",
            )
        if not settings.bind_dn or not settings.user_base or "{name}" not in settings.user_filter:
            raise ConfigurationError(
                "the directory needs a service account, a place to search, and {name} in its filter"
            )
        self._settings = settings
        self._password = read_secret_file(settings.bind_password_file, "password of the directory's account")
        self._start_tls = address.scheme == "ldap"
        try:
            context = ssl.create_default_context(cafile=settings.ca_file)
            port = address.port or (389 if self._start_tls else 636)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                "the certificate authorities or the port of the directory cannot be read"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._host = address.hostname
        self._port = port
        self._handshake = _OwnHandshake(context)

    @property
    def issuer(self) -> str:
        """Whose people these are: the URL."""
        return self._settings.url

    def authenticate(self, name: str, password: Secret) -> ExternalIdentity | SignInRefused:
        """Say who it is.

        To believe it we need (1) a name and a password that are not empty, (2) exactly one entry of that name, (3) one
        that is neither disabled nor locked, (4) the password, proven by a bind as that entry, (5) something to know
        the person by for ever.

        Raises:
            DirectoryFailed: the directory does not answer as it should.
        """
        # (1) RFC 4513 5.1.2: a bind without a password succeeds and proves nothing.
        secret = password.reveal()
        if not secret or len(secret) > _PASSWORD_OCTETS_MAX or b"\0" in secret:
            return SignInRefused("the password is empty or too long")
        if not name or len(name) > _NAME_CHARACTERS_MAX or not name.isprintable():
            return SignInRefused("the name is empty, too long or not printable")
        with self.service() as connection:
            found = self.find(connection, name)  # (2)
            if len(found) != 1:
                # A bind all the same, to nobody: how long the answer takes must not tell who exists.
                self._proves(f"cn={secrets.token_hex(8)},{self._settings.user_base}", password)
                return SignInRefused("the name is unknown to the directory, or names several people")
            entry = found[0]
            # (4) before (3): only who knows the password may learn that the account is disabled.
            if not self._proves(entry.distinguished_name, password):
                return SignInRefused("the password is wrong")
            if not _stands(entry):
                return SignInRefused("the directory says that the account is disabled or locked")
            subject = subject_of(entry, self._settings.subject_attribute)  # (5)
            if not subject:
                return SignInRefused("the entry of the person has no subject attribute")
            return ExternalIdentity(
                issuer=self.issuer,
                subject=subject,
                display_name=entry.text(self._settings.name_attribute),
                groups=self.groups_of(connection, entry),
                methods=("pwd",),
            )

    @contextmanager
    def service(self) -> Generator[ldap3.Connection, None, None]:
        """Give a connection bound as the service account.

        Raises:
            DirectoryFailed: there is none, or the directory refuses the account.
        """
        with self._connected(self._settings.bind_dn, self._password) as (connection, result):
            if result != _SUCCESS:
                raise DirectoryFailed(Failure.BIND, "the directory refuses the service account")
            yield connection

    def _proves(self, distinguished_name: str, password: Secret) -> bool:
        with self._connected(distinguished_name, password) as (_, result):
            return result == _SUCCESS

    @contextmanager
    def _connected(
        self, distinguished_name: str, password: Secret
    ) -> Generator[tuple[ldap3.Connection, int], None, None]:
        try:
            bytes_as_text = password.reveal().decode("utf-8")
        except UnicodeDecodeError:
            raise DirectoryFailed(Failure.BIND, "a password for the directory is not UTF-8") from None
        # A server object remembers which address answered last; one for each connection, so threads share nothing.
        server = ldap3.Server(
            self._host,
            port=self._port,
            use_ssl=not self._start_tls,
            tls=self._handshake,
            connect_timeout=self._settings.seconds,
            get_info=ldap3.NONE,
        )
        connection = ldap3.Connection(
            server,
            user=distinguished_name,
            password=bytes_as_text,
            authentication=ldap3.SIMPLE,
            client_strategy=ldap3.SYNC,
            auto_bind=ldap3.AUTO_BIND_NONE,
            auto_referrals=False,
            receive_timeout=self._settings.seconds,
            read_only=True,
            raise_exceptions=False,
        )
        try:
            self._secure(connection)
            connection.bind()
            result: Mapping[str, Any] = connection.result
            yield connection, int(result["result"])
        except LDAPExceptionError as error:
            raise DirectoryFailed(Failure.CONNECTION, "the directory broke off the conversation") from error
        finally:
            _close(connection)

    def _secure(self, connection: ldap3.Connection) -> None:
        """Open the connection and see to it that TLS stands before anything else is said."""
        try:
            connection.open(read_server_info=False)
            if self._start_tls:
                connection.start_tls(read_server_info=False)
        except LDAPStartTLSError as error:
            raise _failed(error, Failure.TLS) from error
        except (LDAPException, OSError) as error:
            raise _failed(error, Failure.CONNECTION) from error
        if not isinstance(connection.socket, ssl.SSLSocket) or not connection.socket.getpeercert():
            raise DirectoryFailed(Failure.TLS, "the connection to the directory is not protected")

    def find(self, connection: ldap3.Connection, name: str) -> tuple[Entry, ...]:
        """Return the entries of that name; two of them stand for any larger number.

        Raises:
            DirectoryFailed: the search did not succeed.
        """
        settings = self._settings
        wanted = [settings.subject_attribute, settings.name_attribute, *_STANDING]
        if settings.group_search is GroupSearch.MEMBER_OF:
            wanted.append(settings.groups_attribute)
        escaped = escape_filter_chars(name)
        return self.search(
            connection, settings.user_base, settings.user_filter.replace("{name}", escaped), wanted, 2
        )

    def groups_of(self, connection: ldap3.Connection, entry: Entry) -> tuple[str, ...]:
        """Return the distinguished names of the person's groups.

        Raises:
            DirectoryFailed: the search did not succeed, or there are too many.
        """
        settings = self._settings
        if settings.group_search is GroupSearch.MEMBER_OF:
            groups = entry.texts(settings.groups_attribute)
        else:
            rule = ""
            if settings.group_search is GroupSearch.ACTIVE_DIRECTORY_NESTED:
                rule = f":{_IN_CHAIN}:"
            escaped = escape_filter_chars(entry.distinguished_name)
            found = self.search(
                connection,
                settings.group_base or settings.user_base,
                f"({settings.member_attribute}{rule}={escaped})",
                ["1.1"],  # RFC 4511 4.5.1.8: names only
                GROUPS_MAX + 1,
            )
            groups = tuple(one.distinguished_name for one in found)
        if len(groups) > GROUPS_MAX:
            raise DirectoryFailed(Failure.SEARCH, f"a person is in more than {GROUPS_MAX} groups")
        return groups

    def search(
        self, connection: ldap3.Connection, base: str, condition: str, attributes: Sequence[str], count: int
    ) -> tuple[Entry, ...]:
        """Search the whole tree under ``base``; follow no referral.

        Raises:
            DirectoryFailed: it did not succeed.
        """
        try:
            connection.search(
                base,
                condition,
                search_scope=ldap3.SUBTREE,
                dereference_aliases=ldap3.DEREF_NEVER,
                attributes=list(attributes),
                size_limit=count,
                time_limit=self._settings.seconds,
            )
        except LDAPException as error:  # the filter of the settings is malformed, or the connection broke
            raise DirectoryFailed(Failure.SEARCH, "the directory cannot be searched") from error
        result: Mapping[str, Any] = connection.result
        if int(result["result"]) not in {_SUCCESS, _SIZE_LIMIT_EXCEEDED}:
            raise DirectoryFailed(
                Failure.SEARCH, f"the directory answers a search with result {int(result['result'])}"
            )
        response: Sequence[Mapping[str, Any]] = connection.response or ()
        return tuple(
            Entry(str(one["dn"]), {str(k).lower(): tuple(v) for k, v in one["raw_attributes"].items()})
            for one in response
            if one.get("type") == "searchResEntry"
        )


class DirectoryPasswords:
    """Implements ``PasswordSource``: a directory as one more place that knows passwords.

    Args:
        directory: see there.
        settings: of it, for its rules and what is believed of it.
        clock: of the site.
    """

    def __init__(self, directory: Directory, settings: DirectorySettings, clock: Clock) -> None:
        self._directory = directory
        self._rules = settings.rules
        self._strength = settings.strength
        self._clock = clock

    def check(self, name: str, password: Secret) -> Vouched | None:
        """Say who it is, or None: unknown, wrong, disabled there, or in no group that gives a role.

        Raises:
            DirectoryFailed: it does not answer.
        """
        identity = self._directory.authenticate(name, password)
        if isinstance(identity, SignInRefused):
            return None
        shown = replace(identity, auth_time=self._clock.now())  # the password was, to us
        outcome = vouched(shown, self._rules, self._strength, self._clock)
        return None if isinstance(outcome, SignInRefused) else outcome


def subject_of(entry: Entry, attribute: str) -> str:
    """Return what the person is known by: text, or the 16 octets of an ``objectGUID`` as UUID; empty for neither."""
    values = entry.attributes.get(attribute.lower(), ())
    if len(values) != 1:
        return ""
    if attribute.lower() == "objectguid":
        return str(uuid.UUID(bytes_le=bytes(values[0]))) if len(values[0]) == 16 else ""
    text = entry.text(attribute)
    return text if text.isprintable() and len(text) <= _NAME_CHARACTERS_MAX else ""


def _stands(entry: Entry) -> bool:
    """Tell whether the entry says that its account may be used; what cannot be read is a no."""
    control = entry.text("userAccountControl")
    if entry.attributes.get("useraccountcontrol") and (
        not control.isascii() or not control.isdigit() or int(control) & _DISABLED_OR_LOCKED
    ):
        return False
    if entry.attributes.get("pwdaccountlockedtime"):
        return False
    return entry.text("nsAccountLock").lower() in {"", "false"}


def _failed(error: BaseException, otherwise: Failure) -> DirectoryFailed:
    # ldap3 makes errors of its own and keeps only the text; the class of its error tells nothing either.
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(cause):
            return DirectoryFailed(
                Failure.CERTIFICATE,
                "the certificate of the directory is not trusted, has expired or is for another name",
            )
        cause = cause.__cause__ or cause.__context__
    if otherwise is Failure.TLS:
        return DirectoryFailed(Failure.TLS, "the directory does not do StartTLS; nothing was sent")
    return DirectoryFailed(Failure.CONNECTION, "no protected connection to the directory came about")


def _close(connection: ldap3.Connection) -> None:
    try:
        connection.unbind()
    except (LDAPException, OSError):
        pass  # it is closed either way
    if connection.socket is not None:
        connection.socket.close()
