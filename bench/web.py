"""DICOMweb side by side with Orthanc's plugin over HTTPS: ``make bench``.

Real processes on one machine, TLS 1.3, one keep-alive connection for each server. Leadglass asks for the certificate of an
enrolled device; Orthanc asks nobody who they are. Both answer with the same octets, which is checked. All servers run
during the whole of it and take turns case by case (A B C A B C), so that a noisy neighbour hits all of them; ratios
are taken round by round.

What they promise differs. Leadglass decrypts and authenticates what it sends, asks policy, and puts each request on record;
what it stores is sealed, synced, indexed and on record before its answer. Orthanc stores files that anybody may read
who may read the disk, and keeps no record. ``bare`` is a file over TLS by the same loop and nothing else.
"""

import argparse
import contextlib
import http.client
import json
import socket
import ssl
import statistics
import tempfile  # noqa: TID251 - only synthetic objects come here
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from pump import EXPLICIT_LITTLE_ENDIAN, encode, head_elements, noise, pixel_header
from web_peers import Bare, LeadglassWeb, OrthancWeb, WebServer, missing_for_orthanc

from peers import Credentials
from store import CT_IMAGE, ENHANCED_CT_IMAGE, filesystem, make_site

BOUNDARY: Final = "benchbenchbenchbench"
ANY_SYNTAX: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
PIXELS: Final = 512
READ: Final = 256 * 1024
BLOCK: Final = 4 * 1024 * 1024
ROUND_SECONDS: Final = 15.0
"""After which a round asks no more of a server that is slow."""


# --- what is sent ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """UIDs of a synthetic study: ``count`` instances with ``frames`` frames each, in one series."""

    root: str
    count: int
    frames: int = 1

    @classmethod
    def new(cls, count: int, frames: int = 1) -> "Study":
        return cls(f"2.25.1{uuid.uuid4().int % 10**17:017d}", count, frames)

    @property
    def uid(self) -> str:
        return f"{self.root}.1"

    @property
    def series(self) -> str:
        return f"{self.root}.2"

    def instance(self, number: int) -> str:
        return f"{self.root}.4.{number + 1}"

    def path(self, number: int) -> str:
        return f"/studies/{self.uid}/series/{self.series}/instances/{self.instance(number)}"

    @property
    def octets(self) -> int:
        """Of pixels."""
        return self.count * self.frames * PIXELS * PIXELS * 2


def slices(count: int) -> list[bytes]:
    """Return pixels of CT slices: a body of soft tissue with noise, so that pictures of it are as long as real ones."""
    generator = np.random.default_rng(20261122)
    y, x = np.mgrid[-1 : 1 : PIXELS * 1j, -1 : 1 : PIXELS * 1j]
    made: list[bytes] = []
    for number in range(count):
        wide = 0.7 + 0.1 * np.sin(number / 40)
        body = (x / wide) ** 2 + (y / 0.55) ** 2 < 1
        lungs = ((abs(x) - 0.32) / 0.2) ** 2 + (y / 0.35) ** 2 < 1
        spine = x**2 + (y - 0.38) ** 2 < 0.01
        values = np.where(body, 1064.0, 24.0) - 850 * lungs + 500 * spine
        values += generator.normal(0, 14, values.shape)
        made.append(values.clip(0, 4095).astype("<u2").tobytes())
    return made


