"""The open keys of a site, as compose hands them out."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_clock import FakeClock
from leadglass.base.errors import AuditUnavailable, IntegrityError, KeyUnavailable
from leadglass.base.ids import UID
from leadglass.trust.audit.interfaces import EventCode, PayloadCipher
from leadglass.trust.identity.interfaces import FileAuthenticator
from leadglass.trust.keys import ring
from leadglass.trust.keys.interfaces import KeyRing, RowCipher, Tokeniser
from leadglass.trust.keys.providers.key_file import KeyFileProvider
from leadglass.trust.keys.ring import SiteKeys, create_site_keys, open_site_keys
from leadglass.trust.keys.signer import note_verifier

STUDY = UID("1.2.840.113619.2.55.1")


@pytest.fixture
def provider(tmp_path: Path) -> KeyFileProvider:
    return KeyFileProvider.create(tmp_path / "root.key")


@pytest.fixture
def keys(tmp_path: Path, provider: KeyFileProvider) -> Iterator[SiteKeys]:
    made = create_site_keys(tmp_path / "keys.db", provider, FakeClock())
    yield made
    made.close()


@pytest.fixture
def stranger(tmp_path: Path, provider: KeyFileProvider) -> Iterator[SiteKeys]:
    made = create_site_keys(tmp_path / "stranger.db", provider, FakeClock())
    yield made
    made.close()


def test_it_is_what_the_other_rooms_ask_for(keys: SiteKeys) -> None:
    key_ring: KeyRing = keys
    rows: RowCipher = keys
    tokens: Tokeniser = keys
    audit: PayloadCipher = keys.audit_cipher
    files: FileAuthenticator = keys.authenticator("devices")
    assert len(key_ring.tenant_id) == 16
    assert {rows.seal_row, tokens.token} == {keys.seal_row, keys.token}
    assert audit.token("patient", "1") != tokens.token("patient", "1")
    assert len(files.tag(b"")) == 32


def test_everything_is_the_same_after_a_restart(
    keys: SiteKeys, tmp_path: Path, provider: KeyFileProvider
) -> None:
    key = keys.study_key(STUDY)
    row = keys.seal_row(key.key_id, b"row", b"place")
    payload = keys.audit_cipher.seal_payload(b"payload", b"place")
    tag = keys.authenticator("devices").tag(b"file")
    again = open_site_keys(tmp_path / "keys.db", provider, FakeClock())
    same = again.study_key(STUDY)
    assert again.tenant_id == keys.tenant_id
    assert (same.key_id, same.generation) == (key.key_id, key.generation) == (key.key_id, 1)
    assert same.object_key(b"o" * 16, 1, 1) == key.object_key(b"o" * 16, 1, 1)
    assert again.by_id(key.key_id) is same
    assert again.open_row(key.key_id, row, b"place") == b"row"
    assert again.audit_cipher.open_payload(payload, b"place") == b"payload"
    assert again.audit_cipher.token("study", STUDY) == keys.audit_cipher.token("study", STUDY)
    assert again.token("PatientID", "1") == keys.token("PatientID", "1")
    assert again.database_key("index").reveal() == keys.database_key("index").reveal()
    assert again.checkpoint_signer().public_key == keys.checkpoint_signer().public_key
    again.authenticator("devices").check(b"file", tag)
    again.close()


def test_two_sites_share_nothing(keys: SiteKeys, stranger: SiteKeys) -> None:
    """Even under the same root key."""
    assert keys.tenant_id != stranger.tenant_id
    assert keys.token("PatientID", "1") != stranger.token("PatientID", "1")
    assert keys.database_key("index").reveal() != stranger.database_key("index").reveal()
    assert keys.checkpoint_signer().public_key != stranger.checkpoint_signer().public_key
    key = keys.study_key(STUDY)
    with pytest.raises(KeyUnavailable):
        stranger.by_id(key.key_id)
    with pytest.raises(IntegrityError):
        stranger.audit_cipher.open_payload(keys.audit_cipher.seal_payload(b"x", b""), b"")


def test_purposes_share_nothing(keys: SiteKeys) -> None:
    made = [
        keys.database_key("index").reveal(),
        keys.database_key("jobs").reveal(),
        keys.authenticator("devices").tag(b""),
        keys.authenticator("users").tag(b""),
        keys.checkpoint_signer("ed25519").public_key,
        keys.checkpoint_signer("ecdsa-p256").public_key,
    ]
    assert len(set(made)) == len(made)
    assert {len(made[0]), len(made[1])} == {32}
    assert made[0].hex() not in repr(keys.database_key("index"))


def test_a_row_opens_under_its_study_and_in_its_place_only(keys: SiteKeys) -> None:
    one, two = keys.study_key(STUDY).key_id, keys.study_key(UID("1.2")).key_id
    sealed = keys.seal_row(one, b"DOE^JANE", b"study:1")
    assert b"DOE" not in sealed
    assert keys.open_row(one, sealed, b"study:1") == b"DOE^JANE"
    for key_id, associated in ((two, b"study:1"), (one, b"study:2")):
        with pytest.raises(IntegrityError):
            keys.open_row(key_id, sealed, associated)
    with pytest.raises(KeyUnavailable):
        keys.open_row(b"x" * 16, sealed, b"study:1")


def test_tokens_follow_value_and_field(keys: SiteKeys) -> None:
    @settings(max_examples=30, deadline=None)
    @given(one=st.tuples(st.sampled_from("ab"), st.text()), two=st.tuples(st.sampled_from("ab"), st.text()))
    def follow(one: tuple[str, str], two: tuple[str, str]) -> None:
        assert (keys.token(*one) == keys.token(*two)) == (one == two)
        assert len(keys.token(*one)) == 16

    follow()


def test_a_tag_of_another_file_is_refused(keys: SiteKeys) -> None:
    devices = keys.authenticator("devices")
    tag = devices.tag(b"file")
    devices.check(b"file", tag)
    for data, wrong in ((b"fil3", tag), (b"file", tag[:16]), (b"file", b""), (b"file", tag[::-1])):
        with pytest.raises(IntegrityError):
            devices.check(data, wrong)
    with pytest.raises(IntegrityError):
        keys.authenticator("users").check(b"file", tag)


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256"])
def test_checkpoints_are_verified_by_the_public_key_alone(keys: SiteKeys, algorithm: str) -> None:
    signer = keys.checkpoint_signer("ecdsa-p256" if algorithm == "ecdsa-p256" else "ed25519")
    verifier = note_verifier(signer.algorithm, signer.public_key)
    assert verifier.verify(b"checkpoint", signer.sign(b"checkpoint"))
    assert not verifier.verify(b"checkpoint2", signer.sign(b"checkpoint"))


def test_threads_that_ask_for_the_same_new_study_get_the_same_key(keys: SiteKeys) -> None:
    studies = [UID(f"1.2.{n % 10}") for n in range(200)]
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(keys.study_key, studies))
    by_study = dict(zip(studies, made, strict=True))
    assert all(key is by_study[study] for study, key in zip(studies, made, strict=True))
    assert len({key.key_id for key in made}) == 10
    assert not list(keys.verify())


def test_open_keys_are_bounded_and_come_back(keys: SiteKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "STUDY_KEYS_OPEN_MAX", 3)
    first = keys.study_key(STUDY)
    for n in range(5):
        keys.study_key(UID(f"1.2.{n}"))
    assert (len(keys._by_id), len(keys._by_uid)) == (3, 3)
    again = keys.study_key(STUDY)
    assert again is not first
    assert again.key_id == first.key_id
    assert again.pack_key(b"p" * 16) == first.pack_key(b"p" * 16)
    assert keys.by_id(first.key_id) is again


def test_a_key_in_use_is_not_the_one_that_goes(keys: SiteKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "STUDY_KEYS_OPEN_MAX", 3)
    first = keys.study_key(STUDY)
    for n in range(5):
        keys.study_key(UID(f"1.2.{n}"))
        assert keys.study_key(STUDY) is first


class Listener:
    """Keeps what it is told, until it refuses."""

    def __init__(self) -> None:
        self.told: list[tuple[EventCode, dict[str, str | int]]] = []
        self.refuse = False

    def __call__(self, code: EventCode, facts: Mapping[str, str | int]) -> None:
        if self.refuse:
            raise AuditUnavailable("full")
        self.told.append((code, dict(facts)))


def test_a_new_key_is_told_once_and_without_the_study(keys: SiteKeys) -> None:
    listener = Listener()
    keys.study_key(UID("1.1"))  # before anybody listens
    keys.on_event(listener)
    key = keys.study_key(STUDY)
    keys.study_key(STUDY)
    keys.by_id(key.key_id)
    assert listener.told == [(EventCode.KEY_CREATED, {"key_id": key.key_id.hex(), "generation": 1})]


def test_where_audit_refuses_there_is_no_key(keys: SiteKeys) -> None:
    listener = Listener()
    keys.on_event(listener)
    listener.refuse = True
    for _ in range(2):
        with pytest.raises(AuditUnavailable):
            keys.study_key(STUDY)
    listener.refuse = False
    key = keys.study_key(STUDY)
    assert listener.told == [(EventCode.KEY_CREATED, {"key_id": key.key_id.hex(), "generation": 1})]


def test_a_failure_is_told_and_raised_even_where_audit_refuses(keys: SiteKeys) -> None:
    listener = Listener()
    keys.on_event(listener)
    with pytest.raises(KeyUnavailable):
        keys.by_id(b"x" * 16)
    assert listener.told == [(EventCode.KEY_FAILED, {"during": "by_id", "key_id": (b"x" * 16).hex()})]
    listener.refuse = True
    with pytest.raises(KeyUnavailable):
        keys.by_id(b"x" * 16)


def test_a_ledger_that_cannot_be_written_gives_no_key(keys: SiteKeys) -> None:
    listener = Listener()
    keys.on_event(listener)
    keys._ledger._db.execute("PRAGMA query_only = 1")
    with pytest.raises(KeyUnavailable):
        keys.study_key(STUDY)
    assert [code for code, _ in listener.told] == [EventCode.KEY_FAILED]
    keys._ledger._db.execute("PRAGMA query_only = 0")
    keys.study_key(STUDY)


def test_it_does_not_show_itself(keys: SiteKeys) -> None:
    assert repr(keys) == f"SiteKeys(tenant {keys.tenant_id.hex()})"


def test_a_site_seal_opens_only_what_its_purpose_sealed(tmp_path: Path) -> None:
    keys = create_site_keys(tmp_path / "ledger", KeyFileProvider.create(tmp_path / "root"), FakeClock())
    worklist, identity = keys.site_seal("worklist"), keys.site_seal("identity")
    sealed = worklist.seal_payload(b"plain", b"row")
    assert b"plain" not in sealed
    assert keys.site_seal("worklist").open(sealed, b"row") == b"plain"
    for seal, associated in ((identity, b"row"), (worklist, b"other")):
        with pytest.raises(IntegrityError):
            seal.open_payload(sealed, associated)
    keys.close()
