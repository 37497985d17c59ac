"""Write the tables of UIDs and sequences in leadglass.dicom from pydicom's dictionaries.

    python tools/generate_sop_classes.py            rewrite the rows between the markers
    python tools/generate_sop_classes.py --check    exit 1 where a file differs

What the standard has gained since that dictionary was made stands in ADDED_*; a row there that the dictionary has too
is an error, so the additions go away by themselves when pydicom catches up.
"""

import re
import sys
from pathlib import Path

from pydicom._dicom_dict import DicomDictionary
from pydicom.uid import UID_dictionary

ROOM = Path(__file__).resolve().parents[1] / "src" / "leadglass" / "dicom"
BEGIN, END = "    # Rows below are written by the tool.\n", "    # Rows above are written by the tool.\n"

# PS3.6 Table A-1 of 2026b. uid -> name
ADDED_STORAGE = {
    "1.2.840.10008.5.1.4.1.1.9.100.1": "Waveform Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.9.100.2": "Waveform Acquisition Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.66.8": "Height Map Segmentation Storage",
}
ADDED_SYNTAXES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}

# PS3.4 Annex GG.3, Non-Patient Object Storage: no patient, study or series. And the DICOMDIR, which is a file only.
NON_PATIENT = {
    "1.2.840.10008.5.1.4.38.1",
    "1.2.840.10008.5.1.4.39.1",
    "1.2.840.10008.5.1.4.43.1",
    "1.2.840.10008.5.1.4.44.1",
    "1.2.840.10008.5.1.4.45.1",
    "1.2.840.10008.5.1.4.1.1.200.1",
    "1.2.840.10008.5.1.4.1.1.200.3",
    "1.2.840.10008.5.1.4.1.1.200.7",
    "1.2.840.10008.5.1.4.1.1.201.1",
}
NOT_SENT = {"1.2.840.10008.1.3.10", "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.2"}

IMPLICIT = {"1.2.840.10008.1.2", "1.2.840.10008.1.20"}
BIG_ENDIAN = {"1.2.840.10008.1.2.2"}
DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
NOT_ENCAPSULATED = (
    IMPLICIT
    | BIG_ENDIAN
    | DEFLATED
    | {
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.4.94",  # JPIP: the pixels are elsewhere
        "1.2.840.10008.1.2.4.204",
    }
)
# MIME and XML are no encodings of a data set, SMPTE ST 2110 ones are for real-time video (PS3.22).
NOT_STORED = re.compile(r"1\.2\.840\.10008\.1\.2\.(6|7)\..*")
# May lose information (PS3.5 10): everything compressed except these.
LOSSLESS = re.compile(
    r"Lossless|JPEG XL JPEG Recompression|Encapsulated Uncompressed|Deflated Image Frame|JPIP"
)
LOSSLESS_PROCESSES = re.compile(r"\.4\.(57|58|65|66|70)$")


def order(uid: str) -> list[int]:
    return [int(part) for part in uid.split(".")]


def storage_rows() -> list[str]:
    rows = {
        uid: (name.removesuffix(" SOP Class"), retired == "Retired")
        for uid, (name, kind, _info, retired, _keyword) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name and uid not in NOT_SENT
    }
    for uid, name in ADDED_STORAGE.items():
        if uid in rows:
            raise SystemExit(f"{uid} is in the dictionary now: remove it from ADDED_STORAGE")
        rows[uid] = (name, False)
    return [
        f'    StorageClass(UID("{uid}"), "{name}"'
        + (", retired=True" if retired else "")
        + (", non_patient=True" if uid in NON_PATIENT else "")
        + "),\n"
        for uid, (name, retired) in sorted(rows.items(), key=lambda row: order(row[0]))
    ]


def syntax_rows() -> list[str]:
    rows = {
        uid: (name, retired == "Retired")
        for uid, (name, kind, _info, retired, _keyword) in UID_dictionary.items()
        if kind == "Transfer Syntax"
    }
    for uid, name in ADDED_SYNTAXES.items():
        if uid in rows:
            raise SystemExit(f"{uid} is in the dictionary now: remove it from ADDED_SYNTAXES")
        rows[uid] = (name, False)
    lines = []
    for uid, (name, retired) in sorted(rows.items(), key=lambda row: order(row[0])):
        storable = NOT_STORED.fullmatch(uid) is None
        encapsulated = storable and uid not in NOT_ENCAPSULATED
        lossless = LOSSLESS.search(name) or LOSSLESS_PROCESSES.search(uid)
        flags = [
            (uid in IMPLICIT, "implicit_vr=True"),
            (uid in BIG_ENDIAN, "big_endian=True"),
            (encapsulated, "encapsulated=True"),
            (uid in DEFLATED, "deflated=True"),
            (encapsulated and not lossless, "lossy=True"),
            (retired, "retired=True"),
            (not storable, "storable=False"),
        ]
        lines.append(
            f'    TransferSyntax(UID("{uid}"), "{name}"'
            + "".join(f", {text}" for on, text in flags if on)
            + "),\n"
        )
    return lines


def sequence_rows() -> list[str]:
    tags = [f"0x{tag:08X}" for tag, (vr, *_rest) in sorted(DicomDictionary.items()) if vr == "SQ"]
    return ["    " + ", ".join(tags[i : i + 8]) + ",\n" for i in range(0, len(tags), 8)]


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    for name, rows in (
        ("sop_classes.py", storage_rows()),
        ("syntaxes.py", syntax_rows()),
        ("sequences.py", sequence_rows()),
    ):
        path = ROOM / name
        text = path.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN, 1)
        after = rest.split(END, 1)[1]
        new = before + BEGIN + "".join(rows) + END + after
        if new != text:
            stale.append(name)
            if not check:
                path.write_text(new, encoding="utf-8")
    print("changed: " + ", ".join(stale) if stale else "up to date")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
