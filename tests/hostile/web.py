"""A whole node in the process of the test, with studies of several sources and somebody of every role in front of it.

It is composed as ``leadglass serve`` composes it: real doors on real ports, real TLS, real databases. That it runs in the
test's own process lets a test give relations, read the log and fill a disk without a way in of its own.
"""

import ssl
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx2

from doors.console.signed_in import API, PASSWORD, Person
from hostile.peer import CT, EXPLICIT, Slice, explicit
from leadglass.app.compose import Node, init_site, open_node, operator
from leadglass.app.config.settings import DimseSettings, Settings, SiteSettings, WebSettings, ZoneSettings
from leadglass.app.operations import SERVED_OPERATIONS
from leadglass.app.server import Server
from leadglass.app.site import SitePaths
from leadglass.archive.administration.people import NewAccount
from leadglass.base.secret import Secret
from leadglass.store.index.interfaces import Relation, RelationEntry
from leadglass.trust.audit.interfaces import RecordedEvent
from leadglass.trust.identity.models import AccountKind
from running_node import DeviceFiles, Site

ROOT: Final = "1.2.826.0.1.3680043.10.997"
WEB: Final = "/dicom-web"
REMOTE: Final = "127.66.0.1"
"""An address of this machine that the site's settings call remote."""
PASSCODE: Final = "four crates of ripe quinces"
SIDE: Final = 16


@dataclass(frozen=True)
class Held:
    """A study of one picture of 16 x 16, 8 bit."""

    name: str
    number: int
    source: str = "ct1"
    institution: str = "North Hospital"
    referring: str = ""
    modality: str = "CT"
    deidentified: bool = False
    more: tuple[tuple[int, str, bytes], ...] = ()

    @property
    def study(self) -> str:
        return f"{ROOT}.{self.number}"

    @property
    def series(self) -> str:
        return f"{self.study}.1"

    @property
    def instance(self) -> str:
        return f"{self.study}.1.1"

    @property
    def workitem(self) -> str:
        return f"{ROOT}.9000.{self.number}"

    @property
    def patient(self) -> str:
        return f"PID-{self.number}"

    @property
    def path(self) -> str:
        return f"{WEB}/studies/{self.study}/series/{self.series}/instances/{self.instance}"

    @property
    def dataset(self) -> bytes:
        elements: dict[int, tuple[str, bytes]] = {
            0x00080016: ("UI", CT.encode()),
            0x00080018: ("UI", self.instance.encode()),
            0x00080020: ("DA", b"20260102"),
            0x00080050: ("SH", f"ACC-{self.number}".encode()),
            0x00080060: ("CS", self.modality.encode()),
            0x00080080: ("LO", self.institution.encode()),
            0x00080090: ("PN", self.referring.encode()),
            0x00100010: ("PN", b"Hostile^Anna"),
            0x00100020: ("LO", self.patient.encode()),
            0x0020000D: ("UI", self.study.encode()),
            0x0020000E: ("UI", self.series.encode()),
            0x00200013: ("IS", b"1"),
            0x00280002: ("US", struct.pack("<H", 1)),
            0x00280004: ("CS", b"MONOCHROME2"),
            0x00280010: ("US", struct.pack("<H", SIDE)),
            0x00280011: ("US", struct.pack("<H", SIDE)),
            0x00280100: ("US", struct.pack("<H", 8)),
            0x00280101: ("US", struct.pack("<H", 8)),
            0x00280102: ("US", struct.pack("<H", 7)),
            0x00280103: ("US", struct.pack("<H", 0)),
            0x00281050: ("DS", b"128"),
            0x00281051: ("DS", b"256"),
        }
        if self.deidentified:
            elements[0x00120062] = ("CS", b"YES")
        elements |= {tag: (vr, value) for tag, vr, value in self.more}
        body = b"".join(explicit(tag, vr, value) for tag, (vr, value) in sorted(elements.items()))
        return body + explicit(0x7FE00010, "OB", bytes(range(256)))

    @property
    def slice(self) -> Slice:
        return Slice(self.instance, self.study, self.series, self.dataset)


STUDIES: Final = (
    Held("plain", 1),
    Held("other device", 2, source="mr1", institution="South Hospital", modality="MR"),
    Held("referred", 3, referring="Smith^John"),
    Held("treated", 4),
    Held("deidentified", 5, deidentified=True),
    Held("emergency", 6),
)
MISSING: Final = Held("missing", 99)
ALL: Final = frozenset(held.name for held in STUDIES)
OF_CT1: Final = ALL - {"other device"}
NONE: Final = frozenset[str]()


