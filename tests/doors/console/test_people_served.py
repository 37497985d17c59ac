"""People at a node that runs, over TLS, from the machine's console to their own session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from doors.console.signed_in import API, People
from running_node import site


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    folder: Path = tmp_path_factory.mktemp("people")
    with site(folder) as made:
        made.start()
        with People(made) as everybody:
            yield everybody


def test_from_the_console_token_to_administration(people: People) -> None:
    officer = people.first_administrator()
    me = officer.ok("GET", f"{API}/me")
    assert me["principal"] == "user:officer"
    assert me["roles"] == ["security-officer"]
    assert me["factors"] == ["totp"]

    admin = people.add("admin", "pacs-administrator")
    made = admin.ok("POST", f"{API}/accounts", {"account": "late", "display_name": "Late Comer", "roles": []})
    assert made["account"]["account"] == "late"
    assert admin.put(f"{API}/accounts/late/roles", {"roles": ["radiologist"]}).status_code == 403
    changed = officer.ok("PUT", f"{API}/accounts/late/roles", {"roles": ["radiologist"]})
    assert changed["roles"] == ["radiologist"]

    reader = people.add("reader", "radiologist", second_factor=False)
    assert reader.ok("GET", f"{API}/me")["factors"] == []
    assert reader.get(f"{API}/accounts").status_code == 403
    assert reader.get("/dicom-web/studies").status_code == 204

    assert people.site.on_site("user", "disable", "reader", "--reason", "left")["user"]["disabled"]
    assert reader.get(f"{API}/me").status_code == 401
