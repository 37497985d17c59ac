"""Against responses that the real samlp wrote and signed, and against what an attacker makes of them."""

import base64
import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from lxml import etree

from fake_clock import FakeClock
from leadglass.base.errors import ConfigurationError
from leadglass.trust.identity import jose
from leadglass.trust.identity.federation.models import (
    ExternalIdentity,
    SAMLSettings,
    SignedIn,
    SignInBegun,
    SignInRefused,
)
from leadglass.trust.identity.federation.saml import SAMLServiceProvider
from leadglass.trust.identity.federation.saml_xml import ASSERTION, ASSERTION_NS, PROTOCOL_NS, SIGNATURE
from trust.identity.federation.authority import KeyPair, self_signed
from trust.identity.federation.npm_peer import Peer, needs, npm_peer

pytestmark = [pytest.mark.interop, needs("samlp")]

ISSUER = "https://idp.example/saml"
ENTITY_ID = "https://pacs.example/saml"
ACS = "https://pacs.example/sign-in/saml"
GROUPS = "http://schemas.passportjs.com/groups"
NAME = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"
NS = {"saml": ASSERTION_NS, "samlp": PROTOCOL_NS, "ds": "http://www.w3.org/2000/09/xmldsig#"}
STRONG = "urn:oasis:names:tc:SAML:2.0:ac:classes:X509"


@dataclass
class Site:
    """The provider, our side, and how a response is asked for."""

    peer: Peer
    pair: KeyPair
    folder: Path
    clock: FakeClock

    def settings(self, pair: KeyPair | None = None) -> SAMLSettings:
        document = self.peer.ask(
            {"action": "metadata", "issuer": ISSUER, "certificate": str((pair or self.pair).certificate)}
        )["metadata"]
        file = self.folder / "metadata.xml"
        file.write_text(document)
        return SAMLSettings(ENTITY_ID, ACS, file, groups_attribute=GROUPS, name_attribute=NAME)

    def provider(self, **changes: Any) -> SAMLServiceProvider:  # noqa: ANN401 - fields of the settings
        return SAMLServiceProvider(replace(self.settings(), **changes), self.clock, jose.Sealer())

    def respond(self, request: dict[str, Any], **changes: object) -> bytes:
        wanted: dict[str, object] = {
            "action": "respond",
            "issuer": ISSUER,
            "certificate": str(self.pair.certificate),
            "key": str(self.pair.key),
            "audience": ENTITY_ID,
            "recipient": ACS,
            "destination": ACS,
            "inResponseTo": request["id"],
            "sign": ["assertion"],
            "person": "jdoe",
            **changes,
        }
        answer = self.peer.ask(wanted)
        assert "response" in answer, answer
        return str(answer["response"]).encode()

    def read(self, begun: SignInBegun) -> dict[str, Any]:
        """Let the provider read our request."""
        query = parse_qs(urlsplit(begun.redirect_url).query)
        found = self.peer.ask({"action": "parse", "request": query["SAMLRequest"][0]})["request"]
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with npm_peer("saml.mjs", tmp_path_factory.mktemp("samlp") / "saml.err") as made:
        yield made


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return self_signed(tmp_path_factory.mktemp("idp"), "idp")


@pytest.fixture
def site(peer: Peer, pair: KeyPair, tmp_path: Path) -> Site:
    return Site(peer, pair, tmp_path, FakeClock(datetime.now(UTC)))


def begin(provider: SAMLServiceProvider, **options: Any) -> SignInBegun:  # noqa: ANN401 - options of begin
    begun = provider.begin(**options)
    assert isinstance(begun, SignInBegun)
    return begun


def finish(provider: SAMLServiceProvider, response: bytes, begun: SignInBegun) -> SignedIn | SignInRefused:
    return provider.finish(base64.b64encode(response).decode("ascii"), begun.sealed_state)


@pytest.mark.parametrize("sign", [["assertion"], ["response"], ["assertion", "response"]])
def test_a_person_signs_in(site: Site, sign: list[str]) -> None:
    provider = site.provider()
    begun = begin(provider, return_to="/studies")
    response = site.respond(site.read(begun), sign=sign)
    outcome = finish(provider, response, begun)
    assert isinstance(outcome, SignedIn), outcome
    assert outcome.return_to == "/studies"
    identity = outcome.identity
    assert identity.auth_time is not None
    assert identity == ExternalIdentity(
        issuer=ISSUER,
        subject="jdoe",
        display_name="Jane Doe",
        groups=("radiology", "everybody"),
        acr="urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified",
        auth_time=identity.auth_time,
        session_index="_session",
    )
    assert finish(provider, response, begun) == SignInRefused("the assertion was used before")


