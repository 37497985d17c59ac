"""The generated tables are those of the generator, and hold what the tables of the standard list."""

import json
import subprocess
import sys
from pathlib import Path

from corpus import CORPUS, needs_corpus
from leadglass.dicom import sop_classes
from leadglass.dicom.sop_classes import ACCEPTED_STORAGE_CLASSES, STORAGE_CLASSES, is_storage_class
from leadglass.dicom.syntaxes import STORABLE_TRANSFER_SYNTAXES, TRANSFER_SYNTAXES, private_transfer_syntax

ROOT = Path(__file__).resolve().parents[2]


def test_committed_tables_are_those_of_the_generator() -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "generate_sop_classes.py"), "--check"],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_corpus
def test_every_storage_class_of_the_standard_is_there() -> None:
    current = json.loads(
        (CORPUS / "standard/highdicom-2026b/sop_class_iod_map.json").read_text(encoding="utf-8")
    )
    older = json.loads((CORPUS / "standard/innolitics-2024b/sops.json").read_text(encoding="utf-8"))
    listed = set(current) | {row["id"] for row in older}
    listed.discard("1.2.840.10008.1.3.10")  # Media Storage Directory: a file, never sent
    assert listed <= set(STORAGE_CLASSES)
    retired = {uid for uid in listed if STORAGE_CLASSES[uid].retired}
    assert not retired & set(current)
    assert len(listed) >= 179


def test_classes_without_a_study_are_not_offered() -> None:
    hanging_protocol = "1.2.840.10008.5.1.4.38.1"
    assert STORAGE_CLASSES[hanging_protocol].non_patient
    assert hanging_protocol not in ACCEPTED_STORAGE_CLASSES
    assert "1.2.840.10008.5.1.4.1.1.2" in ACCEPTED_STORAGE_CLASSES
    assert not is_storage_class(sop_classes.VERIFICATION)
    assert not is_storage_class(sop_classes.STORAGE_COMMITMENT_PUSH_MODEL)


def test_transfer_syntaxes_say_how_they_encode() -> None:
    def flags(uid: str) -> tuple[bool, ...]:
        s = TRANSFER_SYNTAXES[uid]
        return s.implicit_vr, s.big_endian, s.encapsulated, s.deflated, s.lossy, s.retired

    assert flags("1.2.840.10008.1.2") == (True, False, False, False, False, False)
    assert flags("1.2.840.10008.1.2.1") == (False,) * 6
    assert flags("1.2.840.10008.1.2.1.99") == (False, False, False, True, False, False)
    assert flags("1.2.840.10008.1.2.2") == (False, True, False, False, False, True)
    assert flags("1.2.840.10008.1.2.4.50") == (False, False, True, False, True, False)
    assert flags("1.2.840.10008.1.2.4.70") == (False, False, True, False, False, False)
    assert flags("1.2.840.10008.1.2.4.95") == (False, False, False, True, False, False)
    assert flags("1.2.840.10008.1.2.5") == (False, False, True, False, False, False)
    assert "1.2.840.10008.1.2.6.2" not in STORABLE_TRANSFER_SYNTAXES
    assert not any(s.implicit_vr and s.encapsulated for s in TRANSFER_SYNTAXES.values())


def test_private_transfer_syntax_is_encapsulated_unless_told_otherwise() -> None:
    uid = STORABLE_TRANSFER_SYNTAXES[0]
    assert private_transfer_syntax(uid, "ours").encapsulated
    assert not private_transfer_syntax(uid, "ours", implicit_vr=True, encapsulated=False).encapsulated
