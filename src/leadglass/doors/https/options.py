"""What a site may say about its HTTPS server. The defaults are safe; nothing here switches a check off."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import (
    HTTP_CONNECTIONS_MAX,
    HTTP_CONNECTIONS_PER_ADDRESS_MAX,
    HTTP_REQUESTS_MAX,
    HTTP_REQUESTS_PER_PRINCIPAL_MAX,
)
from leadglass.doors.https.addresses import ProxyHeader
from leadglass.doors.https.rates import Rate


@dataclass(frozen=True, slots=True)
class Rates:
    """How often, by whom.

    Attributes:
        address: any request from one address; one address may be a whole clinic.
        network: any request from one /24 or /56.
        refused: requests of one address whose cookie, token or certificate was not believed; then further ones are
            not looked at, except those whose cookie or token was believed before.
        sign_in: requests of one address to endpoints where people sign in.
        sign_in_network: the same of one /24 or /56.
        principal: requests of one principal; a viewer that scrolls asks for a few hundred frames a second.
    """

    address: Rate = field(default=Rate(1000, 4000))
    network: Rate = field(default=Rate(4000, 16_000))
    refused: Rate = field(default=Rate(20, 200))
    sign_in: Rate = field(default=Rate(2, 60))
    sign_in_network: Rate = field(default=Rate(10, 300))
    principal: Rate = field(default=Rate(500, 2000))


@dataclass(frozen=True, slots=True)
class HTTPSOptions:
    """What a site may say.

    Attributes:
        names: host names and addresses under which the server is called, without ports; others are refused
            (DNS rebinding). At least one.
        public_port: port in the origins that browsers see, where a reverse proxy has another than ours; 0 for ours.
        origins: other origins whose pages may call the API with the user's cookie, as ``https://host[:port]``.
        proxies: addresses or networks of reverse proxies that are believed about who called them.
        proxy_header: the header in which they say it.
        rates: how often.
        connections_max: at once; a site may lower it.
        connections_per_address_max: the same, of one address.
        requests_max: in hand at once.
        requests_per_principal_max: the same, of one principal.
        access_log: write one line of JSON for each request.
        security_contact: for /.well-known/security.txt, a ``mailto:`` or ``https:`` URI; empty: there is none.

    Raises:
        ConfigurationError: a value that no server could work with.
    """

    names: tuple[str, ...]
    public_port: int = 0
    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    proxy_header: ProxyHeader = ProxyHeader.X_FORWARDED_FOR
    rates: Rates = field(default_factory=Rates)
    connections_max: int = HTTP_CONNECTIONS_MAX
    connections_per_address_max: int = HTTP_CONNECTIONS_PER_ADDRESS_MAX
    requests_max: int = HTTP_REQUESTS_MAX
    requests_per_principal_max: int = HTTP_REQUESTS_PER_PRINCIPAL_MAX
    access_log: bool = False
    security_contact: str = ""

    def __post_init__(self) -> None:
        if not self.names:
            raise ConfigurationError("the HTTPS server needs at least one name under which it is called")
        for origin in self.origins:
            parts = urlsplit(origin)
            if parts.scheme != "https" or not parts.netloc or origin != f"https://{parts.netloc}":
                raise ConfigurationError(
                    "an origin is not of the form https://host or https://host:port",
                    hint="no path, no * and no http: cookies would travel with it",
                )
        if self.security_contact and not self.security_contact.startswith(("mailto:", "https://")):
            raise ConfigurationError("the security contact is neither mailto: nor https://")
