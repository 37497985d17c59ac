"""Writes the generated parts of docs/: what the code says, in tables.

    python tools/generate_docs.py            write
    python tools/generate_docs.py --check    compare; ends with 1 and names what is stale

A page holds hand-written words and generated blocks between two markers:

    <!-- begin generated: errors -->
    <!-- end generated: errors -->

Each block is a function of this file, found by its name in ``BLOCKS``. What the code cannot say (the meaning of an event)
stands in a table here, and a code without its row is an error: the page cannot fall behind silently.
"""

import argparse
import ast
import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import click
import msgspec

from leadglass.app.cli.main import cli
from leadglass.app.config import settings as settings_module
from leadglass.base import errors as errors_module
from leadglass.base import limits as limits_module
from leadglass.dicom.attributes import LEVELS, Attribute, Kind, attributes_at
from leadglass.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from leadglass.dicom.sop_classes import STORAGE_CLASSES
from leadglass.dicom.syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES, TransferSyntax
from leadglass.dicom.transcode import can_transcode
from leadglass.dicom.values import TEXT_VRS
from leadglass.doors.dicomweb import (
    capabilities,
    deletion,
    qido,
    rendered,
    stow,
    wado,
    wado_uri,
    worklist,
)
from leadglass.doors.https.endpoints import Endpoint, WebSocketEndpoint
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.certs.tls import CIPHERS_TLS12
from leadglass.trust.policy.interfaces import Permission
from leadglass.trust.policy.roles import SHIPPED, RoleKind
from leadglass.wire.dimse.status import meaning

ROOT: Final = Path(__file__).resolve().parents[1]
DOCS: Final = ROOT / "docs"
SOURCE: Final = ROOT / "src" / "leadglass"
BUNDLE: Final = SOURCE / "trust" / "policy" / "bundle"

_BLOCK: Final = re.compile(
    r"(?P<begin><!-- begin generated: (?P<name>[a-z-]+) -->\n)(?P<body>.*?)(?P<end><!-- end generated: (?P=name) -->)",
    re.DOTALL,
)


# --- small things ----------------------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; a bar within a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def code(text: object) -> str:
    """Return the text as code, or a dash for nothing."""
    return f"`{text}`" if str(text) else "-"


def plain(docstring: str | None) -> str:
    """Return a docstring's text in one line, in Markdown's single backticks."""
    return " ".join((docstring or "").split()).replace("``", "`")


def attributes_of(docstring: str | None) -> Mapping[str, str]:
    """Return what the ``Attributes:`` section of a Google docstring says of each name."""
    found: dict[str, str] = {}
    name = ""
    inside = False
    for line in inspect.cleandoc(docstring or "").splitlines():
        if line.strip() in {"Attributes:", "Args:"}:
            inside = True
        elif inside and line and not line.startswith("    "):
            inside = False
        elif inside and (match := re.fullmatch(r"    (\w+): (.*)", line)):
            name = match[1]
            found[name] = match[2]
        elif inside and name and line.strip():
            found[name] += " " + line.strip()
    return {key: plain(text) for key, text in found.items()}


# --- errors ----------------------------------------------------------------------------------------------------


def error_classes() -> list[type[errors_module.LeadglassError]]:
    """Return the classes of the tree, by code."""
    found = [
        value
        for value in vars(errors_module).values()
        if isinstance(value, type) and issubclass(value, errors_module.LeadglassError)
    ]
    return sorted(found, key=lambda error: error.code)


def errors() -> str:
    rows = []
    for error in error_classes():
        first = plain(inspect.getdoc(error)).split(" Attributes:")[0].split(" Source:")[0]
        status = error.dimse_status
        rows.append(
            (
                code(error.code),
                code(error.__name__),
                first,
                error.exit_status,
                f"`{status:04X}H` {meaning(status)}",
            )
        )
    return table(
        ("Code", "Class", "Meaning", "Exit status", "DIMSE status, where a response reports it"), rows
    )


