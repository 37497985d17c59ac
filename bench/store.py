"""How fast objects are stored, side by side with other archives: ``make bench``.

Real processes on one machine: for each case and server a fresh server, one pump (``pump.py``) per association, TLS 1.3
with client certificates, every C-STORE answered before the next is sent. Servers take turns (A B C A B C), so that a
noisy neighbour hits all of them; figures are medians over the rounds.

What the servers promise with their answer differs: storescp has written a file and does not wait for the disk; Orthanc
has written and synced a file and its SQLite index; Leadglass has sealed, synced, indexed and put on record.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile  # noqa: TID251 - only synthetic objects come here
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from peers import Credentials, Leadglass, Orthanc, Server, StoreSCP

CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2.1"
SETTLE_SECONDS: Final = 1.0
"""After the release, so that work put off until then is counted as CPU time too."""


@dataclass(frozen=True)
class Case:
    """What is sent: ``count`` objects on each of ``associations``."""

    name: str
    associations: int
    count: int
    rows: int
    columns: int
    frames: int = 1
    sop_class: str = CT_IMAGE

    @property
    def octets(self) -> int:
        return self.rows * self.columns * 2 * self.frames


FULL: Final = (
    Case("CT slices 512 KiB", 1, 600, 512, 512),
    Case("CT slices 512 KiB", 4, 200, 512, 512),
    Case("objects 10 KiB", 1, 2500, 64, 72),
    Case("objects 10 KiB", 4, 1000, 64, 72),
    Case("multi-frame 2 GB", 1, 1, 512, 512, 4096, ENHANCED_CT_IMAGE),
)
QUICK: Final = (
    Case("CT slices 512 KiB", 1, 100, 512, 512),
    Case("CT slices 512 KiB", 4, 50, 512, 512),
    Case("objects 10 KiB", 1, 400, 64, 72),
    Case("objects 10 KiB", 4, 200, 64, 72),
    Case("multi-frame 64 MB", 1, 1, 512, 512, 128, ENHANCED_CT_IMAGE),
)


@dataclass(frozen=True)
class Result:
    """One run.

    Attributes:
        cpu_per_gb: CPU seconds of the server for 10^9 octets of pixel data.
        cpu_per_object: microseconds of it.
        peak_mib: largest resident memory of one process of the server.
        pump_cpu_per_object: microseconds of CPU of the pump, which shares the machine.
        slowest_ms: the longest wait for one answer.
    """

    per_second: float
    mb_per_second: float
    cpu_per_gb: float
    cpu_per_object: float
    peak_mib: float
    pump_cpu_per_object: float
    slowest_ms: float
    cipher: str


class Failure(Exception):
    """A run that gives no figures, and why."""


def run_case(case: Case, server: Server, credentials: Credentials) -> Result:
    server.start()
    try:
        before = server.usage()
        pumps = [_start_pump(case, server, credentials, number) for number in range(case.associations)]
        try:
            ready = [_line(pump) for pump in pumps]
            for pump in pumps:
                _go(pump)
            done = [_line(pump) for pump in pumps]
            peak = server.usage().peak_kib
            for pump in pumps:
                _go(pump)
            for pump in pumps:
                pump.wait(120)
        finally:
            for pump in pumps:
                pump.kill()
                pump.communicate()
        time.sleep(SETTLE_SECONDS)
        after = server.usage()
    finally:
        server.stop()
    failed = sum(d["failed"] for d in done)
    if failed:
        raise Failure(f"{failed} objects were answered with a failure")
    seconds = max(d["ended"] for d in done) - min(d["started"] for d in done)
    count = sum(d["sent"] for d in done)
    octets = count * case.octets
    cpu = after.cpu_seconds - before.cpu_seconds
    return Result(
        per_second=count / seconds,
        mb_per_second=octets / seconds / 1e6,
        cpu_per_gb=cpu / octets * 1e9,
        cpu_per_object=cpu / count * 1e6,
        peak_mib=max(peak, after.peak_kib) / 1024,
        pump_cpu_per_object=sum(d["cpu"] for d in done) / count * 1e6,
        slowest_ms=max(d["slowest"] for d in done) * 1e3,
        cipher=" ".join(map(str, ready[0]["cipher"][1::-1])) + f", PDU {ready[0]['pdu']}",
    )


def _start_pump(case: Case, server: Server, credentials: Credentials, number: int) -> "subprocess.Popen[str]":
    # Fixed lengths: components without leading zeros, the last ten digits count the instances (PS3.5 9.1).
    root = f"2.25.1{uuid.uuid4().int % 10**17:017d}"
    job = {
        "host": "127.0.0.1",
        "port": server.port,
        "called": server.called,
        "calling": "BENCH_CT",
        "key": str(credentials.key),
        "certificate": str(credentials.certificate),
        "authority": str(credentials.authority),
        "sop_class": case.sop_class,
        "rows": case.rows,
        "columns": case.columns,
        "frames": case.frames,
        "count": case.count,
        "first": 10**9,
        "uids": {
            "study": f"{root}.1.{number + 1}",
            "series": f"{root}.2.{number + 1}",
            "frame": f"{root}.3.{number + 1}",
            "instance": f"{root}.4.{number + 1}.{10**9}",
        },
    }
    pump = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("pump.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert pump.stdin is not None
    pump.stdin.write(json.dumps(job) + "\n")
    pump.stdin.flush()
    return pump


def _go(pump: "subprocess.Popen[str]") -> None:
    assert pump.stdin is not None
    pump.stdin.write("\n")
    pump.stdin.flush()


def _line(pump: "subprocess.Popen[str]") -> dict[str, Any]:
    assert pump.stdout is not None
    line = pump.stdout.readline()
    if not line:
        raise Failure("a pump ended early")
    document: dict[str, Any] = json.loads(line)
    return document


# --- the site and the servers ----------------------------------------------------------------------------------


def _leadglass(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "leadglass.app.cli.main", *arguments],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise SystemExit(f"leadglass {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def make_site(folder: Path, *further_roles: str) -> tuple[Path, Credentials, Credentials]:
    """Make a site; return it, the credentials of the pumps, and those of the other servers."""
    site, devices = folder / "template", folder / "devices"
    _leadglass("init", str(site), "--listen", "127.0.0.1", "--port", "1", "--host-name", "localhost")
    for device, title, role in (("pump", "BENCH_CT", "store"), ("server", "BENCH", "router")):
        _leadglass(
            "device", "enrol", device, "--ae-title", title, "--role", role, "--network", "127.0.0.0/8",
            "--out", str(devices), "--site", str(site),
            *(part for further in further_roles for part in ("--role", further)),
        )  # fmt: skip
    pump, server = (
        Credentials(devices / f"{d}.key.pem", devices / f"{d}.cert.pem", devices / f"{d}.ca.pem")
        for d in ("pump", "server")
    )
    return site, pump, server


def servers(site: Path, credentials: Credentials, wanted: list[str]) -> dict[str, Callable[[Path], Server]]:
    """Return what can be run here, saying what cannot."""
    found: dict[str, Callable[[Path], Server]] = {"leadglass": lambda work: Leadglass(work, site)}
    others: tuple[tuple[str, str, Callable[[Path], Server]], ...] = (
        ("storescp", "storescp", lambda work: StoreSCP(work, credentials)),
        ("orthanc", "Orthanc", lambda work: Orthanc(work, credentials)),
    )
    for name, program, make in others:
        if name in wanted and shutil.which(program) is None:
            print(f"skipped: {name} ({program} is not installed)")
        elif name in wanted:
            found[name] = make
    return {name: make for name, make in found.items() if name in wanted}


def filesystem(folder: Path) -> str:
    """Return device and type of the file system below ``folder``."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, mount, kind = line.split()[:3]
        if folder.is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, f"{kind} on {device}")
    return best[1]


