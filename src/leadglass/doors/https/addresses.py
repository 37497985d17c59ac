"""Whose address counts: the peer's, or what a reverse proxy of the site says before it.

Each proxy appends the address it was called from. So the list is read from its end, for as long as the one who said it
is trusted; the first address that is not a trusted proxy's is the client's. What a client wrote itself stands further
left and is never reached. One header is believed, the one that the site's proxies write: another one would come
through them untouched from whoever sent it.

Source: RFC 7239 4, 5.2, 8.1.
"""

import ipaddress
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from leadglass.base.errors import ConfigurationError

_FORWARDED_FOR: Final = re.compile(r'(?:^|;)\s*for\s*=\s*("(?:[^"\\]|\\.)*"|[^;,\s]+)', re.IGNORECASE)
_HOPS_MAX: Final = 16

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ProxyHeader(StrEnum):
    """The header in which the site's proxies say who called them."""

    X_FORWARDED_FOR = "x-forwarded-for"
    FORWARDED = "forwarded"


class TrustedProxies:
    """The reverse proxies of the site; none by default.

    Args:
        networks: CIDR blocks or addresses of the proxies.
        header: the one that they write.

    Raises:
        ConfigurationError: a network is none, or is everybody's.
    """

    def __init__(
        self, networks: Sequence[str] = (), header: ProxyHeader = ProxyHeader.X_FORWARDED_FOR
    ) -> None:
        try:
            self._networks: list[Network] = [ipaddress.ip_network(network) for network in networks]
        except ValueError as error:
            raise ConfigurationError("a trusted proxy is not an address or a network") from error
        if any(network.prefixlen == 0 for network in self._networks):
            raise ConfigurationError("a trusted proxy must not be every address there is")
        self._header = header

    def trusts(self, address: str) -> bool:
        """Tell whether ``address`` is a proxy of the site."""
        if not self._networks:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed.version == network.version and parsed in network for network in self._networks)

    def client_of(self, peer: str, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """Return the address that a request came from."""
        if not self.trusts(peer):
            return peer
        name = self._header.value.encode("ascii")
        said = b",".join(value for key, value in headers if key == name).decode("latin-1")
        client = peer
        for hop in reversed(said.split(",")[-_HOPS_MAX:]):
            address = self._address_of(hop)
            if address is None:  # "unknown", a name, or no header at all: the last one we know answers for it
                break
            client = address
            if not self.trusts(address):
                break
        return client

    def _address_of(self, hop: str) -> str | None:
        text = hop.strip()
        if self._header is ProxyHeader.FORWARDED:
            match = _FORWARDED_FOR.search(text)
            if match is None:
                return None
            text = match[1].strip('"')
        if text.startswith("["):
            text = text[1:].partition("]")[0]
        elif text.count(":") == 1:
            text = text.partition(":")[0]
        try:
            return plain_address(text)
        except ValueError:
            return None


def plain_address(text: str) -> str:
    """Return an address as we write it everywhere: an IPv4 address that came in by IPv6 is an IPv4 address.

    Raises:
        ValueError: it is none.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if address.version == 6 and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