def exit_statuses() -> str:
    by_status: dict[int, list[str]] = {}
    for error in error_classes():
        by_status.setdefault(error.exit_status, []).append(error.__name__)
    rows: list[Sequence[object]] = [(0, "Done, and nothing to complain about.")]
    rows += [(status, ", ".join(code(name) for name in names)) for status, names in sorted(by_status.items())]
    rows.append((130, "Interrupted at the terminal."))
    return table(("Exit status", "When"), rows)


# --- events ----------------------------------------------------------------------------------------------------

EVENT_MEANINGS: Final[Mapping[str, str]] = {
    "ACCOUNT_CHANGED": "What an account sees, or what it is called, was changed.",
    "ACCOUNT_CREATED": "An account was made; it has no password yet.",
    "ACCOUNT_DISABLED": "An account is turned away from now on; its sessions ended.",
    "ACCOUNT_LOCKED_OUT": "So many failures in a row that no password from an unknown place is looked at any more; known places go on.",
    "ASSOCIATION_ACCEPTED": "A device was recognised and its association accepted; how many contexts, which TLS.",
    "ASSOCIATION_ENDED": "An accepted association is over: how it ended, how many objects were stored and refused.",
    "ASSOCIATION_REFUSED": (
        "Somebody was turned away: failed TLS handshake, too many connections, unknown device, wrong AE title or network, "
        "or an action that has no event of its own and that policy denied. The reason is in the facts."
    ),
    "AUDIT_USED": "Somebody read or verified the audit log, and what was asked for.",
    "AUTHENTICATION_FAILED": "Somebody could not show who they are: which step, and why, in our words. The answer to them says neither.",
    "AUTHENTICATION_SUCCEEDED": "Somebody showed who they are.",
    "BREAK_GLASS_ENDED": "An emergency access is over: it ended by itself, was given back, or a new one took its place.",
    "BREAK_GLASS_ESCALATED": "Nobody signed the review of an emergency access in time.",
    "BREAK_GLASS_LISTED": "Somebody read the list of emergency accesses, with their reasons.",
    "BREAK_GLASS_REVIEWED": "Somebody else looked at an emergency access and signed what they think of it.",
    "BREAK_GLASS_STARTED": "Emergency access to one study or one patient begins; the reason is in the sealed part. An alert by itself.",
    "CERTIFICATE_ISSUED": "The site's authority issued a certificate: fingerprint, serial number, for whom.",
    "CERTIFICATE_REVOKED": "A certificate counts no more, because its device was revoked.",
    "CLIENT_ENROLLED": "A service got credentials of its own; who answers for it and which scopes it may ask for.",
    "CLIENT_REVOKED": "A service is turned away from now on.",
    "COMMITMENT_REPORTED": "A storage commitment report was worked out: how many instances are held whole, how many not.",
    "COMMITMENT_REQUESTED": "A device asked for storage commitment; the request is kept.",
    "CONFIGURATION_CHANGED": "The site was made.",
    "CREDENTIAL_ENROLLED": "Somebody has a new password, passkey, authenticator, recovery codes, badge or invitation.",
    "CREDENTIAL_REMOVED": "A credential counts no more.",
    "CREDENTIAL_USED_UP": "A recovery code was used; it works once.",
    "DELETIONS_LISTED": "Somebody read what was deleted softly.",
    "DEVICE_ENROLLED": "A device was enrolled: AE title, roles, networks, certificate.",
    "DEVICE_REVOKED": "A device was revoked.",
    "EXPORT_ENDED": "An export (ZIP) ended: what went, what did not. Also an export that policy denied.",
    "EXPORT_STARTED": "An export (ZIP) begins: which study, how many instances. Durable before the first octet leaves.",
    "IMPORT_ENDED": "An import of a folder ended: counts; the refused files are in the sealed part.",
    "IMPORT_STARTED": "An import of a folder began.",
    "INSTANCE_ALREADY_HELD": "An object came again with the same content; nothing was added.",
    "INSTANCE_QUARANTINED": "An object came whose UID is held with other content; it is kept apart.",
    "INSTANCE_REFUSED": "An object was refused: reason in words, catalogue code, status that was answered.",
    "INSTANCE_STORED": "An object is held. Rebuilt from the sealed record if a crash lost it.",
    "INSTANCE_VIEWED": "Parts of a study were shown over HTTPS: metadata, frames, bulk values or pictures, of which instances. Before the first octet leaves.",
    "INTEGRITY_FAILED": "A stored object is not what was written; it was not served. Pack and offset are named.",
    "KEY_CREATED": "A key was made (one for each study, and those of the site).",
    "KEY_FAILED": "A key could not be opened or made.",
    "MOVE_ENDED": "A C-MOVE ended: completed, failed, warnings, cancelled, destination. Also a C-MOVE that policy denied.",
    "MOVE_STARTED": "A C-MOVE begins: which studies, how many instances, to which device. Durable before the first object leaves.",
    "POLICY_CHANGED": "The site's policies were proposed, applied or given up: hashes of the old and the new.",
    "POLICY_EXPLAINED": "Somebody asked why somebody may or may not.",
    "QUERY_ANSWERED": (
        "A query: what was asked (sealed) and which studies were shown. Durable before the matches leave. "
        "Also a query that policy denied."
    ),
    "RELATION_CHANGED": "Somebody was assigned a study, or a treating relationship was noted, until when; or it was taken back.",
    "RELATION_LISTED": "Somebody read whom somebody treats and what they are assigned.",
    "REQUEST_REFUSED": "Requests over HTTPS that were refused before anybody was known: the reason, the address, and how many of the kind.",
    "RETRIEVE_ENDED": "A C-GET ended: completed, failed, warnings, cancelled. Also a C-GET that policy denied.",
    "RETRIEVE_STARTED": "A C-GET begins: which studies, how many instances. Durable before the first object leaves.",
    "REVIEW_DECIDED": "A reviewer confirmed or removed a grant.",
    "REVIEW_ENDED": "An access review is over; the hash of its result.",
    "REVIEW_STARTED": "An access review was opened: which grants, who looks at them, until when.",
    "ROLE_CHANGED": "An account has other roles: which before, which now.",
    "ROLE_SUSPENDED": "A role was taken away because nobody looked at the grant in time.",
    "SECURITY_ALERT": "For a person, at once: what is in the facts (mass deletion, a passkey that may have a copy, vendor support signed in, ...).",
    "SERVICE_STARTED": "The node was started.",
    "SERVICE_STOPPED": "The node was stopped in order. A start without this before it was a crash.",
    "SESSION_ENDED": "A session is over, and why.",
    "SESSION_LOCKED": "A session is locked until its person shows again who they are.",
    "SESSION_STARTED": "A session began: by which methods, in which zone.",
    "STEP_UP_SUCCEEDED": "Somebody in a session showed a strong factor again.",
    "STUDY_DELETED": "A study, series or instance is hidden from now on; it can be restored for a while. The reason is in the sealed part.",
    "STUDY_RESTORED": "What was deleted is shown again.",
    "TOKEN_ISSUED": "A service was given an access token: scopes, who answers for it, whether it is bound to a certificate.",
    "VAULT_RECOVERED": "At start, open packs were replayed: rows and events made again, torn tails cut.",
    "VAULT_REINDEXED": "The index was made anew from packs and keys.",
    "VAULT_VERIFIED": "Everything held was authenticated; the number of findings.",
    "WORKITEM_CHANGED": "A workitem was updated, claimed, completed or cancelled, or somebody asked for its cancellation.",
    "WORKITEM_CREATED": "A workitem was made.",
    "WORKITEM_READ": "Workitems were read or found.",
    "WORKITEM_SUBSCRIBED": "Somebody subscribed to workitems, ended or suspended that, or listens.",
}
"""Names of ``EventCode`` and what they say."""


