"""XML of SAML, read so that nothing but what was signed is believed.

A parser that knows no DTD, no entity and no network. A signature is taken only where SAML puts it, over the element
that it stands in, by the one way of signing that SAML allows; and what is read afterwards is what the verifier gave
back, never the document that came. That is the whole defence against signature wrapping.

Source: SAML Core 5.4; XML Signature Best Practices 2.1.
"""

# ruff: noqa: SLF001
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
# lxml has no public names for the types of its nodes; the verifier of signxml declares only part of its types.

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NewType

import msgspec
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import InvalidCertificate, SignXMLException
from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier

from leadglass.base.limits import ASSERTION_BYTES_MAX

ASSERTION_NS: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
PROTOCOL_NS: Final = "urn:oasis:names:tc:SAML:2.0:protocol"
METADATA_NS: Final = "urn:oasis:names:tc:SAML:2.0:metadata"
SIGNATURE_NS: Final = "http://www.w3.org/2000/09/xmldsig#"

ASSERTION: Final = f"{{{ASSERTION_NS}}}Assertion"
ENCRYPTED_ASSERTION: Final = f"{{{ASSERTION_NS}}}EncryptedAssertion"
RESPONSE: Final = f"{{{PROTOCOL_NS}}}Response"
SIGNATURE: Final = f"{{{SIGNATURE_NS}}}Signature"

_ELEMENTS_MAX: Final = 20_000
"""A response with 1000 groups has some 2100."""
_DEPTH_MAX: Final = 64
_METHODS: Final = frozenset(
    {
        SignatureMethod.RSA_SHA256,
        SignatureMethod.RSA_SHA384,
        SignatureMethod.RSA_SHA512,
        SignatureMethod.SHA256_RSA_MGF1,
        SignatureMethod.SHA384_RSA_MGF1,
        SignatureMethod.SHA512_RSA_MGF1,
        SignatureMethod.ECDSA_SHA256,
        SignatureMethod.ECDSA_SHA384,
        SignatureMethod.ECDSA_SHA512,
    }
)
_DIGESTS: Final = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512})
_CANONICAL: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
_TRANSFORMS: Final = (f"{SIGNATURE_NS}enveloped-signature", _CANONICAL)

Verified = NewType("Verified", etree._Element)
"""An element as it was signed: parsed anew from the octets that the signature covers."""

Element = etree._Element


@dataclass(frozen=True, slots=True)
class VerifiedResponse:
    """What of a response may be read.

    Attributes:
        response: as it was signed; or, when only the assertion was, as it came: it can refuse, never persuade.
        assertion: as it was signed.
    """

    response: Element
    assertion: Verified


class XMLRefused(Exception):
    """A document is not believed: why, in words of ours; nothing of the document is in it."""


