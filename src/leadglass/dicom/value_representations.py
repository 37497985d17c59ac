"""The value representations of explicit VR, by the form of their length. Source: PS3.5 7.1.2."""

from typing import Final

SHORT_VRS: Final = frozenset((
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US",
))  # fmt: skip
"""VRs with a 16-bit length. Source: PS3.5 Table 7.1-2."""

LONG_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
"""VRs with two reserved octets and a 32-bit length. Source: PS3.5 Table 7.1-1."""