def test_the_provider_understands_our_request(site: Site) -> None:
    begun = begin(site.provider(), context=[STRONG], force=True)
    request = site.read(begun)
    assert request.pop("id").startswith("_")
    assert request == {
        "issuer": ENTITY_ID,
        "assertionConsumerServiceURL": ACS,
        "destination": "https://idp.example/sso",
        "forceAuthn": "true",
        "requestedAuthnContext": {"authnContextClassRef": STRONG},
    }


def test_signatures_by_elliptic_curve_are_not_those_of_the_metadata(site: Site, tmp_path: Path) -> None:
    other = self_signed(tmp_path, "other")
    provider = site.provider()
    begun = begin(provider)
    response = site.respond(site.read(begun), certificate=str(other.certificate), key=str(other.key))
    assert finish(provider, response, begun) == SignInRefused(
        "the signature does not hold under the certificate of the metadata"
    )


CHANGES: list[tuple[dict[str, object], str]] = [
    ({"sign": []}, "neither the response nor the assertion is signed"),
    ({"audience": "https://other.example"}, "the assertion is for another audience"),
    ({"recipient": "https://other.example"}, "the assertion is for another recipient"),
    ({"destination": "https://other.example"}, "the response is for another destination"),
    ({"inResponseTo": "_another"}, "the response answers another request"),
    ({"issuer": "https://other.example"}, "the response is of another identity provider"),
    ({"status": "urn:oasis:names:tc:SAML:2.0:status:Responder"},
     "the identity provider answered that the sign-in failed"),
    ({"nameIdFormat": "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"},
     "the subject has another name at each sign-in: set a persistent NameID"),
    ({"signatureAlgorithm": "rsa-sha1"}, "the signature does not hold under the certificate of the metadata"),
    ({"digestAlgorithm": "sha1"}, "the signature does not hold under the certificate of the metadata"),
    ({"groups": [f"group-{n}" for n in range(1001)]}, "the assertion names more than 1000 groups"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason"), CHANGES, ids=[str(min(c)) for c, _ in CHANGES])
@pytest.mark.parametrize("sign", ["assertion", "response"])
def test_what_the_provider_says_wrong_is_refused(
    site: Site, changes: dict[str, object], reason: str, sign: str
) -> None:
    provider = site.provider()
    begun = begin(provider)
    response = site.respond(site.read(begun), **{"sign": [sign], **changes})
    assert finish(provider, response, begun) == SignInRefused(reason)


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        (-120, "the assertion is not valid yet: compare the clocks"),
        (3661, "the assertion has expired: compare the clocks"),
    ],
)
def test_an_assertion_is_good_for_its_time_only(site: Site, seconds: int, reason: str) -> None:
    site.clock.advance(seconds)
    provider = site.provider()
    begun = begin(provider)
    response = site.respond(site.read(begun), lifetime=3600)
    assert finish(provider, response, begun) == SignInRefused(reason)


def test_a_context_that_was_asked_for_must_come(site: Site) -> None:
    provider = site.provider()
    begun = begin(provider, context=[STRONG])
    request = site.read(begun)
    assert finish(provider, site.respond(request), begun) == SignInRefused(
        "the provider did not authenticate as strongly as was asked for"
    )
    outcome = finish(provider, site.respond(request, context=STRONG), begun)
    assert isinstance(outcome, SignedIn)
    assert outcome.identity.acr == STRONG


def test_a_response_that_nobody_asked_for_is_refused(site: Site) -> None:
    provider = site.provider()
    begun, other = begin(provider), begin(provider)
    response = site.respond(site.read(begun))
    assert finish(provider, response, other) == SignInRefused("the response answers another request")
    assert provider.finish(base64.b64encode(response).decode(), "") == SignInRefused(
        "this browser did not begin a sign-in, or before a restart"
    )


def tamper_name(root: Any) -> None:  # noqa: ANN401 - lxml
    root.find(".//saml:NameID", NS).text = "admin"


def tamper_group(root: Any) -> None:  # noqa: ANN401
    root.findall(".//saml:AttributeValue", NS)[-1].text = "administrators"