def recorders() -> Mapping[str, list[str]]:
    """Return, for each event, the modules that name it (and so may record it)."""
    found: dict[str, list[str]] = {name: [] for name in EventCode.__members__}
    by_value = {member.value: name for name, member in EventCode.__members__.items()}
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        if module in {"trust.audit.interfaces", "trust.identity.events"}:
            continue
        names = set[str]()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # ``EventCode.X``; ``events.X`` in rooms below audit; the value itself where a room knows neither.
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id in {"EventCode", "events"}:
                    names.add(node.attr)
            elif isinstance(node, ast.Constant) and node.value in by_value:
                names.add(by_value[str(node.value)])
        for name in names & found.keys():
            found[name].append(module)
    return found


def events() -> str:
    missing = set(EventCode.__members__) ^ set(EVENT_MEANINGS)
    if missing:
        raise SystemExit(
            f"tools/generate_docs.py: EVENT_MEANINGS and EventCode differ in {', '.join(sorted(missing))}"
        )
    who = recorders()
    return table(
        ("Event", "Meaning", "Named in"),
        (
            (code(member.value), EVENT_MEANINGS[name], ", ".join(code(m) for m in who[name]) or "nothing yet")
            for name, member in EventCode.__members__.items()
        ),
    )


# --- settings, limits, commands --------------------------------------------------------------------------------


