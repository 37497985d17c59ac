"""A planted patient is found nowhere in the clear: not in the folder of the site, not in what the node says.

The patient is stored, imported, asked for, fetched, refused and kept apart; then every octet of every file that the
node wrote is searched, in each spelling and encoding a text could have been written in.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hostile.peer import (
    CT,
    EXPLICIT,
    FIND,
    FINDING,
    GETTING,
    STORING,
    Peer,
    Slice,
    context,
    ct_slice,
    explicit,
    role,
)
from running_node import DeviceFiles, Site, site

NAME, FIRST, PATIENT_ID, ACCESSION = "Xylowicz", "Quendolyn", "PATQ7731X", "ACCQ9917Z"
INSTITUTION, COMMENT, FILE = "Zwetschgenklinik", "Jodtropfenallergie", "xylowicz-quendolyn"
CANARIES = (NAME, FIRST, PATIENT_ID, ACCESSION, INSTITUTION, COMMENT)
PLANTED = (
    (0x00080050, "SH", ACCESSION.encode()),
    (0x00080080, "LO", INSTITUTION.encode()),
    (0x00081030, "LO", COMMENT.encode()),
    (0x0008103E, "LO", COMMENT.encode()),
    (0x00100010, "PN", f"{NAME}^{FIRST}".encode()),
    (0x00100020, "LO", PATIENT_ID.encode()),
    (0x00104000, "LT", COMMENT.encode()),
)


def needles() -> list[bytes]:
    texts = {
        spelling
        for canary in CANARIES
        for spelling in (canary, canary.lower(), canary.upper(), canary.casefold())
    }
    return [text.encode(encoding) for text in texts for encoding in ("utf-8", "utf-16-le", "utf-16-be")]


def planted(number: int, *, study: str = "5", marker: bytes = b"", sop_instance: str = "") -> Slice:
    return ct_slice(number, study=study, more=PLANTED, marker=marker, sop_instance=sop_instance)


def part10(image: Slice) -> bytes:
    meta = (
        explicit(0x00020001, "OB", b"\0\x01")
        + explicit(0x00020002, "UI", CT.encode())
        + explicit(0x00020003, "UI", image.sop_instance.encode())
        + explicit(0x00020010, "UI", EXPLICIT.encode())
        + explicit(0x00020012, "UI", b"1.2.3")
        + explicit(0x00020016, "AE", NAME[:16].encode())
    )
    return (
        bytes(128)
        + b"DICM"
        + explicit(0x00020000, "UL", len(meta).to_bytes(4, "little"))
        + meta
        + image.dataset
    )


def written(root: Path) -> Iterator[Path]:
    yield from (path for path in root.rglob("*") if path.is_file())


def hits(folder: Path) -> list[str]:
    found = []
    wanted = needles()
    for path in written(folder):
        content = path.read_bytes()
        found += [f"{path.relative_to(folder)}: {needle!r}" for needle in wanted if needle in content]
    return found


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"\0\0" + NAME.upper().encode("utf-16-le"))
    assert hits(tmp_path)
    (tmp_path / "a" / "b").unlink()
    assert not hits(tmp_path)
    (tmp_path / "c").write_bytes(part10(planted(1)))
    assert len(hits(tmp_path)) == len(CANARIES)


def talk(node: Site, device: DeviceFiles) -> None:
    """Everything a patient's name can come in with."""
    with Peer(node, device) as peer:
        peer.accepted(*STORING)
        assert [peer.store(planted(i)) for i in range(3)] == [0, 0, 0]
        assert peer.store(planted(1)) == 0  # again
        assert peer.store(planted(2, marker=b"other")) == 0x0111  # kept apart
        broken = planted(4)
        assert peer.store(Slice(broken.sop_instance, "", "", broken.dataset[:-300])) >= 0xA700
        lying = planted(5)
        assert peer.store(Slice("1.2.3.4.5", "", "", lying.dataset)) == 0xA900
        assert peer.store(Slice(NAME, "", "", lying.dataset)) != 0
        peer.release()
    keys = (
        explicit(0x00080050, "SH", ACCESSION.encode())
        + explicit(0x00080052, "CS", b"STUDY")
        + explicit(0x00080080, "LO", b"")
        + explicit(0x00100010, "PN", f"{NAME[:4]}*".encode())
        + explicit(0x00100020, "LO", PATIENT_ID.encode())
        + explicit(0x0020000D, "UI", b"")
    )
    with Peer(node, device) as peer:
        status, found = peer.accepted(*FINDING).find(keys)
        assert (status, len(found)) == (0, 1)
        assert NAME.encode() in found[0]
        assert peer.find(keys.replace(b"STUDY", NAME[:5].upper().encode()))[0] != 0
    with Peer(node, device) as peer:
        peer.accepted(*GETTING, more_user_items=role(CT))
        assert len(peer.get(planted(0).study)[1]) == 3
        status, got, _ = peer.get(f"{NAME}.{PATIENT_ID}")
        assert not got
    with Peer(node, device) as peer:
        peer.accepted(context(1, FIND, EXPLICIT))
        peer.send(b"\x04\x00" + NAME.encode() * 40)
        peer.ended_by_node()
    with Peer(node, device) as peer:
        peer.send(NAME.encode() * 40)
        peer.ended_by_node()


@pytest.mark.slow
def test_planted_patient_is_found_nowhere(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("incoming") / f"{FILE}-{PATIENT_ID}"
    folder.mkdir()
    (folder / f"{NAME}^{FIRST}.dcm").write_bytes(part10(planted(20, study="6")))
    (folder / f"{NAME}-broken.dcm").write_bytes(part10(planted(21, study="6"))[:900])
    (folder / f"{NAME}-not.dcm").write_bytes(NAME.encode() * 100)
    (folder / f"{NAME}-twice.dcm").write_bytes(part10(planted(20, study="6", marker=b"other")))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with site(tmp_path) as node:
        node.environment["TMPDIR"] = str(temporary)
        device = node.enrol("ct1", "CT1", ["store", "query-retrieve"])
        said = [str(node.start())]
        talk(node, device)
        imported = node.run("import", str(folder), "--site", str(node.root), "--json", status=None)
        assert '"stored": 1' in imported.stdout
        for arguments in (
            ("status", "--json"),
            ("status",),
            ("audit", "show", "--limit", "500", "--json"),
            ("audit", "show", "--limit", "500"),
            ("vault", "verify", "--json"),
            ("audit", "verify", "--json"),
            ("device", "list"),
        ):
            done = node.run(*arguments, "--site", str(node.root))
            said += [done.stdout, done.stderr]
        assert hits(node.root) == []  # with write-ahead logs and control socket as they are while it runs
        node.kill()
        node.on_site("vault", "reindex")  # needs the site for itself
        node.start()
        node.on_site("status")
        assert hits(node.root) == []
        assert node.process is not None
        node.stop()
        details = node.run("audit", "show", "--limit", "500", "--details", "--site", str(node.root), "--json")
        assert NAME in details.stdout  # it is on record, for whoever unseals it
        said.append((tmp_path / "serve.err").read_text())
    assert hits(node.root) == []
    assert hits(temporary) == []
    text = "\n".join(said).encode()
    assert [needle for needle in needles() if needle in text] == []
    assert said[-1] == ""