# --- figures -----------------------------------------------------------------------------------------------------


def median(results: list[Result]) -> Result:
    def of(name: str) -> float:
        return statistics.median(float(getattr(result, name)) for result in results)

    numbers = [name for name in Result.__dataclass_fields__ if name != "cipher"]
    return Result(**{name: of(name) for name in numbers}, cipher=results[0].cipher)


def table(cases: tuple[Case, ...], figures: dict[tuple[int, str], list[Result]]) -> Iterator[str]:
    yield (
        f"{'case':<20}{'assoc':>6} {'server':<11}{'obj/s':>9}{'(min-max)':>16}{'MB/s':>8}{'CPU s/GB':>10}"
        f"{'us/obj':>9}{'peak MiB':>10}{'slowest ms':>12}{'pump us':>9}{'x Orthanc':>11}"
    )
    for number, case in enumerate(cases):
        orthanc = figures.get((number, "orthanc"))
        for (of, name), results in figures.items():
            if of != number:
                continue
            m = median(results)
            speeds = [r.per_second for r in results]
            ratio = f"{m.per_second / median(orthanc).per_second:.2f}" if orthanc else ""
            yield (
                f"{case.name:<20}{case.associations:>6} {name:<11}{m.per_second:>9.1f}"
                f"{f'({min(speeds):.1f}-{max(speeds):.1f})':>16}{m.mb_per_second:>8.1f}{m.cpu_per_gb:>10.2f}"
                f"{m.cpu_per_object:>9.0f}{m.peak_mib:>10.1f}{m.slowest_ms:>12.1f}{m.pump_cpu_per_object:>9.0f}{ratio:>11}"
            )