def drop_signature(root: Any) -> None:  # noqa: ANN401
    signature = root.find(f".//{SIGNATURE}")
    signature.getparent().remove(signature)


@pytest.mark.parametrize("change", [tamper_name, tamper_group, drop_signature])
@pytest.mark.parametrize("sign", ["assertion", "response"])
def test_a_response_that_was_changed_is_refused(site: Site, change: Callable[[Any], None], sign: str) -> None:
    provider = site.provider()
    begun = begin(provider)
    root = etree.fromstring(site.respond(site.read(begun), sign=[sign]))
    change(root)
    outcome = finish(provider, etree.tostring(root), begun)
    assert isinstance(outcome, SignInRefused)
    assert "sign" in outcome.reason


@pytest.mark.parametrize("sign", ["assertion", "response"])
def test_a_comment_does_not_cut_a_name_short(site: Site, sign: str) -> None:
    """CVE-2017-11427 and its family: the signature holds with the comment, so the whole name must be read."""
    provider = site.provider()
    begun = begin(provider)
    response = site.respond(site.read(begun), sign=[sign], person="admin.evil")
    cut = response.replace(b">admin.evil<", b">admin<!-- -->.evil<")
    assert cut != response
    outcome = finish(provider, cut, begun)
    assert isinstance(outcome, SignedIn)
    assert outcome.identity.subject == "admin.evil"


# --- signature wrapping: the eight of Somorovsky et al., "On Breaking SAML" (2012) --------------------------------


def evil(element: Any) -> Any:  # noqa: ANN401
    """Return a copy that names somebody else, with an id of its own and without a signature."""
    made = copy.deepcopy(element)
    for signature in made.findall(f".//{SIGNATURE}"):
        signature.getparent().remove(signature)
    made.find(".//saml:NameID", NS).text = "admin"
    made.set("ID", "_evil")
    if made.tag != ASSERTION:
        made.find("saml:Assertion", NS).set("ID", "_evil2")
    return made


def xsw1(root: Any) -> Any:  # noqa: ANN401
    """Evil response; its signature's sibling is the response that was signed."""
    made, signature = evil(root), root.find(SIGNATURE)
    root.remove(signature)
    signature.append(root)
    made.insert(1, signature)
    return made


def xsw2(root: Any) -> Any:  # noqa: ANN401
    made, signature = evil(root), root.find(SIGNATURE)
    root.remove(signature)
    made.insert(1, signature)
    made.insert(1, root)
    return made


def xsw3(root: Any) -> Any:  # noqa: ANN401
    root.insert(1, evil(root.find(ASSERTION)))
    return root


def xsw4(root: Any) -> Any:  # noqa: ANN401
    signed = root.find(ASSERTION)
    made = evil(signed)
    root.replace(signed, made)
    made.append(signed)
    return root


def xsw5(root: Any) -> Any:  # noqa: ANN401
    signed = root.find(ASSERTION)
    made, signature = evil(signed), signed.find(SIGNATURE)
    signed.remove(signature)
    made.insert(1, signature)
    root.replace(signed, made)
    root.append(signed)
    return root


def xsw6(root: Any) -> Any:  # noqa: ANN401
    signed = root.find(ASSERTION)
    made, signature = evil(signed), signed.find(SIGNATURE)
    signed.remove(signature)
    made.insert(1, signature)
    root.replace(signed, made)
    signature.append(signed)
    return root


def xsw7(root: Any) -> Any:  # noqa: ANN401
    extensions = etree.Element(f"{{{PROTOCOL_NS}}}Extensions")
    extensions.append(evil(root.find(ASSERTION)))
    root.insert(1, extensions)
    return root


def xsw8(root: Any) -> Any:  # noqa: ANN401
    signed = root.find(ASSERTION)
    made, signature = evil(signed), signed.find(SIGNATURE)
    signed.remove(signature)
    made.insert(1, signature)
    holder = etree.SubElement(signature, f"{{{NS['ds']}}}Object")
    root.replace(signed, made)
    holder.append(signed)
    return root


