"""What must hold of a site whatever happened to it: asked of the commands an operator has."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from hostile.peer import Slice, fetch, instances_found
from running_node import DeviceFiles, Site


def assert_served(site: Site, device: DeviceFiles, promised: Collection[Slice]) -> None:
    """Everything promised is found by C-FIND and fetched by C-GET, octet for octet."""
    studies: dict[str, dict[str, bytes]] = {}
    for image in promised:
        studies.setdefault(image.study, {})[image.sop_instance] = image.dataset
    for study, wanted in studies.items():
        found = instances_found(site, device, study, f"{study}.1")
        assert set(wanted) <= found, f"{len(set(wanted) - found)} of {len(wanted)} not found"
        status, got, failed = fetch(site, device, study)
        assert (status, failed) == (0, 0)
        altered = [uid for uid, dataset in wanted.items() if got.get(uid) != dataset]
        assert not altered, f"{len(altered)} of {len(wanted)} are not what was sent"


def assert_whole(site: Site) -> dict[str, Any]:
    """Packs, index and audit log are authentic, whole and agree; return the vault's report."""
    vault = site.on_site("vault", "verify")
    assert vault["findings"] == []
    audit = site.on_site("audit", "verify")
    assert audit["findings"] == []
    assert (audit["errors"], audit["warnings"]) == (0, 0)
    return vault


def entries(site: Site, *options: str, limit: int = 10_000) -> list[dict[str, Any]]:
    """Read the audit log, newest first."""
    shown: list[dict[str, Any]] = site.on_site("audit", "show", "--limit", str(limit), *options)["entries"]
    return shown


def events_of(site: Site, images: Iterable[Slice]) -> Counter[str]:
    """Count the entries that say *stored*, by SOP Instance UID."""
    shown = entries(site, "--event", "store:instance:stored", "--details")
    wanted = {image.sop_instance for image in images}
    counted: Counter[str] = Counter()
    for entry in shown:
        for uid in entry["detail"].get("objects", {}).get("instance", ()):
            if uid in wanted:
                counted[uid] += 1
    return counted
