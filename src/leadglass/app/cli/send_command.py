"""``leadglass send``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from leadglass.app.cli.as_device import DeviceCaller, device_option
from leadglass.app.cli.console import json_option, octets, print_by_reason, print_json, progress
from leadglass.base.errors import DatasetRefused, PeerRefused, UsageError
from leadglass.base.limits import MIB
from leadglass.dicom.part10 import FILE_META_BYTES_MAX, read_file_meta
from leadglass.dicom.scan import DatasetScanner
from leadglass.dicom.transcode import can_transcode, transcode
from leadglass.doors.dimse.store_scu import StoreSCU, proposals
from leadglass.doors.folder.importer import files_below
from leadglass.wire.dimse.status import StatusCategory, category, meaning

_READ_BYTES: Final = 1 * MIB
_CONTEXTS_MAX: Final = 60
"""Kinds of objects per association: each may need two of its 128 contexts."""


@dataclass(frozen=True, slots=True)
class _Outgoing:
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset_offset: int

    @property
    def encoding(self) -> tuple[str, str]:
        return self.sop_class_uid, self.transfer_syntax_uid

    def dataset(self) -> Iterator[bytes]:
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.dataset_offset)
            while piece := file.read(_READ_BYTES):
                yield piece


@click.command("send")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@device_option
@json_option
def command(
    paths: tuple[Path, ...], device_path: Path, host: str, port: int, called: str, as_json: bool
) -> None:
    """Send files, and every file below folders, to a node (C-STORE over mutual TLS).

    Objects are sent as they are; where the node does not take their transfer syntax they are decoded. Ends with
    status 7 when an object was not taken; each is listed with the reason.
    """
    caller = DeviceCaller.load(device_path, host=host, port=port, called=called)
    outgoing, failures = _read_all(paths)
    if not outgoing and not failures:
        raise UsageError("there are no files to send")
    sent = 0
    size = 0
    with progress("Sending", as_json=as_json) as tell:
        done = 0
        for batch in _associations(outgoing):
            with caller.associate(proposals([item.encoding for item in batch])) as connection:
                scu = StoreSCU(connection, as_requestor=True)
                for item in batch:
                    tell(done, len(outgoing))
                    reason = _send_one(scu, item)
                    if reason:
                        failures.append((item.path, reason))
                    else:
                        sent += 1
                        size += item.path.stat().st_size
                    done += 1
        tell(len(outgoing), len(outgoing))
    answer: dict[str, Any] = {
        "files": sent + len(failures),
        "sent": sent,
        "octets": size,
        "failed": [{"path": str(path), "reason": reason} for path, reason in failures],
    }
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{sent} objects sent ({octets(size)}), {len(failures)} not.")
        print_by_reason([(path.name, reason) for path, reason in failures])
    if failures:
        raise SystemExit(7)


def _read_all(paths: Sequence[Path]) -> tuple[list[_Outgoing], list[tuple[Path, str]]]:
    outgoing: list[_Outgoing] = []
    failures: list[tuple[Path, str]] = []
    for path in paths:
        for file in files_below(path) if path.is_dir() else (path,):
            try:
                outgoing.append(_read(file))
            except DatasetRefused as error:
                failures.append((file, str(error)))
            except OSError as error:
                failures.append((file, error.strerror or "cannot be read"))
    return outgoing, failures


def _read(path: Path) -> _Outgoing:
    with path.open("rb") as file:
        prefix = file.read(FILE_META_BYTES_MAX)
    meta = read_file_meta(prefix)
    sop_class, sop_instance = meta.sop_class_uid, meta.sop_instance_uid
    scanner = DatasetScanner(meta.transfer_syntax_uid)
    scanner.feed(memoryview(prefix)[meta.dataset_offset :])
    if scanner.study_known:
        # The data set knows better than file meta that somebody may have copied.
        identity = scanner.identity()
        sop_class, sop_instance = identity.sop_class_uid, identity.sop_instance_uid
    if not sop_class or not sop_instance:
        raise DatasetRefused("neither file meta nor data set say what it is")
    return _Outgoing(path, sop_class, sop_instance, meta.transfer_syntax_uid, meta.dataset_offset)


def _associations(outgoing: Sequence[_Outgoing]) -> Iterator[list[_Outgoing]]:
    """Yield what one association can carry, in order."""
    batch: list[_Outgoing] = []
    kinds: set[tuple[str, str]] = set()
    for item in outgoing:
        if item.encoding not in kinds and len(kinds) >= _CONTEXTS_MAX:
            yield batch
            batch, kinds = [], set()
        kinds.add(item.encoding)
        batch.append(item)
    if batch:
        yield batch


def _send_one(scu: StoreSCU, item: _Outgoing) -> str:
    """Send one object; return why it was not taken, or an empty text."""
    chosen = scu.contexts.choose(item.sop_class_uid, item.transfer_syntax_uid)
    if chosen is None:
        return "the node does not take this SOP class from this device"
    context_id, syntax = chosen
    try:
        if syntax == item.transfer_syntax_uid:
            dataset = item.dataset()
        elif can_transcode(item.transfer_syntax_uid, syntax):
            dataset = iter((transcode(b"".join(item.dataset()), item.transfer_syntax_uid, syntax),))
        else:
            return "the node does not take this transfer syntax, and it cannot be decoded here"
        status, comment = scu.store(context_id, item.sop_class_uid, item.sop_instance_uid, dataset)
    except DatasetRefused as error:
        return str(error)
    except PeerRefused as error:
        return str(error)
    if category(status) in {StatusCategory.SUCCESS, StatusCategory.WARNING}:
        return ""
    return f"{meaning(status)} ({status:04X}H)" + (f": {comment}" if comment else "")
