"""Entries are found newest first, by event, person, time and object."""

from datetime import timedelta
from pathlib import Path

import pytest

from leadglass.base.errors import IntegrityError
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.audit.reader import Filter, LogReader
from trust.audit.site import ORIGIN, Site


def numbers(site: Site, wanted: Filter | None = None, limit: int | None = None) -> list[int]:
    return [e.sequence for e in LogReader(site.root, ORIGIN, site.cipher).newest_first(wanted, limit)]


def test_filters(site: Site) -> None:
    log = site.open()
    started = site.clock.now()
    for number in range(6):
        code = EventCode.QUERY_ANSWERED if number % 2 else EventCode.INSTANCE_STORED
        log.record(site.event(number, principal=f"device:d{number % 3}", code=code))
        site.clock.advance(10)
    log.record(site.event(6, objects={"instance": [f"1.{n}" for n in range(3000)]}))
    assert numbers(site) == [6, 5, 4, 3, 2, 1, 0]  # while the server runs
    assert numbers(site, limit=2) == [6, 5]
    assert numbers(site, Filter(event="query:")) == [5, 3, 1]
    assert numbers(site, Filter(principal="device:d0")) == [3, 0]
    assert numbers(site, Filter(since=started + timedelta(seconds=40))) == [6, 5, 4]
    assert numbers(site, Filter(until=started + timedelta(seconds=10))) == [1, 0]
    assert numbers(site, Filter(objects={"instance": "1.2.826.0.3"})) == [3]
    assert numbers(site, Filter(objects={"instance": "1.2999"})) == [
        6
    ]  # its token is not in the leaf any more
    assert numbers(site, Filter(objects={"patient": "CANARY^NAME"}), limit=1) == [5]
    assert numbers(site, Filter(outcome="success", correlation="nothing")) == []
    assert LogReader(site.root, ORIGIN).entry(2).payload is None
    with pytest.raises(ValueError, match="key"):
        list(LogReader(site.root, ORIGIN).newest_first(Filter(objects={"patient": "X"})))


def test_many_entries_are_read_in_steps(site: Site) -> None:
    site.fill(2500)
    assert numbers(site) == list(reversed(range(2500)))


def test_an_empty_folder_is_an_empty_log(tmp_path: Path) -> None:
    assert list(LogReader(tmp_path, ORIGIN).newest_first()) == []


def test_the_highest_number_on_record_is_found_from_the_end(site: Site) -> None:
    assert LogReader(site.root, ORIGIN).highest_fact("registry_version") == 0
    site.fill(1500)
    assert LogReader(site.root, ORIGIN).highest_fact("registry_version") == 0
    log = site.open()
    log.record(site.event(0, facts={"registry_version": 7, "device": "ct1"}))
    for number in range(3000):
        # Lookalikes: another fact, a text that quotes the name, a truth value.
        log.record(site.event(number, facts={"octets": 5, "why": '"registry_version":99'}), durable=False)
    log.record(site.event(1, facts={"registry_version": True}))
    log.record(site.event(2, facts={"registry_version": "99"}))
    assert LogReader(site.root, ORIGIN).highest_fact("registry_version") == 7
    log.record(site.event(3, facts={"registry_version": 9}))
    log.record(
        site.event(4, facts={"registry_version": 8})
    )  # two commands at once: recorded the other way round
    reader = LogReader(site.root, ORIGIN)
    assert reader.highest_fact("registry_version") == 9
    assert reader.highest_fact("octets") == 5
    log.close()


def test_a_damaged_entry_on_the_way_is_not_passed_over(site: Site) -> None:
    log = site.open()
    log.record(site.event(0, facts={"registry_version": 7}))
    for number in range(5):
        log.record(site.event(number))
    log.close()
    path = next((site.root / "journal").glob("*.journal"))
    reader = LogReader(site.root, ORIGIN)
    data = bytearray(path.read_bytes())
    data[-600] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        reader.highest_fact("registry_version")