def setting_sections() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Yield the sections of the file and their classes."""
    for field in msgspec.structs.fields(settings_module.Settings):
        yield field.name, field.type


def settings() -> str:
    parts = []
    for section, struct in setting_sections():
        meanings = attributes_of(struct.__doc__)
        rows = []
        for field in msgspec.structs.fields(struct):
            if field.name not in meanings:
                raise SystemExit(f"app/config/settings.py: {section}.{field.name} is not documented")
            default = field.default
            if default is msgspec.NODEFAULT:
                default = field.default_factory()
            shown = msgspec.json.encode(default).decode()
            rows.append((code(field.name), code(shown), meanings[field.name]))
        parts.append(f"## `[{section}]`\n\n" + table(("Setting", "Default", "Meaning"), rows))
    return "\n".join(parts)


def limit_rows() -> Iterator[tuple[str, object, str]]:
    """Yield name, value and reason of every limit, in the order of the file."""
    body = ast.parse(inspect.getsource(limits_module)).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        if node.target.id in {"KIB", "MIB", "GIB"}:
            continue
        if not (
            isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            raise SystemExit(f"base/limits.py: {node.target.id} has no reason under it")
        yield node.target.id, getattr(limits_module, node.target.id), plain(after.value.value)


def limits() -> str:
    texts = [
        set(re.findall(r"[A-Z_]{4,}", p.read_text())) for p in SOURCE.rglob("*.py") if p.name != "limits.py"
    ]
    rows = []
    for name, value, why in limit_rows():
        used = any(name in text for text in texts)
        rows.append(
            (code(name), _amount(name, value), why if used else f"*Nothing is held to it yet.* {why}")
        )
    return table(("Limit", "Value", "What and why"), rows)


def _amount(name: str, value: object) -> str:
    if "BYTES" in name and isinstance(value, int):
        for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value >= size and value % size == 0:
                return f"{value // size} {unit}"
        return f"{value} octets"
    if "SECONDS" in name:
        return f"{value:g} s"
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)


def commands(group: click.Group = cli, path: str = "leadglass") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name, groups before their members."""
    yield path, group
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def help_of(path: str, command: click.Command) -> str:
    """Return what ``--help`` prints, at one width wherever this runs."""
    settings = dict(command.context_settings) | {"help_option_names": ["-h", "--help"]}
    return click.Context(
        command, info_name=path, terminal_width=100, max_content_width=100, **settings
    ).get_help()


def cli_help() -> str:
    return "\n".join(
        f"## `{path}`\n\n```text\n{help_of(path, command)}\n```\n" for path, command in commands()
    )


# --- conformance -----------------------------------------------------------------------------------------------


