"""States of the upper layer protocol machine. Source: PS3.8 9.2, Table 9-10."""

from enum import IntEnum


class State(IntEnum):
    """Source: PS3.8 Tables 9-1 to 9-5."""

    STA1 = 1
    STA2 = 2