@pytest.mark.parametrize(
    ("wrap", "sign"),
    [
        (xsw1, "response"),
        (xsw2, "response"),
        (xsw3, "assertion"),
        (xsw4, "assertion"),
        (xsw5, "assertion"),
        (xsw6, "assertion"),
        (xsw7, "assertion"),
        (xsw8, "assertion"),
    ],
)
def test_signature_wrapping_is_refused(site: Site, wrap: Callable[[Any], Any], sign: str) -> None:
    provider = site.provider()
    begun = begin(provider)
    response = site.respond(site.read(begun), sign=[sign])
    wrapped = etree.tostring(wrap(etree.fromstring(response)))
    assert b"admin" in wrapped
    assert isinstance(finish(provider, wrapped, begun), SignInRefused)
    # The same response unharmed is good, so it was the wrapping that was refused.
    assert isinstance(finish(provider, response, begun), SignedIn)


def test_two_elements_of_one_id_are_refused(site: Site) -> None:
    provider = site.provider()
    begun = begin(provider)
    root = etree.fromstring(site.respond(site.read(begun)))
    twin = etree.SubElement(root, f"{{{PROTOCOL_NS}}}Extensions")
    signed = root.find(ASSERTION)
    assert signed is not None
    twin.set("ID", signed.get("ID", ""))
    assert finish(provider, etree.tostring(root), begun) == SignInRefused("an id stands at two elements")


@pytest.mark.parametrize(
    "prologue",
    [
        '<!DOCTYPE r SYSTEM "file://{canary}">',
        '<!DOCTYPE r [<!ENTITY e SYSTEM "file://{canary}">]>',
        '<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<?xml-stylesheet href="file://{canary}"?>',
    ],
)
def test_dtd_entities_and_style_sheets_are_refused(site: Site, prologue: str) -> None:
    """S71. The canary cannot be read: asking for it would block on the pipe, so nobody asked."""
    canary = site.folder / "canary"
    os.mkfifo(canary)
    provider = site.provider()
    begun = begin(provider)
    response = prologue.format(canary=canary).encode() + site.respond(site.read(begun))
    outcome = finish(provider, response, begun)
    assert isinstance(outcome, SignInRefused)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "the document is not well-formed XML"),
        (b"<a/>", "the document is no SAML response"),
        (b"<a>" * 70 + b"</a>" * 70, "the document is too deep or has too many elements"),
        (b"<a>" + b"<b/>" * 20_001 + b"</a>", "the document is too deep or has too many elements"),
    ],
)
def test_other_documents_are_refused(site: Site, document: bytes, reason: str) -> None:
    provider = site.provider()
    assert finish(provider, document, begin(provider)) == SignInRefused(reason)


def test_a_response_that_is_too_long_is_refused_unread(site: Site) -> None:
    provider = site.provider()
    begun = begin(provider)
    assert provider.finish("A" * (256 * 1024 + 1), begun.sealed_state) == SignInRefused(
        "the response is too long"
    )


def test_a_certificate_of_the_metadata_that_expired_is_named(site: Site, tmp_path: Path) -> None:
    old = self_signed(tmp_path, "old", days=-1)
    provider = SAMLServiceProvider(site.settings(old), site.clock, jose.Sealer())
    begun = begin(provider)
    response = site.respond(site.read(begun), certificate=str(old.certificate), key=str(old.key))
    assert finish(provider, response, begun) == SignInRefused(
        "the signing certificate of the metadata has expired or is not valid yet"
    )


def test_metadata_that_cannot_be_used_is_a_configuration_error(site: Site) -> None:
    settings = site.settings()
    whole = settings.metadata_file.read_text()
    for broken in (
        "",
        "<a/>",
        whole.replace("IDPSSODescriptor", "SPSSODescriptor"),
        whole.replace("https:", "http:"),
    ):
        settings.metadata_file.write_text(broken)
        with pytest.raises(ConfigurationError):
            SAMLServiceProvider(settings, site.clock, jose.Sealer())


def test_our_metadata_names_where_responses_go(site: Site) -> None:
    root = etree.fromstring(site.provider().metadata())
    assert root.get("entityID") == ENTITY_ID
    service = root.find(".//{urn:oasis:names:tc:SAML:2.0:metadata}AssertionConsumerService")
    assert service is not None
    assert service.get("Location") == ACS


def test_an_algorithm_that_is_not_that_of_the_key_is_refused(site: Site, tmp_path: Path) -> None:
    curve = self_signed(tmp_path, "curve", key=ec.generate_private_key(ec.SECP256R1()))
    provider = SAMLServiceProvider(site.settings(curve), site.clock, jose.Sealer())
    begun = begin(provider)
    response = site.respond(site.read(begun))
    assert isinstance(finish(provider, response, begun), SignInRefused)
