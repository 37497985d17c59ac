"""What every ``KeyEncryptionProvider`` must do. A provider's test inherits the suite and gives its fixtures."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from leadglass.base.errors import KeyUnavailable, LeadglassError
from leadglass.base.secret import Secret
from leadglass.trust.keys.interfaces import KeyEncryptionProvider

CONTEXT = {"purpose": "tenant-kek", "tenant": "00" * 16, "version": "1"}
KEY = bytes(range(32))

few = settings(max_examples=40, deadline=None)


class KEKProviderSuite:
    """One contract, every provider."""

    @pytest.fixture
    def provider(self) -> KeyEncryptionProvider:
        """Give a provider with a root key of its own."""
        raise NotImplementedError

    @pytest.fixture
    def restarted(self) -> Callable[[], KeyEncryptionProvider]:
        """Give what opens the root key of ``provider`` again, as after a restart."""
        raise NotImplementedError

    @pytest.fixture
    def other(self) -> KeyEncryptionProvider:
        """Give a provider with another root key."""
        raise NotImplementedError

    def test_a_wrapped_key_comes_back(self, provider: KeyEncryptionProvider) -> None:
        # A property inside the test: hypothesis does not like one that several classes inherit.
        @few
        @given(key=st.binary(min_size=16, max_size=128))
        def comes_back(key: bytes) -> None:
            assert provider.unwrap(provider.wrap(Secret(key), CONTEXT), CONTEXT).reveal() == key

        comes_back()

    @pytest.mark.parametrize("size", [32, 80])
    def test_the_sizes_that_the_ledger_uses_come_back(
        self, provider: KeyEncryptionProvider, size: int
    ) -> None:
        key = bytes(range(size))
        wrapped = provider.wrap(Secret(key), CONTEXT)
        assert provider.unwrap(wrapped, CONTEXT).reveal() == key
        assert key not in wrapped

    @pytest.mark.parametrize("size", [0, 15, 129])
    def test_what_is_no_key_is_refused(self, provider: KeyEncryptionProvider, size: int) -> None:
        with pytest.raises(LeadglassError):
            provider.wrap(Secret(bytes(size)), CONTEXT)

    @pytest.mark.parametrize(
        "context",
        [
            {},
            {**CONTEXT, "version": "2"},
            {**CONTEXT, "more": ""},
            {k: v for k, v in CONTEXT.items() if k != "version"},
            {**CONTEXT, "tenant": CONTEXT["tenant"] + "\0"},
            {"purpose": CONTEXT["tenant"], "tenant": CONTEXT["purpose"], "version": "1"},
        ],
    )
    def test_another_context_is_refused(
        self, provider: KeyEncryptionProvider, context: dict[str, str]
    ) -> None:
        with pytest.raises(KeyUnavailable):
            provider.unwrap(provider.wrap(Secret(KEY), CONTEXT), context)

    def test_the_order_of_a_context_does_not_matter(self, provider: KeyEncryptionProvider) -> None:
        turned = dict(reversed(CONTEXT.items()))
        assert provider.unwrap(provider.wrap(Secret(KEY), CONTEXT), turned).reveal() == KEY

    def test_each_flipped_bit_is_refused(self, provider: KeyEncryptionProvider) -> None:
        wrapped = provider.wrap(Secret(KEY), CONTEXT)
        for bit in range(len(wrapped) * 8):
            changed = bytearray(wrapped)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(KeyUnavailable):
                provider.unwrap(bytes(changed), CONTEXT)

    def test_each_cut_and_each_addition_is_refused(self, provider: KeyEncryptionProvider) -> None:
        wrapped = provider.wrap(Secret(KEY), CONTEXT)
        for changed in [wrapped[:n] for n in range(len(wrapped))] + [wrapped + bytes(n) for n in (1, 8, 16)]:
            with pytest.raises(KeyUnavailable):
                provider.unwrap(changed, CONTEXT)

    def test_another_root_is_refused(
        self, provider: KeyEncryptionProvider, other: KeyEncryptionProvider
    ) -> None:
        assert provider.provider_id != other.provider_id
        with pytest.raises(KeyUnavailable):
            other.unwrap(provider.wrap(Secret(KEY), CONTEXT), CONTEXT)

    def test_a_restart_changes_nothing(
        self, provider: KeyEncryptionProvider, restarted: Callable[[], KeyEncryptionProvider]
    ) -> None:
        wrapped = provider.wrap(Secret(KEY), CONTEXT)
        again = restarted()
        assert again.provider_id == provider.provider_id
        assert again.unwrap(wrapped, CONTEXT).reveal() == KEY

    def test_threads_share_it(self, provider: KeyEncryptionProvider) -> None:
        def round_trip(number: int) -> bool:
            key = number.to_bytes(32, "big")
            context = {**CONTEXT, "version": str(number)}
            return provider.unwrap(provider.wrap(Secret(key), context), context).reveal() == key

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(round_trip, range(400)))

    def test_no_two_wraps_share_key_stream(self, provider: KeyEncryptionProvider) -> None:
        """Under a repeated key stream the XOR of two blobs shows the XOR of two keys somewhere."""

        @few
        @given(
            first=st.binary(min_size=32, max_size=32),
            second=st.binary(min_size=32, max_size=32),
            versions=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        )
        def share_nothing(first: bytes, second: bytes, versions: tuple[int, int]) -> None:
            assume(first != second)
            one, two = (
                provider.wrap(Secret(key), {**CONTEXT, "version": str(version)})
                for key, version in zip((first, second), versions, strict=True)
            )
            difference = bytes(a ^ b for a, b in zip(one, two, strict=True))
            keys = bytes(a ^ b for a, b in zip(first, second, strict=True))
            assert keys not in difference
            # Two keys that differ in one place only must not leave the rest of the blobs alike either.
            assert difference.count(0) < len(difference) // 4

        share_nothing()

    def test_nothing_it_says_holds_the_key(
        self, provider: KeyEncryptionProvider, other: KeyEncryptionProvider
    ) -> None:
        wrapped = provider.wrap(Secret(KEY), CONTEXT)
        with pytest.raises(KeyUnavailable) as caught:
            other.unwrap(wrapped, CONTEXT)
        said = " ".join([repr(provider), str(provider), repr(caught.value), repr(provider.facts())])
        for form in (KEY.hex(), repr(KEY), repr(KEY)[2:-1]):
            assert form not in said
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    def test_its_facts_are_told(self, provider: KeyEncryptionProvider) -> None:
        facts = provider.facts()
        assert provider.provider_id.startswith(f"{facts.kind}:")
        assert facts.location
        assert facts.protects
        assert facts.does_not_protect