def file_head(study: Study, number: int) -> bytes:
    """Return preamble, file meta and data set of an instance up to its pixels. Source: PS3.10 7.1."""
    sop_class = CT_IMAGE if study.frames == 1 else ENHANCED_CT_IMAGE
    uids = {
        "study": study.uid,
        "series": study.series,
        "frame": f"{study.root}.3",
        "instance": study.instance(number),
    }
    elements = head_elements(sop_class, uids, PIXELS, PIXELS, study.frames)
    where = {0x00200013: str(number + 1), 0x00200032: f"-180\\-180\\{number * 1.25 - 120}"}
    elements = [(tag, vr, where[tag].encode() if tag in where else value) for tag, vr, value in elements]
    meta = b"".join(
        map(
            encode,
            (
                (0x00020001, "OB", b"\0\1"),
                (0x00020002, "UI", sop_class.encode()),
                (0x00020003, "UI", uids["instance"].encode()),
                (0x00020010, "UI", EXPLICIT_LITTLE_ENDIAN.encode()),
                (0x00020012, "UI", b"1.2.826.0.1.3680043.8.498.1"),
            ),
        )
    )
    length = encode((0x00020000, "UL", len(meta).to_bytes(4, "little")))
    head = b"".join(map(encode, elements)) + pixel_header(study.octets // study.count)
    return bytes(128) + b"DICM" + length + meta + head


@dataclass(frozen=True)
class Body:
    """A STOW request: pieces that are sent as they are."""

    pieces: Sequence[bytes]

    @property
    def length(self) -> int:
        return sum(map(len, self.pieces))


def stow_body(study: Study, pixels: Callable[[int], Iterable[bytes]]) -> Body:
    pieces: list[bytes] = []
    for number in range(study.count):
        begin = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        pieces += [begin + file_head(study, number), *pixels(number), b"\r\n"]
    return Body([*pieces, f"--{BOUNDARY}--\r\n".encode()])


# --- the client --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    status: int
    seconds: float
    octets: int
    body: bytes


class Client:
    """One keep-alive connection over TLS 1.3."""

    def __init__(self, server: WebServer, authority: Path, credentials: Credentials | None) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if credentials is not None:
            context.load_cert_chain(credentials.certificate, credentials.key)
        self.server = server
        self._connection = http.client.HTTPSConnection(
            "localhost", server.https_port, context=context, timeout=120
        )
        self._buffer = memoryview(bytearray(READ))
        self.connect()
        self.cipher = self._connection.sock.cipher()

    def connect(self) -> None:
        """Connect anew: servers end connections that are idle while others have their turn."""
        self._connection.close()
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, path: str, accept: str = "", body: Body | None = None, *, keep: bool = False) -> Answer:
        """Ask and read the answer to its end; its body is held only if it is to be looked at."""
        headers = {"Accept": accept or "*/*"}
        if body is not None:
            headers["Content-Type"] = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
            headers["Content-Length"] = str(body.length)
        began = time.perf_counter()
        with contextlib.suppress(ssl.SSLEOFError, BrokenPipeError):  # it may answer before the end of a body
            self._connection.request(
                "GET" if body is None else "POST",
                self.server.root + path,
                headers=headers,
                body=None if body is None else iter(body.pieces),
            )
        response = self._connection.getresponse()
        kept: list[bytes] = []
        octets = 0
        while read := response.readinto(self._buffer):
            octets += read
            if keep:
                kept.append(bytes(self._buffer[:read]))
        return Answer(response.status, time.perf_counter() - began, octets, b"".join(kept))

    def close(self) -> None:
        self._connection.close()


# --- the cases ---------------------------------------------------------------------------------------------------


@dataclass
class Round:
    """What one server did in one round of one case.

    Attributes:
        seconds: of each request.
        octets: that all of them moved.
        cpu_seconds: of the server, for all of them.
        grown_mib: how far the server's memory rose above where it stood when they began.
    """

    seconds: list[float]
    octets: int
    cpu_seconds: float
    peak_mib: float
    grown_mib: float


@dataclass
class Case:
    """``run`` asks one server and returns the answers; figures are a rate, or times of single requests."""

    name: str
    rate: bool
    run: Callable[[Client, int], list[Answer]]
    rounds: dict[str, list[Round]] = field(default_factory=dict)


class Failure(Exception):
    """A case that gives no figures with a server, and why."""


def checked(answer: Answer, *statuses: int) -> Answer:
    if answer.status not in (statuses or (200,)):
        raise Failure(f"answered with {answer.status}")
    return answer


