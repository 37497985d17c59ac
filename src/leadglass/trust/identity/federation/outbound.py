"""Questions over HTTPS to a host that a person configured, and to no other.

What an identity provider says about itself names the next address to ask. So each address is checked, not only the
first: scheme and host against the settings, then what the name resolves to. The name is resolved once, and the
connection goes to the address that was checked: a name server that changes its mind in between (DNS rebinding) changes
nothing. No redirect is followed, no proxy of the environment is used, no compression is offered.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode

import httpx2

from leadglass.base.errors import ConfigurationError, PeerUnreachable
from leadglass.base.limits import OUTBOUND_BYTES_MAX, OUTBOUND_SECONDS
from leadglass.trust.identity.federation.models import OutboundOptions

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]
"""Host name and port to IP addresses, in order of preference."""

_METADATA: Final = tuple(
    ipaddress.ip_network(network)
    for network in ("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::254/128")
)
"""Where clouds answer their machines, beside the link-local addresses that nearly all of them use."""
_EMBEDDING: Final = ipaddress.ip_network("64:ff9b::/96")
"""IPv4 inside IPv6. Source: RFC 6052 2.1."""
_ADDRESSES_TRIED_MAX: Final = 4


class Failure(StrEnum):
    """What went wrong with a question, for the self-test."""

    NAME = "name"
    ADDRESS = "address"
    CERTIFICATE = "certificate"
    TLS = "tls"
    CONNECTION = "connection"
    TIME = "time"
    SIZE = "size"


class OutboundFailed(PeerUnreachable):
    """There is no answer to a question.

    Attributes:
        failure: what went wrong.
    """

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP status.
        body: of at most ``OUTBOUND_BYTES_MAX`` octets.
        content_type: without parameters, lower case.
        date: header ``Date`` as it is; empty when there is none.
        location: header ``Location`` as it is; empty when there is none. Never followed.
    """

    status: int
    body: bytes
    content_type: str = ""
    date: str = ""
    location: str = ""


