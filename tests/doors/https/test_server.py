"""The server as a client sees it, over TLS."""

import hashlib
import os
from collections.abc import Iterator

import pytest

from doors.https.running import PIECE, TOKEN, Running, running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("site")) as server:
        yield server


def test_who_is_signed_in_is_served(site: Running) -> None:
    answer = site.request("GET", "/me")
    assert (answer.status, answer.json()["principal"]) == (200, "user:alice")


def test_a_body_arrives_whole(site: Running) -> None:
    body = os.urandom(5 * 1024 * 1024 + 17)
    answer = site.request("POST", "/digest", body)
    assert (answer.status, answer.body.decode()) == (200, hashlib.sha256(body).hexdigest())


def test_an_answer_arrives_whole(site: Running) -> None:
    for query in ("?pieces=9", "?pieces=9&chunked"):
        answer = site.request("GET", "/download" + query)
        assert (answer.status, answer.body) == (200, PIECE * 9)
    assert TOKEN
