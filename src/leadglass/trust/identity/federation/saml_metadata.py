"""Metadata of SAML: what the identity provider's says, and ours.

Source: SAML Metadata 2.0, 2.3.2, 2.4.3, 2.4.4.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lxml import etree

from leadglass.trust.identity.federation.saml_xml import (
    METADATA_NS,
    SIGNATURE_NS,
    Element,
    XMLRefused,
    parse,
    text_of,
    time_of,
)

REDIRECT_BINDING: Final = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
POST_BINDING: Final = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
_PROTOCOL: Final = "urn:oasis:names:tc:SAML:2.0:protocol"
_CERTIFICATES_MAX: Final = 2
"""The one in use and the one that follows it."""


@dataclass(frozen=True, slots=True)
class IdentityProviderMetadata:
    """What we read of it.

    Attributes:
        entity_id: exact text of its issuer.
        sign_on_url: for the redirect binding, https.
        certificates: PEM, that sign its statements.
        wants_signed_requests: it takes no request of ours, which are not signed.
        valid_until: aware UTC, or None.
    """

    entity_id: str
    sign_on_url: str
    certificates: tuple[str, ...]
    wants_signed_requests: bool
    valid_until: datetime | None


def read_metadata(document: bytes) -> IdentityProviderMetadata:
    """Read the document of one identity provider.

    Raises:
        XMLRefused: it is no such document, or something that we need is missing.
    """
    root = parse(document)
    if root.tag != f"{{{METADATA_NS}}}EntityDescriptor":
        raise XMLRefused("the metadata is not that of one entity")
    role = root.find(f"{{{METADATA_NS}}}IDPSSODescriptor")
    if role is None or _PROTOCOL not in role.get("protocolSupportEnumeration", "").split():
        raise XMLRefused("the metadata is not that of a SAML 2.0 identity provider")
    certificates = tuple(
        dict.fromkeys(
            _pem(text_of(one))
            for key in role.findall(f"{{{METADATA_NS}}}KeyDescriptor")
            if key.get("use", "signing") == "signing"
            for one in key.iter(f"{{{SIGNATURE_NS}}}X509Certificate")
        )
    )
    if not 0 < len(certificates) <= _CERTIFICATES_MAX:
        raise XMLRefused("the metadata holds no signing certificate, or more than two")
    services = [
        one.get("Location", "")
        for one in role.findall(f"{{{METADATA_NS}}}SingleSignOnService")
        if one.get("Binding") == REDIRECT_BINDING
    ]
    entity_id = root.get("entityID", "")
    if not entity_id or not services or not services[0].startswith("https://"):
        raise XMLRefused("the metadata has no entity id, or no https address for the redirect binding")
    ends = [end for end in (time_of(root, "validUntil"), time_of(role, "validUntil")) if end is not None]
    return IdentityProviderMetadata(
        entity_id=entity_id,
        sign_on_url=services[0],
        certificates=certificates,
        wants_signed_requests=role.get("WantAuthnRequestsSigned", "false") in {"true", "1"},
        valid_until=min(ends, default=None),
    )


def service_provider_metadata(entity_id: str, acs_url: str) -> bytes:
    """Return our own document, for the administrator of the identity provider."""
    root = etree.Element(
        f"{{{METADATA_NS}}}EntityDescriptor", {"entityID": entity_id}, nsmap={"md": METADATA_NS}
    )
    role: Element = etree.SubElement(
        root,
        f"{{{METADATA_NS}}}SPSSODescriptor",
        {
            "AuthnRequestsSigned": "false",
            "WantAssertionsSigned": "true",
            "protocolSupportEnumeration": _PROTOCOL,
        },
    )
    etree.SubElement(
        role,
        f"{{{METADATA_NS}}}AssertionConsumerService",
        {"Binding": POST_BINDING, "Location": acs_url, "index": "0", "isDefault": "true"},
    )
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def _pem(text: str) -> str:
    try:
        der = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise XMLRefused("a certificate of the metadata cannot be read") from error
    body = base64.b64encode(der).decode("ascii")
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])