def part10(image: Held) -> bytes:
    """Return the object as a file. Source: PS3.10 7.1."""
    meta = b"".join(
        (
            explicit(0x00020001, "OB", b"\0\x01"),
            explicit(0x00020002, "UI", CT.encode()),
            explicit(0x00020003, "UI", image.instance.encode()),
            explicit(0x00020010, "UI", EXPLICIT.encode()),
            explicit(0x00020012, "UI", b"1.2.3.4"),
        )
    )
    head = explicit(0x00020000, "UL", struct.pack("<I", len(meta)))
    return bytes(128) + b"DICM" + head + meta + image.dataset


@dataclass
class WebNode:
    """The node, and what is needed to come in.

    Attributes:
        site: where ``hostile.peer`` finds its DICOM port.
    """

    folder: Path
    node: Node
    server: Server
    site: Site
    devices: dict[str, DeviceFiles] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    _clients: list[httpx2.Client] = field(default_factory=list)
    _places: int = 1

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.site.https_port}"

    def client(
        self,
        *,
        device: DeviceFiles | None = None,
        address: str = "",
        headers: Mapping[str, str] | None = None,
        seconds: float = 60,
    ) -> httpx2.Client:
        """Return a client that trusts the node, from an address of its own.

        Args:
            device: whose certificate it shows.
            address: of 127.0.0.0/8 that it comes from; empty: one that nobody else has, as rates are by address.
            headers: with every request.
            seconds: that it waits.
        """
        context = ssl.create_default_context(cafile=self.node.paths.authority)
        if device is not None:
            context.load_cert_chain(device.certificate, device.key)
        if not address:
            self._places += 1
            address = f"127.0.{self._places // 200}.{self._places % 200 + 2}"
        made = httpx2.Client(
            base_url=self.origin,
            transport=httpx2.HTTPTransport(verify=context, local_address=address, trust_env=False),
            trust_env=False,
            timeout=seconds,
            headers=headers or {},
        )
        self._clients.append(made)
        return made

    def browser(self, *, address: str = "", device: DeviceFiles | None = None) -> httpx2.Client:
        """Return a client that says what a page of the node would say."""
        said = {"Origin": self.origin, "X-Leadglass-CSRF": "1"}
        return self.client(address=address, device=device, headers=said)

    def enrol(self, device_id: str, ae_title: str, *roles: str) -> DeviceFiles:
        """Enrol a device of this machine."""
        folder = self.folder / "devices"
        folder.mkdir(exist_ok=True)
        asked: dict[str, Any] = {
            "device_id": device_id,
            "ae_title": ae_title,
            "roles": list(roles),
            "networks": ["127.0.0.0/8"],
            "host": "",
            "port": 0,
            "move_destination": False,
            "csr": "",
            "out": str(folder),
            "node_host": "localhost",
        }
        SERVED_OPERATIONS["device-enrol"](self.node, asked, lambda _done, _total: None)
        self.devices[device_id] = DeviceFiles(device_id, ae_title, folder)
        return self.devices[device_id]

    def add(self, account: str, *roles: str, second_factor: bool = True, **more: Any) -> Person:  # noqa: ANN401
        """Make an account, redeem its invitation over HTTPS, and sign in."""
        person = self.invited(account, *roles, **more)
        person.sign_in(second_factor=second_factor)
        return person

    def invited(
        self,
        account: str,
        *roles: str,
        address: str = "",
        passcode: str = "",
        **more: Any,  # noqa: ANN401
    ) -> Person:
        """The same, without signing in; with a passcode for associations, if one is given."""
        new = NewAccount(account, account, roles, **more)
        secret = Secret(passcode.encode()) if passcode else None
        _, invitation = self.node.people.create(operator(), new, secret)
        assert invitation is not None
        person = Person(account, self.browser(address=address))
        body = {"token": invitation.reveal().decode(), "password": PASSWORD}
        answer = person.post(f"{API}/invitation", body)
        assert answer.status_code == 204, answer.text
        self.people[account] = person
        return person

    def store(self, held: Held, source: str = "") -> None:
        """STOW a study as its source does."""
        client = self.client(device=self.devices[source or held.source])
        answer = client.post(
            f"{WEB}/studies",
            content=part10(held),
            headers={"Content-Type": "application/dicom", "Accept": "application/dicom+json"},
        )
        assert answer.status_code == 200, answer.text

    def relate(self, principal: str, relation: Relation, held: Held) -> None:
        """Relate somebody to a patient for an hour."""
        until = self.node.clock.now() + timedelta(hours=1)
        self.node.index.relate(RelationEntry(principal, relation, until, patient_id=held.patient))

    def entries(self, since: int = 0) -> list[RecordedEvent]:
        """Return what the log has from an entry on."""
        return list(self.node.audit.read(since, self.node.audit.size()))

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.server.stop()