def identification() -> str:
    return table(
        ("What", "Value"),
        (
            ("Application context name", code("1.2.840.10008.3.1.1.1")),
            ("Implementation class UID", code(IMPLEMENTATION_CLASS_UID)),
            ("Implementation version name", code(IMPLEMENTATION_VERSION_NAME)),
            ("Maximum PDU length announced", f"{limits_module.PDU_BYTES_MAX} octets"),
            ("Associations at once", f"{limits_module.ASSOCIATIONS_MAX} (setting `dimse.associations_max`)"),
            ("Connections at once from one address", limits_module.ASSOCIATIONS_PER_ADDRESS_MAX),
            ("Outstanding operations per association", "1 (asynchronous operations window 1, 1)"),
        ),
    )


def storage_summary() -> str:
    offered = [row for row in STORAGE_CLASSES.values() if not row.non_patient]
    retired = sum(row.retired for row in offered)
    absent = len(STORAGE_CLASSES) - len(offered)
    return (
        f"{len(offered)} storage SOP classes are accepted: {len(offered) - retired} of the current standard and "
        f"{retired} retired ones. {absent} non-patient classes (PS3.4 Annex GG) are not. The list is in Annex A.\n"
    )


def storage_classes() -> str:
    def state(uid: str) -> str:
        row = STORAGE_CLASSES[uid]
        return (
            "not accepted: non-patient"
            if row.non_patient
            else "accepted, retired"
            if row.retired
            else "accepted"
        )

    return table(
        ("SOP class", "UID", "As SCP"),
        ((row.name, code(uid), state(uid)) for uid, row in STORAGE_CLASSES.items()),
    )


def transfer_syntaxes() -> str:
    return table(
        ("Transfer syntax", "UID", "Stored as sent", "Sent as Explicit or Implicit VR Little Endian too"),
        (
            (
                row.name + (" (retired)" if row.retired else ""),
                code(uid),
                "yes" if row.storable else "no",
                _decodable(row),
            )
            for uid, row in TRANSFER_SYNTAXES.items()
        ),
    )


def _decodable(row: TransferSyntax) -> str:
    if not row.storable or not can_transcode(row.uid, EXPLICIT_VR_LITTLE_ENDIAN):
        return "no"
    return "yes, decoded" if row.encapsulated else "yes"


_NOT_MATCHED: Final = frozenset({0x0008_0201})
"""Timezone Offset From UTC: context of a query, no key."""


def matching(attribute: Attribute) -> str:
    """Return the kinds of matching of an attribute, after PS3.4 C.2.2.2; all have universal matching."""
    if attribute.tag in _NOT_MATCHED:
        return "universal only"
    if attribute.vr == "UI":
        return "list of UID"
    if attribute.vr == "SQ":
        return "sequence"
    if attribute.vr in {"DA", "TM", "DT"}:
        return "single value, range"
    if attribute.vr == "CS":
        return "single value, wild card, several values"
    if attribute.vr in TEXT_VRS:
        return "single value, wild card"
    return "single value"


_KINDS: Final[Mapping[Kind, str]] = {
    Kind.IDENTITY: "column in clear",
    Kind.PLAIN: "column in clear",
    Kind.TOKEN: "keyed token, value sealed",
    Kind.SEALED: "sealed",
    Kind.COMPUTED: "computed",
}


def query_attributes() -> str:
    parts = []
    for level in LEVELS:
        rows = (
            (
                a.keyword,
                f"({a.tag >> 16:04X},{a.tag & 0xFFFF:04X})",
                a.vr,
                matching(a),
                _KINDS[a.kind] + (", prefixes too" if a.prefixes else ""),
            )
            for a in attributes_at(level)
        )
        parts.append(
            f"#### {level} level\n\n"
            + table(("Attribute", "Tag", "VR", "Matching", "Kept in the index as"), rows)
        )
    return "\n".join(parts)


