"""Token buckets, addresses, counted refusals: properties."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import REFUSALS_REMEMBERED_MAX
from leadglass.doors.https.addresses import ProxyHeader, TrustedProxies, plain_address
from leadglass.doors.https.rates import Buckets, Rate, network_of
from leadglass.doors.https.refusals import WINDOW_SECONDS, Refusals

RATES = st.builds(Rate, st.floats(0.01, 1000), st.integers(1, 500))
PAUSES = st.lists(st.floats(0, 100), max_size=60)
IPV4 = st.ip_addresses(v=4).map(str)
ADDRESSES = st.ip_addresses().map(str)


@given(RATES, PAUSES)
def test_never_more_than_the_burst_and_what_came_since(rate: Rate, pauses: list[float]) -> None:
    clock = FakeClock()
    buckets = Buckets(rate, clock)
    taken, passed = 0, 0.0
    for pause in pauses:
        clock.advance(pause)
        passed += pause
        taken += buckets.take("a") == 0
        assert taken <= rate.burst + passed * rate.per_second + 1e-3


@given(RATES)
def test_a_burst_is_granted_whole_and_the_next_after_the_wait(rate: Rate) -> None:
    clock = FakeClock()
    buckets = Buckets(rate, clock)
    assert all(buckets.take("a") == 0 for _ in range(rate.burst))
    wait = buckets.take("a")
    assert wait > 0
    assert buckets.wait("a") == pytest.approx(wait)
    assert buckets.take("b") == 0
    clock.advance(wait + 1e-6)
    assert buckets.take("a") == 0


@given(st.integers(1, 50), st.lists(st.integers(0, 500), max_size=300))
def test_memory_is_bounded_whatever_the_keys(keys_max: int, keys: list[int]) -> None:
    buckets = Buckets(Rate(1, 1), FakeClock(), keys_max)
    for key in keys:
        buckets.take(str(key))
        assert len(buckets) <= keys_max


def test_networks_are_what_one_customer_has() -> None:
    assert network_of("192.0.2.77") == "192.0.2.0/24"
    assert network_of("2001:db8:1:2ff::1") == "2001:db8:1:200::/56"
    assert network_of("") == ""


@given(ADDRESSES)
def test_every_address_is_in_its_network(address: str) -> None:
    assert ipaddress.ip_address(address) in ipaddress.ip_network(network_of(address))


# --- addresses ---------------------------------------------------------------------------------------------------


def said(value: str, name: str = "x-forwarded-for") -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1"))]


@given(IPV4, st.text(st.characters(max_codepoint=255), max_size=200))
def test_who_is_not_trusted_is_never_believed(peer: str, value: str) -> None:
    proxies = TrustedProxies(["203.0.113.0/24"])
    if not proxies.trusts(peer):
        assert proxies.client_of(peer, said(value)) == peer


@given(ADDRESSES, st.text(st.characters(max_codepoint=255), max_size=100))
@pytest.mark.parametrize("header", list(ProxyHeader))
def test_what_a_client_writes_itself_is_never_reached(header: ProxyHeader, client: str, forged: str) -> None:
    proxies = TrustedProxies(["203.0.113.0/24"], header)
    if proxies.trusts(client):
        return
    own = (
        client
        if header is ProxyHeader.X_FORWARDED_FOR
        else f'for="[{client}]"'
        if ":" in client
        else f"for={client}"
    )
    found = proxies.client_of("203.0.113.9", said(f"{forged}, {own}", header.value))
    assert found == plain_address(client)


def test_a_chain_of_proxies_is_followed_to_its_beginning() -> None:
    proxies = TrustedProxies(["10.0.0.0/8", "2001:db8::/32"])
    assert proxies.client_of("10.0.0.1", said("6.6.6.6, 192.0.2.1, 10.0.0.3, 10.0.0.2")) == "192.0.2.1"
    assert proxies.client_of("10.0.0.1", said("192.0.2.1:4711")) == "192.0.2.1"
    assert proxies.client_of("10.0.0.1", said("[2001:db9::1]:4711")) == "2001:db9::1"
    assert proxies.client_of("2001:db8::1", said("::ffff:192.0.2.1")) == "192.0.2.1"
    assert proxies.client_of("10.0.0.1", said("unknown")) == "10.0.0.1"
    assert proxies.client_of("10.0.0.1", []) == "10.0.0.1"


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "proxy.example", "10.0.0.1/8"])
def test_a_proxy_is_an_address_or_a_network_and_not_everybody(network: str) -> None:
    with pytest.raises(ConfigurationError):
        TrustedProxies([network])


# --- refusals ----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3000)), max_size=200), st.integers(0, 5))
def test_no_refusal_is_lost_and_strangers_do_not_grow_the_log(
    noted: list[tuple[str, int]], repeat: int
) -> None:
    refusals = Refusals(FakeClock())
    for reason, number in noted * (repeat + 1):
        refusals.note(reason, str(number))
    told = refusals.collect(everything=True)
    assert sum(refusal.count for refusal in told) == len(noted) * (repeat + 1)
    assert len(told) <= 2 * len(set(noted))


def test_a_flood_from_everywhere_is_told_in_a_bounded_number_of_events() -> None:
    clock = FakeClock()
    refusals = Refusals(clock)
    for number in range(50_000):
        refusals.note("too many", f"address {number}")
    now = refusals.collect()
    assert len(now) <= REFUSALS_REMEMBERED_MAX
    assert refusals.collect() == []
    clock.advance(WINDOW_SECONDS)
    later = refusals.collect()
    assert [(r.address, r.count) for r in later] == [("", 50_000 - len(now))]
