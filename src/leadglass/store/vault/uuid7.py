"""Names that sort by time and say nothing else. Source: RFC 9562 5.7."""

from datetime import datetime

from leadglass.store.vault.floe import RandomSource


def milliseconds(moment: datetime) -> int:
    """Return milliseconds since 1970 of an aware time."""
    return int(moment.timestamp() * 1000)


def uuid7(unix_ms: int, random: RandomSource) -> bytes:
    """Return the 16 octets of a UUIDv7: 48 bits of time, 74 random bits."""
    tail = random(10)
    return (
        unix_ms.to_bytes(6, "big") + bytes((0x70 | tail[0] & 0x0F, tail[1], 0x80 | tail[2] & 0x3F)) + tail[3:]
    )