def measure(
    cases: tuple[Case, ...], rounds: int, folder: Path, wanted: list[str]
) -> dict[tuple[int, str], list[Result]]:
    site, pump, server_credentials = make_site(folder)
    makers = servers(site, server_credentials, wanted)
    figures: dict[tuple[int, str], list[Result]] = {}
    for number, case in enumerate(cases):
        for turn in range(rounds):
            for name, make in makers.items():
                label = f"{case.name} on {case.associations}, {name}, round {turn + 1}"
                try:
                    result = run_case(case, make(folder / "work"), pump)
                except Failure as error:
                    print(f"  {label}: no figures: {error}", flush=True)
                    continue
                print(f"  {label}: {result.per_second:.1f}/s ({result.cipher})", flush=True)
                figures.setdefault((number, name), []).append(result)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a smoke run: one round of a few objects")
    parser.add_argument("--rounds", type=int, default=0, help="default 3; 1 with --quick")
    parser.add_argument(
        "--case", type=int, action="append", help="only this case, counted from 0; again for more"
    )
    parser.add_argument("--server", action="append", help="only this server; again for more")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the data go (default: a temporary folder)"
    )
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write every run to FILE")
    parser.add_argument(
        "--profile", type=Path, default=None, metavar="FOLDER", help="profile leadglass's threads"
    )
    options = parser.parse_args()
    cases: tuple[Case, ...] = QUICK if options.quick else FULL
    if options.case:
        cases = tuple(cases[i] for i in options.case)
    Leadglass.profile = options.profile.resolve() if options.profile else None
    rounds = options.rounds or (1 if options.quick else 3)
    # /var/tmp and not /tmp, which may be memory: the disk is part of what is measured.
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=options.folder or "/var/tmp") as made:
        folder = Path(made).resolve()
        print(f"data on {filesystem(folder)}; {rounds} round(s)", flush=True)
        figures = measure(cases, rounds, folder, options.server or ["leadglass", "storescp", "orthanc"])
    print()
    print("\n".join(table(cases, figures)))
    if options.json:
        runs = [
            {"case": asdict(cases[number]), "server": name, "runs": [asdict(r) for r in results]}
            for (number, name), results in figures.items()
        ]
        options.json.write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