class Outbound:
    """Asks the hosts of one identity provider. Thread-safe; not to be called from an event loop.

    Args:
        url: of the provider as configured; its host may be asked.
        options: see there.
        resolve: the name service; that of the system unless given.

    Raises:
        ConfigurationError: the URL is not https, a network is malformed or the authorities cannot be read.
    """

    def __init__(self, url: str, options: OutboundOptions, resolve: Resolver | None = None) -> None:
        configured = _parse(url)
        if configured is None:
            raise ConfigurationError(
                "the address of an identity provider is not an https URL",
                hint="https://host[:port]/path; sign-in over plain HTTP is not offered",
            )
        self._hosts = {configured.host.lower(), *(host.lower() for host in options.hosts)}
        self._resolve = resolve or _system_resolver
        try:
            self._networks = tuple(ipaddress.ip_network(network) for network in options.networks)
            self._context = ssl.create_default_context(cafile=options.ca_file)
        except (ValueError, OSError) as error:  # ssl.SSLError is an OSError
            raise ConfigurationError(
                "the networks or the certificate authorities of an identity provider cannot be read"
            ) from error
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask.

        Raises:
            OutboundFailed: the address is not allowed, or there is no whole answer in time.
        """
        return self._ask("GET", url, headers or {}, None)

    def post(self, url: str, form: Sequence[tuple[str, str]], headers: Mapping[str, str]) -> Answer:
        """Send a form.

        Raises:
            OutboundFailed: as above.
        """
        return self._ask(
            "POST",
            url,
            {**headers, "Content-Type": "application/x-www-form-urlencoded"},
            urlencode(form).encode("ascii"),
        )

    def _ask(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> Answer:
        target = _parse(url)
        if target is None or target.host.lower() not in self._hosts:
            raise OutboundFailed(
                Failure.ADDRESS, "the identity provider names an address that is not one of the settings"
            )
        addresses = self._addresses(target)
        try:
            return asyncio.run(
                asyncio.wait_for(
                    self._first_answer(method, target, addresses, headers, content), OUTBOUND_SECONDS
                )
            )
        except TimeoutError as error:
            raise OutboundFailed(
                Failure.TIME, f"the identity provider did not answer within {OUTBOUND_SECONDS:.0f} s"
            ) from error

    def _addresses(self, target: httpx2.URL) -> list[Address]:
        host = target.host
        try:
            literal = ipaddress.ip_address(host)
        except ValueError:
            pass
        else:  # a person wrote this very address into the settings
            return [literal]
        try:
            found = [ipaddress.ip_address(text) for text in self._resolve(host, target.port or 443)]
        except (OSError, ValueError) as error:
            raise OutboundFailed(
                Failure.NAME, "the name of the identity provider cannot be resolved"
            ) from error
        if not found:
            raise OutboundFailed(Failure.NAME, "the name of the identity provider cannot be resolved")
        if not all(self._is_allowed(address, host) for address in found):
            # One of several is enough: nobody has such a set but who wants us to take the wrong one.
            raise OutboundFailed(
                Failure.ADDRESS,
                "the name of the identity provider leads to this machine or to a link-local address",
            )
        return found[:_ADDRESSES_TRIED_MAX]

    def _is_allowed(self, address: Address, host: str) -> bool:
        plain = _embedded(address)
        if any(one in network for one in (address, plain) for network in self._networks):
            return True
        if plain.is_loopback:
            return host.lower() == "localhost"
        metadata = any(plain in network for network in _METADATA)
        return not (metadata or plain.is_link_local or plain.is_multicast or plain.is_unspecified)

    async def _first_answer(
        self,
        method: str,
        target: httpx2.URL,
        addresses: Sequence[Address],
        headers: Mapping[str, str],
        content: bytes | None,
    ) -> Answer:
        failed: OutboundFailed | None = None
        for address in addresses:
            try:
                return await self._exchange(method, target, address, headers, content)
            except OutboundFailed as error:
                if error.failure is not Failure.CONNECTION:
                    raise
                failed = error
        assert failed is not None
        raise failed

    async def _exchange(
        self,
        method: str,
        target: httpx2.URL,
        address: Address,
        headers: Mapping[str, str],
        content: bytes | None,
    ) -> Answer:
        # The URL holds the checked address; the certificate is checked against the name.
        sent = {
            **headers,
            "Host": target.netloc.decode("ascii"),
            "Accept-Encoding": "identity",
            "User-Agent": "leadglass",
        }
        try:
            async with (
                httpx2.AsyncClient(
                    verify=self._context, trust_env=False, follow_redirects=False, timeout=OUTBOUND_SECONDS
                ) as client,
                client.stream(
                    method,
                    target.copy_with(host=str(address)),
                    headers=sent,
                    content=content,
                    extensions={"sni_hostname": target.host},
                ) as response,
            ):
                return Answer(
                    response.status_code,
                    await _read(response),
                    response.headers.get("content-type", "").partition(";")[0].strip().lower(),
                    response.headers.get("date", ""),
                    response.headers.get("location", ""),
                )
        except httpx2.TimeoutException as error:
            raise OutboundFailed(Failure.TIME, "the identity provider did not answer in time") from error
        except httpx2.HTTPError as error:
            raise _failure(error) from error


def _parse(url: str) -> httpx2.URL | None:
    """Return an https URL with a host and without user and fragment; None for anything else."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        return None
    if parsed.scheme != "https" or not parsed.host or parsed.userinfo or parsed.fragment:
        return None
    return parsed


def _system_resolver(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _embedded(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _EMBEDDING:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


async def _read(response: httpx2.Response) -> bytes:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise OutboundFailed(Failure.SIZE, "the identity provider sent a compressed answer unasked")
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > OUTBOUND_BYTES_MAX:
            raise OutboundFailed(
                Failure.SIZE,
                f"the answer of the identity provider is longer than {OUTBOUND_BYTES_MAX} octets",
            )
    return bytes(body)


def _failure(error: BaseException) -> OutboundFailed:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return OutboundFailed(
                Failure.CERTIFICATE,
                "the certificate of the identity provider is not trusted, has expired or is for another name",
            )
        if isinstance(cause, ssl.SSLError):
            return OutboundFailed(Failure.TLS, "no TLS connection to the identity provider came about")
        cause = cause.__cause__ or cause.__context__
    return OutboundFailed(Failure.CONNECTION, "no connection to the identity provider came about")