def policy() -> str:
    """Return what the roles of devices may do; those of people stand in ``roles``."""
    names = [role.name for role in SHIPPED if role.kind is RoleKind.DEVICE]
    allowed = {name: set(_permissions_of(name)) for name in names}
    shown = [p for p in Permission if any(p in permissions for permissions in allowed.values())]
    return table(
        ("Permission", *names),
        ((code(p.value), *("yes" if p in allowed[name] else "-" for name in names)) for p in shown),
    )


def roles() -> str:
    return table(
        ("Role", "For", "What it is for", "Permissions"),
        (
            (
                code(role.name),
                role.kind.value,
                role.description,
                ", ".join(code(permission.value) for permission in _permissions_of(role.name)) or "-",
            )
            for role in SHIPPED
        ),
    )


def rails() -> str:
    """Return the guard rails with the comment that stands above each."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in BUNDLE.glob("*.cedar")}
    found = re.findall(r'((?://.*\n)+)@id\("([a-z-]+)"\)', texts["guard_rails.cedar"])
    words = [" ".join(line.lstrip("/ ") for line in comment.splitlines()) for comment, _ in found]
    return table(("Guard rail", "What it says"), zip((code(name) for _, name in found), words, strict=True))


def _permissions_of(role: str) -> list[Permission]:
    """Return what some rule permits a role. Guard rails may still forbid it: they look at circumstances."""
    found = set[str]()
    for path in sorted(BUNDLE.glob("*.cedar")):
        for rule in re.split(r";\n", path.read_text(encoding="utf-8")):
            body = re.sub(r"^\s*//.*$", "", rule, flags=re.MULTILINE)
            head, _, condition = body.partition("when")
            if "permit (" in head and f'Role::"{role}"' in head + condition:
                found |= set(re.findall(r'Action::"([a-z:-]+)"', head))
    return [permission for permission in Permission if permission.value in found]


# --- HTTPS -----------------------------------------------------------------------------------------------------


class _Anything:
    """Stands for a service of an endpoint that is described and never called."""

    def __getattr__(self, _name: str) -> "_Anything":
        return _Anything()

    def __call__(self, *_args: object, **_kwargs: object) -> "_Anything":
        return _Anything()


def dicomweb_endpoints() -> list[Endpoint | WebSocketEndpoint]:
    """Return the endpoints of DICOMweb, to be described."""
    services = cast("Any", _Anything())
    rooms = (stow, qido, wado, rendered, wado_uri, deletion)
    found: list[Endpoint | WebSocketEndpoint] = []
    for room in rooms:
        found += room.endpoints(services)
    http = [endpoint for endpoint in found if isinstance(endpoint, Endpoint)]
    return [*found, *capabilities.endpoints(services, http), *worklist.endpoints(services)]


def console_endpoints() -> list[Endpoint | WebSocketEndpoint]:
    """Return the endpoints of every file of the console's API that has some."""
    found: list[Endpoint | WebSocketEndpoint] = []
    for path in sorted((SOURCE / "doors" / "console").glob("*.py")):
        module = importlib.import_module(f"leadglass.doors.console.{path.stem}")
        make = vars(module).get("endpoints")
        if make is not None:
            wanted = len(inspect.signature(make).parameters)
            found += make(*[cast("Any", _Anything())] * wanted)
    return found


def dicomweb_resources() -> str:
    return table(("Method", "Resource", "What", "Statuses"), map(_resource, dicomweb_endpoints()))


def console_resources() -> str:
    return table(("Method", "Resource", "What", "Signed in"), map(_api_resource, console_endpoints()))


def _resource(endpoint: Endpoint | WebSocketEndpoint) -> Sequence[object]:
    responses = cast("Mapping[str, object]", endpoint.operation.get("responses", {}))
    statuses = ", ".join(sorted(status for status in responses if status.isdecimal()))
    method = endpoint.method if isinstance(endpoint, Endpoint) else "WebSocket"
    path = endpoint.path.replace(":path}", "}")
    return method, code(path), endpoint.operation.get("summary", "Receive events"), statuses or "101"