def settings() -> Settings:
    """Return the settings of a site of this machine, with one of its addresses outside."""
    return Settings(
        site=SiteSettings(name="Hostile site", names=("localhost", "127.0.0.1")),
        dimse=DimseSettings(host="127.0.0.1", port=0),
        web=WebSettings(host="127.0.0.1", port=0),
        zones=ZoneSettings(networks={"site": ("127.0.0.0/9",), "remote": ("127.66.0.0/16",)}),
    )


@contextmanager
def web_node(folder: Path) -> Iterator[WebNode]:
    """Run a node in this process; it is closed in order at the end."""
    paths = SitePaths((folder / "site").resolve())
    init_site(paths, settings(), None, {})
    node = open_node(paths, None, {})
    server = Server(node)
    server.start()
    assert server.web is not None
    made = WebNode(folder, node, server, Site(paths.root, server.listener.port, https_port=server.web.port))
    try:
        yield made
    finally:
        made.close()


PEOPLE: Final[Mapping[str, tuple[Sequence[str], Mapping[str, Any]]]] = {
    "nobody": ((), {}),
    "radiologist": (("radiologist",), {}),
    "southern": (("radiologist",), {"institutions": ("south hospital",)}),
    "technologist": (("technologist",), {"devices": ("device:ct1",)}),
    "newcomer": (("technologist",), {}),
    "smith": (("referring-physician",), {"known_as": ("Smith^John",)}),
    "miller": (("referring-physician",), {"known_as": ("Miller^Ann",)}),
    "researcher": (("researcher",), {}),
    "exporter": (("export-officer",), {}),
    "administrator": (("pacs-administrator",), {}),
    "security": (("security-officer",), {}),
    "privacy": (("privacy-officer",), {}),
    "custodian": (("key-custodian",), {}),
    "auditor": (("auditor",), {}),
    "vendor": (
        ("vendor-support",),
        {"kind": AccountKind.VENDOR, "expires_at": datetime.now(UTC) + timedelta(days=2)},
    ),
}
"""Account to roles and what else it has."""

ASSOCIATING: Final = frozenset(
    {"radiologist", "southern", "smith", "researcher", "exporter", "administrator"}
)
"""Who has a passcode for associations."""

DEVICES: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "ct1": ("CT1", ("store",)),
    "mr1": ("MR1", ("store",)),
    "ws1": ("WS1", ("query-retrieve",)),
    "rt1": ("RT1", ("router",)),
}


def fill(node: WebNode, people: Sequence[str] = tuple(PEOPLE)) -> None:
    """Enrol devices, store the studies, plan a workitem for each, let people in and relate one of them."""
    for device_id, (ae_title, roles) in DEVICES.items():
        node.enrol(device_id, ae_title, *roles)
    for held in STUDIES:
        node.store(held)
    for account in people:
        roles, more = PEOPLE[account]
        node.add(account, *roles, passcode=PASSCODE if account in ASSOCIATING else "", **more)
    treated = next(held for held in STUDIES if held.name == "treated")
    node.relate("user:smith", Relation.TREATING, treated)
    if "radiologist" in people:
        for held in STUDIES:
            plan(node.people["radiologist"], held)


def plan(person: Person, held: Held) -> None:
    """Plan a workitem that names a study. Source: PS3.18 11.4; PS3.4 Table CC.2.5-3."""
    answer = person.client.post(
        f"{WEB}/workitems?{held.workitem}",
        json=workitem_of(held),
        headers={"Content-Type": "application/dicom+json"},
    )
    assert answer.status_code == 201, answer.text


def workitem_of(held: Held) -> dict[str, Any]:
    """Return a scheduled workitem about a study."""

    def value(vr: str, *values: Any) -> dict[str, Any]:  # noqa: ANN401
        return {"vr": vr, "Value": list(values)} if values else {"vr": vr}

    code = {
        "00080100": value("SH", "READ"),
        "00080102": value("SH", "99TEST"),
        "00080104": value("LO", "Read it"),
    }
    return {
        "00080016": value("UI", "1.2.840.10008.5.1.4.34.6.1"),
        "00080018": value("UI", held.workitem),
        "00081195": value("UI"),
        "00100010": value("PN", {"Alphabetic": "Hostile^Anna"}),
        "00100020": value("LO", held.patient),
        "00100030": value("DA"),
        "00100040": value("CS"),
        "0020000D": value("UI", held.study),
        "00380010": value("LO"),
        "00380014": value("SQ"),
        "0040A370": value("SQ"),
        "00404005": value("DT", "20260103080000"),
        "00404010": value("DT", "20260104080000"),
        "00404018": value("SQ", code),
        "00404021": value("SQ"),
        "00404025": value("SQ"),
        "00404041": value("CS", "READY"),
        "00741000": value("CS", "SCHEDULED"),
        "00741200": value("CS", "MEDIUM"),
        "00741202": value("LO", "worklist"),
        "00741204": value("LO", "Read the study"),
    }
