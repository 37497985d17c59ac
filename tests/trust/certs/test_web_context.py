"""The context of HTTPS: as strict as that of DIMSE, but for people, who bring no certificate."""

import ssl
from pathlib import Path

import pytest

from leadglass.base.errors import IntegrityError
from leadglass.trust.certs.tls import TLSFacts, web_context
from trust.certs.loopback import Site, meet


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_it_differs_from_the_context_of_dimse_in_what_it_asks_of_clients_only(site: Site) -> None:
    web, dimse = web_context(site.node_credentials, site.authority.certificate_pem), site.server()
    assert (web.verify_mode, dimse.verify_mode) == (ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED)
    assert web.get_ciphers() == dimse.get_ciphers()
    assert (web.options, web.verify_flags) == (dimse.options, dimse.verify_flags)
    assert (web.minimum_version, web.num_tickets) == (ssl.TLSVersion.TLSv1_2, 0)
    assert web.get_ca_certs() == dimse.get_ca_certs()


def test_with_and_without_a_certificate(site: Site) -> None:
    context = web_context(site.node_credentials, site.authority.certificate_pem)
    person = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    person.load_verify_locations(cadata=site.authority.certificate_pem.decode())
    facts = meet(context, person).server
    assert isinstance(facts, TLSFacts)
    assert facts.certificate_sha256 == ""
    workstation = site.authority.issue_device("ws1")
    facts = meet(context, site.client(workstation)).server
    assert isinstance(facts, TLSFacts)
    assert facts.certificate_sha256 == workstation.facts.sha256


def test_a_certificate_of_somebody_else_is_refused(site: Site) -> None:
    context = web_context(site.node_credentials, site.authority.certificate_pem)
    assert not isinstance(meet(context, site.client(site.other_authority())).server, TLSFacts)


def test_a_site_may_not_ask(site: Site) -> None:
    context = web_context(site.node_credentials, site.authority.certificate_pem, client_certificates=False)
    facts = meet(context, site.client(site.authority.issue_device("ws1"))).server
    assert isinstance(facts, TLSFacts)
    assert facts.certificate_sha256 == ""


def test_a_torn_key_makes_no_context(site: Site) -> None:
    site.node_credentials.key_path.write_bytes(b"torn")
    with pytest.raises(IntegrityError):
        web_context(site.node_credentials, site.authority.certificate_pem)
