"""A planted patient, and a password in the wrong field, are found nowhere in the clear after they came over HTTPS.

Attacks S32, S33, S47. Beside ``faults.test_canary``: the same search, for what the HTTPS side takes and says.
"""

import json
import urllib.parse
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from doors.console.signed_in import API, People, browser
from faults.test_canary import ACCESSION, COMMENT, NAME, PATIENT_ID, PLANTED, hits, needles
from hostile.web import WEB, Held, part10, workitem_of
from running_node import Site, site

pytestmark = pytest.mark.slow

SECRET: Final = "Wrongfieldpassphrase77"
HOSTILE: Final = (
    f"{NAME}\r\nX-Injected: 1",
    f'{NAME}","level":"admin","x":"',
    f"{NAME}\x1b[2J\x1b]0;owned\x07",
    f"{NAME}] <14>1 injected",
    f"{NAME}\u2028\u202e\x00",
    f"${{{NAME}}} $({NAME}) %s%n {NAME}",
)
_HELD: Final = Held("canary", 41, more=PLANTED)


def _talk(node: Site, device: httpx2.Client, people: People) -> list[str]:
    said: list[str] = []

    def ask(client: httpx2.Client, method: str, path: str, **given: Any) -> httpx2.Response:  # noqa: ANN401
        answer = client.request(method, path, **given)
        assert answer.status_code < 500, (method, answer.status_code)
        said.append(str(dict(answer.headers)))
        return answer

    dicom = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    assert ask(device, "POST", f"{WEB}/studies", content=part10(_HELD), headers=dicom).status_code == 200
    ask(device, "POST", f"{WEB}/studies", content=part10(_HELD)[:700], headers=dicom)
    ask(device, "POST", f"{WEB}/studies/{NAME}", content=part10(_HELD), headers=dicom)
    reader = people.add("reader", "radiologist", second_factor=True).client
    for text in (NAME, PATIENT_ID, ACCESSION, COMMENT, *HOSTILE):
        quoted = urllib.parse.quote(text)
        for path in (
            f"{WEB}/studies?PatientName={quoted}*",
            f"{WEB}/studies?PatientID={quoted}&includefield=all",
            f"{WEB}/studies?{quoted}=1",
            f"{WEB}/studies/{quoted}/metadata",
            f"{WEB}/workitems/{quoted}",
            f"{WEB}/workitems?PatientName={quoted}",
            f"/{quoted}/{quoted}",
            f"/wado?requestType=WADO&studyUID={quoted}",
            f"{_HELD.path}/rendered?annotation={quoted}",
            f"{_HELD.path}/frames/{quoted}",
            f"{API}/accounts/{quoted}",
        ):
            ask(reader, "GET", path)
    for path in ("/metadata", "/rendered?annotation=patient,technique", "/thumbnail", "/frames/1", ""):
        assert ask(reader, "GET", _HELD.path + path).status_code == 200
    planned = workitem_of(_HELD) | {"00100010": {"vr": "PN", "Value": [{"Alphabetic": NAME}]}}
    body = json.dumps(planned)
    json_type = {"Content-Type": "application/dicom+json"}
    made = ask(reader, "POST", f"{WEB}/workitems?{_HELD.workitem}", content=body, headers=json_type)
    assert made.status_code == 201
    ask(reader, "POST", f"{WEB}/workitems?{_HELD.workitem}", content=body[:-9], headers=json_type)
    for text in (NAME, *HOSTILE):
        asked = {"study_uid": _HELD.study, "patient_id": "", "justification": text, "reason": text}
        ask(reader, "POST", f"{API}/break-glass", json=asked)
        ask(reader, "POST", f"{API}/break-glass", json={"study": _HELD.study, "justification": text})
    with browser(node) as stranger:
        for account, password in (
            (SECRET, "x"),
            (f"reader {SECRET}", "x"),
            ("reader", SECRET),
            (SECRET, SECRET),
        ):
            ask(stranger, "POST", f"{API}/sign-in", json={"account": account, "password": password})
        ask(stranger, "POST", f"{API}/invitation", json={"token": SECRET, "password": SECRET})
        ask(stranger, "POST", f"{API}/sign-in?password={SECRET}", json={"account": "reader", "password": "y"})
        ask(stranger, "GET", f"{WEB}/studies?access_token={SECRET}")
    administrator = people.add("administrator", "pacs-administrator").client
    for text in (NAME, *HOSTILE):
        reason = {"Deletion-Reason": urllib.parse.quote(text)}
        ask(administrator, "DELETE", f"{WEB}/studies/{_HELD.study}", headers=reason)
    return said


def test_planted_patient_is_found_nowhere_after_https(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with site(tmp_path) as node:
        node.environment["TMPDIR"] = str(temporary)
        settings = node.root / "leadglass.toml"
        settings.write_text(settings.read_text().replace("[web]\n", "[web]\naccess_log = true\n"))
        files = node.enrol("ct1", "CT1", ["store"])
        said = [str(node.start())]
        device = browser(node, certificate=(str(files.certificate), str(files.key)))
        with People(node) as people, device:
            people.first_administrator()
            said += _talk(node, device, people)
        for arguments in (
            ("status", "--json"),
            ("audit", "show", "--limit", "500", "--json"),
            ("user", "list"),
        ):
            done = node.run(*arguments, "--site", str(node.root))
            said += [done.stdout, done.stderr]
        assert node.process is not None
        assert hits(node.root) == []
        node.stop()
        details = node.run("audit", "show", "--limit", "500", "--details", "--site", str(node.root), "--json")
        assert NAME in details.stdout, "it is on record, for whoever unseals it"
    log = (tmp_path / "serve.err").read_text()
    lines = log.splitlines()
    assert len(lines) > 100
    for line in lines:
        entry = json.loads(line)  # each is one record, whatever was sent
        assert set(entry) == {"method", "route", "status", "ms", "octets", "correlation_id"}, line
        assert line.isascii()
        assert line.isprintable()
    said.append(log)
    assert hits(node.root) == []
    assert hits(temporary) == []
    text = "\n".join(said).encode()
    assert [needle for needle in needles() if needle in text] == []
    secret = SECRET.encode()
    assert secret not in text
    written = [path for path in (*node.root.rglob("*"), *temporary.rglob("*")) if path.is_file()]
    assert [path.name for path in written if secret in path.read_bytes()] == []
