"""Network zones: from where somebody comes, as the site names its networks."""

import ipaddress
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import ADDRESSES_REMEMBERED_MAX

LOCAL: Final = "local"
SITE: Final = "site"
REMOTE: Final = "remote"

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


class NetworkZones:
    """Says which zone an address belongs to: the one with the narrowest network that holds it, else ``remote``.

    Args:
        networks: names of zones to CIDR blocks; ``local`` is this machine unless it is given.

    Raises:
        ConfigurationError: a block cannot be read, or stands in two zones.
    """

    def __init__(self, networks: Mapping[str, Sequence[str]] | None = None) -> None:
        known: dict[_Network, str] = {}
        for zone, blocks in {LOCAL: _LOOPBACK, **(networks or {})}.items():
            for block in blocks:
                try:
                    network = ipaddress.ip_network(block)
                except ValueError as error:
                    raise ConfigurationError(f"a network of the zone {zone} is no CIDR block") from error
                if known.setdefault(network, zone) != zone:
                    raise ConfigurationError(f"a network of the zone {zone} stands in another zone too")
        self._networks = tuple(sorted(known.items(), key=lambda item: -item[0].prefixlen))
        self.of = lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)(self._of)

    def _of(self, address: str) -> str:
        """Return the zone of an address; one that cannot be read is remote."""
        parsed = parse_address(address)
        if parsed is None:
            return REMOTE
        return next((zone for network, zone in self._networks if parsed in network), REMOTE)


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address, an IPv4 one that is mapped into IPv6 as IPv4; None when it is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