def parse(document: bytes) -> Element:
    """Return the root of a document of bounded size, depth and number of elements, with neither DTD nor entity.

    Raises:
        XMLRefused: it is something else.
    """
    if len(document) > ASSERTION_BYTES_MAX:
        raise XMLRefused("the document is too long")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False
    )
    try:
        root = etree.fromstring(document, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise XMLRefused("the document is not well-formed XML") from error
    information = root.getroottree().docinfo
    if information.internalDTD is not None or information.externalDTD is not None:
        raise XMLRefused("the document has a DTD")
    around = [*root.itersiblings(preceding=True), *root.itersiblings()]
    if any(isinstance(node, etree._ProcessingInstruction) for node in around):
        raise XMLRefused("the document has processing instructions or entities")
    depth = 0
    count = 0
    for event, node in etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        if event == "pi" or isinstance(node, etree._Entity):
            raise XMLRefused("the document has processing instructions or entities")
        if event == "comment":
            continue
        depth += 1 if event == "start" else -1
        count += 1
        if depth > _DEPTH_MAX or count > 2 * _ELEMENTS_MAX:
            raise XMLRefused("the document is too deep or has too many elements")
    return root


def verified_response(root: Element, certificates: Sequence[str], now: datetime) -> VerifiedResponse:
    """Return the one assertion of a response, as it was signed, and the response as far as it was.

    To believe it we need (1) a response with one assertion, which is its child, and no other anywhere; (2) every id
    once; (3) signatures only as children of the response or of that assertion, one of each at most and one of either
    at least; (4) each over the element it stands in, by the transforms of SAML Core 5.4.4; (5) each good under a
    certificate of the metadata. What (5) returns must be the element that (4) named.

    Args:
        root: of the response.
        certificates: PEM, of the metadata; one inside the document is never looked at.
        now: the certificate must be valid then.

    Raises:
        XMLRefused: the first of these that is not so.
    """
    if root.tag != RESPONSE:  # (1)
        raise XMLRefused("the document is no SAML response")
    if next(root.iter(ENCRYPTED_ASSERTION), None) is not None:
        raise XMLRefused("the assertion is encrypted, which is not supported: sign it, TLS encrypts it")
    assertions = list(root.iter(ASSERTION))
    if len(assertions) != 1 or assertions[0].getparent() is not root:
        raise XMLRefused(
            "the response holds another number of assertions than one, or one in the wrong place"
        )
    if len(list(root.iter(RESPONSE))) != 1:
        raise XMLRefused("the response holds another response")
    identifiers = [
        str(value)
        for element in root.iter("*")
        for name, value in element.attrib.items()
        if etree.QName(name).localname.lower() == "id"
    ]
    if len(identifiers) != len(set(identifiers)):  # (2)
        raise XMLRefused("an id stands at two elements")
    places = [root, assertions[0]]
    signatures = list(root.iter(SIGNATURE))
    signed = [place for place in places if place.find(SIGNATURE) is not None]
    if not signatures:
        raise XMLRefused("neither the response nor the assertion is signed")
    if len(signatures) != len(signed) or any(one.getparent() not in signed for one in signatures):  # (3)
        raise XMLRefused("a signature stands in the wrong place")
    believed: list[Verified] = []
    for place in signed:
        _check_form(place)  # (4)
        believed.append(_verify(root, place, certificates, now))  # (5)
    outermost = believed[0]
    if outermost.tag == ASSERTION:
        return VerifiedResponse(root, outermost)
    inside = outermost.findall(ASSERTION)
    if len(inside) != 1:
        raise XMLRefused("the signed response does not hold the assertion")
    return VerifiedResponse(outermost, Verified(inside[0]))


def _check_form(place: Element) -> None:
    signature = place.find(SIGNATURE)
    assert signature is not None
    references = list(signature.iter(f"{{{SIGNATURE_NS}}}Reference"))
    if len(references) != 1 or next(signature.iter(f"{{{SIGNATURE_NS}}}Object"), None) is not None:
        raise XMLRefused("a signature covers another number of elements than one")
    identifier = place.get("ID")
    if not identifier or references[0].get("URI") != f"#{identifier}":
        raise XMLRefused("a signature covers another element than the one it stands in")
    transforms = tuple(one.get("Algorithm") for one in references[0].iter(f"{{{SIGNATURE_NS}}}Transform"))
    canonical = signature.find(f"{{{SIGNATURE_NS}}}SignedInfo/{{{SIGNATURE_NS}}}CanonicalizationMethod")
    if transforms != _TRANSFORMS or canonical is None or canonical.get("Algorithm") != _CANONICAL:
        raise XMLRefused("a signature is made in another way than SAML allows")


def _verify(root: Element, place: Element, certificates: Sequence[str], now: datetime) -> Verified:
    # ElementPath: "./" for a child of the root, or through the assertion.
    location = "./" if place is root else f"./{ASSERTION}/"
    configuration = SignatureConfiguration(
        location=location,
        signature_methods=_METHODS,
        digest_algorithms=_DIGESTS,
        # What KeyInfo says is not looked at: the key is that of the metadata.
        ignore_ambiguous_key_info=True,
        verification_time=now,
    )
    reason = "the metadata holds no signing certificate"
    for certificate in certificates:
        try:
            found = XMLVerifier().verify(
                root, x509_cert=certificate, id_attribute="ID", expect_config=configuration
            )
        except InvalidCertificate:
            reason = "the signing certificate of the metadata has expired or is not valid yet"
        except (SignXMLException, etree.LxmlError, ValueError, TypeError, KeyError, AttributeError):
            reason = "the signature does not hold under the certificate of the metadata"
        else:
            return _as_signed(found, place)
    raise XMLRefused(reason)


def _as_signed(found: VerifyResult | list[VerifyResult], place: Element) -> Verified:
    if isinstance(found, list) or found.signed_xml is None:
        raise XMLRefused("the signature covers something else")
    element = found.signed_xml
    if element.tag != place.tag or element.get("ID") != place.get("ID"):
        raise XMLRefused("the signature covers another element")
    return Verified(element)


def text_of(element: Element | None) -> str:
    """Return all text inside an element, without the white space around it.

    All of it, not the text up to the first comment or child: that would let a comment cut a name short.
    """
    return "" if element is None else "".join(str(part) for part in element.itertext()).strip()


def time_of(element: Element, attribute: str) -> datetime | None:
    """Return an ``xs:dateTime`` in UTC; None when it is missing.

    Raises:
        XMLRefused: it cannot be read or names no zone. Source: SAML Core 1.3.3.
    """
    value = element.get(attribute)
    if value is None:
        return None
    try:
        found = msgspec.convert(value, datetime, strict=True)
    except msgspec.ValidationError as error:
        raise XMLRefused(f"{attribute} cannot be read as a time") from error
    if found.tzinfo is None:
        raise XMLRefused(f"{attribute} names no time zone")
    return found.astimezone(UTC)