class Plan:
    """All cases, and the studies that they share."""

    def __init__(self, count: int, frames: int, samples: int, folder: Path) -> None:
        self.samples = samples
        self.pixels = slices(count)
        self.block = noise(BLOCK)
        self.study = Study.new(count)
        self.large = Study.new(1, frames)
        self.slice_octets = PIXELS * PIXELS * 2
        self.bare_file = folder / "bare.bin"
        with self.bare_file.open("wb") as file:
            file.writelines(self._large_pixels(0))

    def _large_pixels(self, _number: int) -> Iterator[bytes]:
        left = self.large.octets
        while left:
            yield self.block[: min(left, BLOCK)]
            left -= min(left, BLOCK)

    def fill(self, client: Client) -> None:
        """Store what is read later."""
        for study, pixels in ((self.study, self._slice), (self.large, self._large_pixels)):
            checked(client.ask("/studies", "application/dicom+json", stow_body(study, pixels)))

    def _slice(self, number: int) -> Iterator[bytes]:
        yield self.pixels[number]

    def check(self, client: Client) -> None:
        """See that a server gives out what it was given: the pixels of a slice and of a frame, and all instances."""
        for path, wanted in (
            (f"{self.study.path(7)}/frames/1", self.pixels[7]),
            (
                f"{self.large.path(0)}/frames/5",
                (self.block * 2)[4 * self.slice_octets :][: self.slice_octets],
            ),
        ):
            found = checked(client.ask(path, 'multipart/related; type="application/octet-stream"', keep=True))
            if wanted not in found.body:
                raise SystemExit(f"{client.server.name}: a frame is not what was stored")
        found = checked(client.ask(f"/studies/{self.study.uid}", ANY_SYNTAX, keep=True))
        if not all(pixels in found.body for pixels in self.pixels[:: max(1, self.study.count // 5)]):
            raise SystemExit(f"{client.server.name}: the study is not what was stored")

    def cases(self) -> list[Case]:
        study, large = f"/studies/{self.study.uid}", self.large.path(0)
        json_type = "application/dicom+json"
        return [
            Case(f"STOW {self.study.count} CT slices", True, self._stow_slices),
            Case(f"STOW one object of {self.large.octets >> 20} MiB", True, self._stow_large),
            Case(f"WADO study of {self.study.count} CT slices", True, self._get(study, ANY_SYNTAX, 3)),
            Case(f"WADO one object of {self.large.octets >> 20} MiB", True, self._get(large, ANY_SYNTAX, 1)),
            Case("WADO instance 512 KiB", False, self._each("", ANY_SYNTAX)),
            Case("metadata of the study", False, self._get(f"{study}/metadata", json_type, 10, self._all)),
            Case("QIDO its instances", False, self._get(f"{study}/instances", json_type, 10, self._all)),
            Case("QIDO studies by name", False, self._get("/studies?PatientName=SYNTH*", json_type, 20)),
            Case("rendered PNG", False, self._each("/rendered", "image/png")),
            Case("rendered JPEG", False, self._each("/rendered", "image/jpeg")),
            Case("thumbnail of an instance", False, self._each("/thumbnail", "image/jpeg")),
            Case(f"one frame of {self.large.octets >> 20} MiB", False, self._frames),
        ]

    def _stow_slices(self, client: Client, _turn: int) -> list[Answer]:
        body = stow_body(Study.new(self.study.count), self._slice)
        answer = checked(client.ask("/studies", "application/dicom+json", body))
        return [Answer(answer.status, answer.seconds, body.length, b"")]

    def _stow_large(self, client: Client, _turn: int) -> list[Answer]:
        if client.server.name == "bare":
            raise Failure("it stores nothing")
        body = stow_body(Study.new(1, self.large.frames), self._large_pixels)
        answer = checked(client.ask("/studies", "application/dicom+json", body))
        return [Answer(answer.status, answer.seconds, body.length, b"")]

    def _get(
        self, path: str, accept: str, times: int, check: Callable[[Answer], None] | None = None
    ) -> Callable[[Client, int], list[Answer]]:
        def run(client: Client, turn: int) -> list[Answer]:
            if check is not None and not turn:
                check(checked(client.ask(path, accept, keep=True)))
            return _while_time(client, accept, [path] * times)

        return run

    def _all(self, answer: Answer) -> None:
        found = len(json.loads(answer.body))
        if found != self.study.count:
            raise Failure(f"{found} of {self.study.count} instances")

    def _each(self, what: str, accept: str) -> Callable[[Client, int], list[Answer]]:
        def run(client: Client, turn: int) -> list[Answer]:
            # Others in each round: who keeps pictures must make these.
            numbers = [(turn * self.samples + i) % self.study.count for i in range(self.samples)]
            return _while_time(client, accept, [self.study.path(number) + what for number in numbers])

        return run

    def _frames(self, client: Client, turn: int) -> list[Answer]:
        accept = 'multipart/related; type="application/octet-stream"'
        numbers = [(turn * 7919 + i * 104729) % self.large.frames + 1 for i in range(self.samples)]
        return _while_time(client, accept, [f"{self.large.path(0)}/frames/{number}" for number in numbers])


def _while_time(client: Client, accept: str, paths: Iterable[str]) -> list[Answer]:
    """Ask for one after the other, and for the first in any case, until the round has taken long enough."""
    answers: list[Answer] = []
    end = time.monotonic() + ROUND_SECONDS
    for path in paths:
        if answers and time.monotonic() > end:
            break
        answers.append(checked(client.ask(path, accept)))
    return answers


# --- running -----------------------------------------------------------------------------------------------------


def forget_peak(server: WebServer) -> None:
    """Let the kernel count the peak of resident memory anew. Source: proc(5), clear_refs."""
    for pid in server.pids():
        try:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        except OSError:
            continue


def one_round(case: Case, client: Client, turn: int, run: Callable[[Client, int], list[Answer]]) -> Round:
    server = client.server
    client.connect()
    client.ask(
        "/0" if server.name == "bare" else "/studies?StudyInstanceUID=1.2"
    )  # what is first on a connection
    forget_peak(server)
    before = server.usage()
    answers = run(client, turn)
    after = server.usage()
    del case
    return Round(
        [answer.seconds for answer in answers],
        sum(answer.octets for answer in answers),
        after.cpu_seconds - before.cpu_seconds,
        after.peak_kib / 1024,
        (after.peak_kib - before.peak_kib) / 1024,
    )


def measure(cases: Sequence[Case], clients: Sequence[Client], rounds: int) -> None:
    for case in cases:
        refused: set[str] = set()
        for turn in range(rounds):
            for client in clients:
                name = client.server.name
                if name in refused:
                    continue
                run: Callable[[Client, int], list[Answer]] | None = case.run
                if name == "bare":
                    run = _as_bare(case)
                if run is None:
                    continue
                try:
                    result = one_round(case, client, turn, run)
                except Failure as error:
                    print(f"  {case.name}, {name}: no figures: {error}", flush=True)
                    refused.add(name)
                    continue
                case.rounds.setdefault(name, []).append(result)
                print(f"  {case.name}, {name}, round {turn + 1}: {_short(case, result)}", flush=True)


def _as_bare(case: Case) -> Callable[[Client, int], list[Answer]] | None:
    """Return how to ask for as many octets as were just sent; None where it is not about that."""
    others = case.rounds.get("leadglass", [])
    if not case.rate or not others or case.name.startswith("STOW"):
        return None
    times = len(others[-1].seconds)
    octets = others[-1].octets // times
    return lambda client, _turn: [checked(client.ask(f"/{octets}")) for _ in range(times)]


def _short(case: Case, result: Round) -> str:
    if case.rate:
        return f"{_rate(result):.0f} MB/s, CPU {result.cpu_seconds:.2f} s"
    return f"p50 {statistics.median(result.seconds) * 1e3:.1f} ms"


def _rate(result: Round) -> float:
    return result.octets / sum(result.seconds) / 1e6


def _speed(case: Case, result: Round) -> float:
    return _rate(result) if case.rate else 1 / statistics.median(result.seconds)


def table(cases: Sequence[Case]) -> Iterator[str]:
    yield "| case | server | figure | p95 ms | server CPU | peak MiB | x Orthanc (lowest-highest) | x bare |"
    yield "|---|---|---|---|---|---|---|---|"
    for case in cases:
        for name, rounds in case.rounds.items():
            times = sorted(second for result in rounds for second in result.seconds)
            speeds = [_speed(case, result) for result in rounds]
            cpu = sum(result.cpu_seconds for result in rounds)
            if case.rate:
                figure = f"{statistics.median(speeds):.0f} MB/s ({min(speeds):.0f}-{max(speeds):.0f})"
                cost = f"{cpu / sum(result.octets for result in rounds) * 1e9:.2f} s/GB"
                p95 = ""
            else:
                figure = (
                    f"{statistics.median(times) * 1e3:.1f} ms ({times[0] * 1e3:.1f}-{times[-1] * 1e3:.1f})"
                )
                cost = f"{cpu / len(times) * 1e3:.1f} ms"
                p95 = f"{times[int(len(times) * 0.95)] * 1e3:.1f}"
            peak = max(result.peak_mib for result in rounds)
            yield (
                f"| {case.name} | {name} | {figure} | {p95} | {cost} | {peak:.0f} "
                f"| {_ratios(case, name, 'orthanc')} | {_ratios(case, name, 'bare')} |"
            )


def _ratios(case: Case, name: str, other: str) -> str:
    if name == other or other not in case.rounds:
        return ""
    pairs = zip(case.rounds[name], case.rounds[other], strict=False)
    ratios = [_speed(case, mine) / _speed(case, theirs) for mine, theirs in pairs]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a smoke run: one round of little")
    parser.add_argument("--rounds", type=int, default=0, help="default 5; 1 with --quick")
    parser.add_argument(
        "--case", action="append", help="only cases whose name has this in it; again for more"
    )
    parser.add_argument("--server", action="append", help="only this server; again for more")
    parser.add_argument("--folder", type=Path, default=None, help="where the data go")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write every round to FILE")
    parser.add_argument(
        "--profile", type=Path, default=None, metavar="FOLDER", help="profile leadglass's threads"
    )
    options = parser.parse_args()
    LeadglassWeb.profile = options.profile.resolve() if options.profile else None
    rounds = options.rounds or (1 if options.quick else 5)
    wanted = options.server or ["leadglass", "orthanc", "bare"]
    with (
        # /var/tmp and not /tmp, which may be memory: the disk is part of what is measured.
        tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=options.folder or "/var/tmp") as made,
        ExitStack() as running,
    ):
        folder = Path(made).resolve()
        print(f"data on {filesystem(folder)}; {rounds} round(s)", flush=True)
        plan = Plan(*((30, 64, 10) if options.quick else (300, 1000, 40)), folder)
        site, device, server = make_site(folder, "query-retrieve")
        servers: list[WebServer] = []
        if "leadglass" in wanted:
            servers.append(LeadglassWeb(folder / "leadglass", site))
        if "orthanc" in wanted and missing_for_orthanc():
            print(f"skipped: orthanc ({missing_for_orthanc()} is not installed)")
        elif "orthanc" in wanted:
            servers.append(OrthancWeb(folder / "orthanc", server))
        if "bare" in wanted:
            servers.append(Bare(folder / "bare", server, plan.bare_file))
        clients: list[Client] = []
        for one in servers:
            running.callback(one.stop)
            one.start()
            clients.append(Client(one, device.authority, device if isinstance(one, LeadglassWeb) else None))
            running.callback(clients[-1].close)
            print(f"  {one.name}: {clients[-1].cipher}", flush=True)
            if one.name != "bare":
                plan.fill(clients[-1])
                plan.check(clients[-1])
        cases = [
            case
            for case in plan.cases()
            if not options.case or any(part in case.name for part in options.case)
        ]
        measure(cases, clients, rounds)
    print()
    print("\n".join(table(cases)))
    if options.json:
        document = [
            {"case": case.name, "rounds": {name: [vars(r) for r in rs] for name, rs in case.rounds.items()}}
            for case in cases
        ]
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
