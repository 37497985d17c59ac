"""A real OpenLDAP server of our own, with people in it."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from trust.identity.federation.authority import KeyPair
from trust.identity.federation.openid import free_ports

SLAPD = shutil.which("slapd", path="/usr/sbin:/usr/bin:/usr/lib/openldap:/usr/libexec")
needs_slapd = pytest.mark.skipif(SLAPD is None, reason="slapd is not installed")

BASE = "dc=example,dc=org"
PEOPLE = f"ou=people,{BASE}"
GROUPS = f"ou=groups,{BASE}"
SERVICE = f"cn=leadglass,{BASE}"
SERVICE_PASSWORD = "the service password"
PASSWORD = "a right password"
RADIOLOGY = f"cn=radiology,{GROUPS}"

_CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
attributetype ( 1.2.840.113556.1.4.8 NAME 'userAccountControl' EQUALITY integerMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
pidfile {folder}/slapd.pid
loglevel stats
disallow bind_anon
{tls}
database mdb
maxsize 16777216
suffix "{base}"
rootdn "cn=root,{base}"
directory {folder}/data
overlay memberof
overlay ppolicy
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{service}" read by * none
"""

_PERSON = """
dn: uid={uid},{people}
objectClass: inetOrgPerson
objectClass: extensibleObject
uid: {uid}
cn: {name}
sn: {name}
displayName: {name}
userPassword: {password}
{more}"""


@dataclass(frozen=True)
class Slapd:
    """Where it listens, and what it logged."""

    plain: str
    tls: str
    log: Path


@contextmanager
def slapd(folder: Path, pair: KeyPair | None, host: str = "localhost") -> Iterator[Slapd]:
    """Run it; without ``pair`` it knows no TLS."""
    assert SLAPD is not None
    (folder / "data").mkdir()
    protection = ""
    if pair is not None:
        protection = f"TLSCertificateFile {pair.certificate}\nTLSCertificateKeyFile {pair.key}"
    configuration = folder / "slapd.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, base=BASE, service=SERVICE, tls=protection))
    content = folder / "content.ldif"
    content.write_text(_content())
    subprocess.run([SLAPD, "-T", "add", "-f", configuration, "-l", content], check=True, capture_output=True)
    log = folder / "slapd.log"
    process, plain, protected = _start(configuration, log, protection != "")
    try:
        yield Slapd(f"ldap://{host}:{plain}", f"ldaps://{host}:{protected}", log)
    finally:
        process.terminate()
        process.wait(20)


def _start(configuration: Path, log: Path, protected: bool) -> "tuple[subprocess.Popen[bytes], int, int]":
    """Start it on free ports; on others when somebody took one of them in between."""
    assert SLAPD is not None
    for _ in range(5):
        ports = free_ports(2)
        urls = [f"ldap://127.0.0.1:{ports[0]}"]
        if protected:
            urls.append(f"ldaps://127.0.0.1:{ports[1]}")
        with log.open("w") as file:
            process = subprocess.Popen(
                [SLAPD, "-f", configuration, "-h", " ".join(urls), "-d", "stats"], stderr=file
            )
        if _listens(ports[0], process):
            return process, ports[0], ports[1]
        process.kill()
        process.wait(20)
    raise AssertionError(log.read_text()[-2000:])


def _listens(port: int, process: "subprocess.Popen[bytes]") -> bool:
    """Wait until it does, or has ended."""
    ends = time.monotonic() + 20
    while time.monotonic() < ends and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process.poll() is None
    return False


def _content() -> str:
    member = f"memberOf: {RADIOLOGY}\n"
    people = [
        _person("jdoe", "Jane Doe", member),
        _person("mroe", "Max Roe", ""),
        _person("odd)(*\\", "Odd Name", ""),
        _person("disabled", "Dis Abled", member + "userAccountControl: 514\n"),
        _person("locked", "Lock Ed", member + "pwdAccountLockedTime: 000001010000Z\n"),
        _person("twin", "Twin One", "employeeNumber: 7\n"),
        _person("twin2", "Twin Two", "employeeNumber: 7\n"),
    ]
    return f"""dn: {BASE}
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people

dn: {GROUPS}
objectClass: organizationalUnit
ou: groups

dn: {SERVICE}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: leadglass
userPassword: {SERVICE_PASSWORD}
{"".join(people)}
dn: {RADIOLOGY}
objectClass: groupOfNames
cn: radiology
member: uid=jdoe,{PEOPLE}
member: uid=disabled,{PEOPLE}
"""


def _person(uid: str, name: str, more: str) -> str:
    escaped = uid.replace("\\", "\\\\")
    made = _PERSON.format(uid=uid, name=name, people=PEOPLE, password=PASSWORD, more=more)
    return made.replace(f"dn: uid={uid}", f"dn: uid={escaped}")