def _api_resource(endpoint: Endpoint | WebSocketEndpoint) -> Sequence[object]:
    public = isinstance(endpoint, Endpoint) and endpoint.public
    return *_resource(endpoint)[:3], "no" if public else "yes"


def cipher_suites() -> str:
    suites = [name for name in CIPHERS_TLS12.split(":") if not name.startswith("@")]
    rows: list[Sequence[object]] = [("TLS 1.2", code(name)) for name in suites]
    rows.append(
        ("TLS 1.3", "the AEAD suites of the installed OpenSSL (its defaults; Python cannot restrict them)")
    )
    return table(("Protocol", "Cipher suite, most preferred first"), rows)


# --- architecture ----------------------------------------------------------------------------------------------


def contracts() -> str:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = settings["tool"]["importlinter"]["contracts"]
    return table(("Contract", "What it says"), ((c["name"], _contract(c)) for c in found))


def _contract(contract: Mapping[str, list[str]]) -> str:
    """Return a contract of import-linter in words."""

    def names(key: str) -> str:
        return ", ".join(code(module.removeprefix("leadglass.")) for module in contract.get(key, []))

    match str(contract["type"]):
        case "layers":
            end = " (a new folder fails until it has a floor)" if contract.get("exhaustive") else ""
            return f"in {', '.join(code(c) for c in contract['containers'])}: {' > '.join(contract['layers'])}{end}"
        case "forbidden":
            return f"{names('source_modules')} may not import {names('forbidden_modules')}"
        case "protected":
            return f"{names('protected_modules')} may be imported only by {names('allowed_importers')}"
        case "independence":
            return f"{names('modules')} do not import each other"
        case other:
            raise SystemExit(f"tools/generate_docs.py: say here what a contract of type {other} means")


def decisions() -> str:
    rows = []
    for path in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        rows.append(f"- [{title}](decisions/{path.name})")
    return "\n".join(rows) + "\n"


def code_map() -> str:
    """Return every module with the first sentence of its docstring."""
    lines = []
    for path in sorted(SOURCE.rglob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = plain(re.split(r"\n\s*\n|(?<=\.)\s", doc, maxsplit=1)[0])
        name = str(path.relative_to(SOURCE))
        if path.name == "__init__.py":
            continue
        lines.append((code(name), first))
    return table(("File", "In its own words"), lines)


BLOCKS: Final[Mapping[str, Callable[[], str]]] = {
    "cipher-suites": cipher_suites,
    "cli": cli_help,
    "code-map": code_map,
    "console-resources": console_resources,
    "contracts": contracts,
    "decisions": decisions,
    "dicomweb-resources": dicomweb_resources,
    "errors": errors,
    "events": events,
    "exit-statuses": exit_statuses,
    "identification": identification,
    "limits": limits,
    "policy": policy,
    "query-attributes": query_attributes,
    "rails": rails,
    "roles": roles,
    "settings": settings,
    "storage-classes": storage_classes,
    "storage-summary": storage_summary,
    "transfer-syntaxes": transfer_syntaxes,
}


def regenerate(text: str) -> str:
    """Return a page with every generated block made anew."""

    def fill(block: re.Match[str]) -> str:
        name = block["name"]
        if name not in BLOCKS:
            raise SystemExit(f"there is no generated block called {name}")
        return f"{block['begin']}\n{BLOCKS[name]().rstrip()}\n\n{block['end']}"

    return _BLOCK.sub(fill, text)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the generated parts of docs/.")
    parser.add_argument("--check", action="store_true", help="compare only; status 1 when a page is stale")
    check: bool = parser.parse_args().check
    stale = []
    for path in sorted((*DOCS.rglob("*.md"), *ROOT.glob("*.md"))):
        old = path.read_text(encoding="utf-8")
        new = regenerate(old)
        if new == old:
            continue
        stale.append(path)
        if not check:
            path.write_text(new, encoding="utf-8")
    for path in stale:
        name = path.relative_to(ROOT)
        print(f"{name} is stale: run 'make docs'" if check else f"{name} written")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
