"""Table 9-10 as data, and nothing else. Source: PS3.8 9.2.

Everything that decides a transition stands in this file; what an action does stands in ``wire.ul.association``. Where
the table gives two next states, the comment beside the entry says who takes which.
"""

from enum import IntEnum, StrEnum
from typing import Final, NamedTuple


class State(IntEnum):
    """Source: PS3.8 Tables 9-1 to 9-5."""

    STA1 = 1
    """Idle."""
    STA2 = 2
    """Transport connection open, awaiting A-ASSOCIATE-RQ."""
    STA3 = 3
    """Awaiting local A-ASSOCIATE response."""
    STA4 = 4
    """Awaiting transport connection opening."""
    STA5 = 5
    """Awaiting A-ASSOCIATE-AC or -RJ."""
    STA6 = 6
    """Association established, ready for data transfer."""
    STA7 = 7
    """Awaiting A-RELEASE-RP."""
    STA8 = 8
    """Awaiting local A-RELEASE response."""
    STA9 = 9
    """Release collision, requestor: awaiting local A-RELEASE response."""
    STA10 = 10
    """Release collision, acceptor: awaiting A-RELEASE-RP."""
    STA11 = 11
    """Release collision, requestor: awaiting A-RELEASE-RP."""
    STA12 = 12
    """Release collision, acceptor: awaiting local A-RELEASE response."""
    STA13 = 13
    """Awaiting transport connection close."""


class Event(IntEnum):
    """Source: PS3.8 9.2.2."""

    EVT1 = 1
    """A-ASSOCIATE request (local user)."""
    EVT2 = 2
    """Transport connection confirmation (local transport service)."""
    EVT3 = 3
    """A-ASSOCIATE-AC received."""
    EVT4 = 4
    """A-ASSOCIATE-RJ received."""
    EVT5 = 5
    """Transport connection indication (local transport service)."""
    EVT6 = 6
    """A-ASSOCIATE-RQ received."""
    EVT7 = 7
    """A-ASSOCIATE response, accept (local user)."""
    EVT8 = 8
    """A-ASSOCIATE response, reject (local user)."""
    EVT9 = 9
    """P-DATA request (local user)."""
    EVT10 = 10
    """P-DATA-TF received."""
    EVT11 = 11
    """A-RELEASE request (local user)."""
    EVT12 = 12
    """A-RELEASE-RQ received."""
    EVT13 = 13
    """A-RELEASE-RP received."""
    EVT14 = 14
    """A-RELEASE response (local user)."""
    EVT15 = 15
    """A-ABORT request (local user)."""
    EVT16 = 16
    """A-ABORT received."""
    EVT17 = 17
    """Transport connection closed (local transport service)."""
    EVT18 = 18
    """ARTIM timer expired."""
    EVT19 = 19
    """Unrecognized or invalid PDU received."""


class Action(StrEnum):
    """Source: PS3.8 Tables 9-6 to 9-9."""

    AE_1 = "AE-1"
    """Issue TRANSPORT CONNECT request to the local transport service."""
    AE_2 = "AE-2"
    """Send A-ASSOCIATE-RQ."""
    AE_3 = "AE-3"
    """Issue A-ASSOCIATE confirmation (accept)."""
    AE_4 = "AE-4"
    """Issue A-ASSOCIATE confirmation (reject) and close the transport connection."""
    AE_5 = "AE-5"
    """Take the transport connection; start ARTIM."""
    AE_6 = "AE-6"
    """Stop ARTIM; indicate A-ASSOCIATE if the request is acceptable, else send A-ASSOCIATE-RJ and start ARTIM."""
    AE_7 = "AE-7"
    """Send A-ASSOCIATE-AC."""
    AE_8 = "AE-8"
    """Send A-ASSOCIATE-RJ and start ARTIM."""
    DT_1 = "DT-1"
    """Send P-DATA-TF."""
    DT_2 = "DT-2"
    """Indicate P-DATA."""
    AR_1 = "AR-1"
    """Send A-RELEASE-RQ."""
    AR_2 = "AR-2"
    """Indicate A-RELEASE."""
    AR_3 = "AR-3"
    """Confirm A-RELEASE and close the transport connection."""
    AR_4 = "AR-4"
    """Send A-RELEASE-RP and start ARTIM."""
    AR_5 = "AR-5"
    """Stop ARTIM."""
    AR_6 = "AR-6"
    """Indicate P-DATA."""
    AR_7 = "AR-7"
    """Send P-DATA-TF."""
    AR_8 = "AR-8"
    """Indicate A-RELEASE (collision); the requestor goes to Sta9, the acceptor to Sta10."""
    AR_9 = "AR-9"
    """Send A-RELEASE-RP."""
    AR_10 = "AR-10"
    """Confirm A-RELEASE."""
    AA_1 = "AA-1"
    """Send A-ABORT (service-user source) and start, or restart, ARTIM."""
    AA_2 = "AA-2"
    """Stop ARTIM if it runs; close the transport connection."""
    AA_3 = "AA-3"
    """Indicate A-ABORT or A-P-ABORT as received and close the transport connection."""
    AA_4 = "AA-4"
    """Indicate A-P-ABORT."""
    AA_5 = "AA-5"
    """Stop ARTIM."""
    AA_6 = "AA-6"
    """Ignore the PDU."""
    AA_7 = "AA-7"
    """Send A-ABORT."""
    AA_8 = "AA-8"
    """Send A-ABORT (service-provider source), indicate A-P-ABORT, start ARTIM."""


class Transition(NamedTuple):
    """One cell of the table.

    Attributes:
        otherwise: the second next state of AE-6 (request not acceptable) and AR-8 (we are the acceptor).
    """

    action: Action
    next_state: State
    otherwise: State | None = None


TRANSITIONS: Final[dict[tuple[Event, State], Transition]] = {
    # A-ASSOCIATE request (local user)
    (Event.EVT1, State.STA1): Transition(Action.AE_1, State.STA4),
    # Transport connection confirmation (local transport service)
    (Event.EVT2, State.STA4): Transition(Action.AE_2, State.STA5),
    # A-ASSOCIATE-AC received
    (Event.EVT3, State.STA2): Transition(Action.AA_1, State.STA13),
    (Event.EVT3, State.STA3): Transition(Action.AA_8, State.STA13),
    (Event.EVT3, State.STA5): Transition(Action.AE_3, State.STA6),
    (Event.EVT3, State.STA6): Transition(Action.AA_8, State.STA13),
    (Event.EVT3, State.STA7): Transition(Action.AA_8, State.STA13),
    (Event.EVT3, State.STA8): Transition(Action.AA_8, State.STA13),
    (Event.EVT3, State.STA9): Transition(Action.AA_8, State.STA13),
    (Event.EVT3, State.STA10): Transition(Action.AA_8, State.STA13),
    (Event.EVT3, State.STA11): Transition(Action.AA_8, State.STA13),
    (Event.EVT3, State.STA12): Transition(Action.AA_8, State.STA13),
    (Event.EVT3, State.STA13): Transition(Action.AA_6, State.STA13),
    # A-ASSOCIATE-RJ received
    (Event.EVT4, State.STA2): Transition(Action.AA_1, State.STA13),
    (Event.EVT4, State.STA3): Transition(Action.AA_8, State.STA13),
    (Event.EVT4, State.STA5): Transition(Action.AE_4, State.STA1),
    (Event.EVT4, State.STA6): Transition(Action.AA_8, State.STA13),
    (Event.EVT4, State.STA7): Transition(Action.AA_8, State.STA13),
    (Event.EVT4, State.STA8): Transition(Action.AA_8, State.STA13),
    (Event.EVT4, State.STA9): Transition(Action.AA_8, State.STA13),
    (Event.EVT4, State.STA10): Transition(Action.AA_8, State.STA13),
    (Event.EVT4, State.STA11): Transition(Action.AA_8, State.STA13),
    (Event.EVT4, State.STA12): Transition(Action.AA_8, State.STA13),
    (Event.EVT4, State.STA13): Transition(Action.AA_6, State.STA13),
    # Transport connection indication (local transport service)
    (Event.EVT5, State.STA1): Transition(Action.AE_5, State.STA2),
    # A-ASSOCIATE-RQ received
    (Event.EVT6, State.STA2): Transition(Action.AE_6, State.STA3, State.STA13),
    (Event.EVT6, State.STA3): Transition(Action.AA_8, State.STA13),
    (Event.EVT6, State.STA5): Transition(Action.AA_8, State.STA13),
    (Event.EVT6, State.STA6): Transition(Action.AA_8, State.STA13),
    (Event.EVT6, State.STA7): Transition(Action.AA_8, State.STA13),
    (Event.EVT6, State.STA8): Transition(Action.AA_8, State.STA13),
    (Event.EVT6, State.STA9): Transition(Action.AA_8, State.STA13),
    (Event.EVT6, State.STA10): Transition(Action.AA_8, State.STA13),
    (Event.EVT6, State.STA11): Transition(Action.AA_8, State.STA13),
    (Event.EVT6, State.STA12): Transition(Action.AA_8, State.STA13),
    (Event.EVT6, State.STA13): Transition(Action.AA_7, State.STA13),
    # A-ASSOCIATE response, accept (local user)
    (Event.EVT7, State.STA3): Transition(Action.AE_7, State.STA6),
    # A-ASSOCIATE response, reject (local user)
    (Event.EVT8, State.STA3): Transition(Action.AE_8, State.STA13),
    # P-DATA request (local user)
    (Event.EVT9, State.STA6): Transition(Action.DT_1, State.STA6),
    (Event.EVT9, State.STA8): Transition(Action.AR_7, State.STA8),
    # P-DATA-TF received
    (Event.EVT10, State.STA2): Transition(Action.AA_1, State.STA13),
    (Event.EVT10, State.STA3): Transition(Action.AA_8, State.STA13),
    (Event.EVT10, State.STA5): Transition(Action.AA_8, State.STA13),
    (Event.EVT10, State.STA6): Transition(Action.DT_2, State.STA6),
    (Event.EVT10, State.STA7): Transition(Action.AR_6, State.STA7),
    (Event.EVT10, State.STA8): Transition(Action.AA_8, State.STA13),
    (Event.EVT10, State.STA9): Transition(Action.AA_8, State.STA13),
    (Event.EVT10, State.STA10): Transition(Action.AA_8, State.STA13),
    (Event.EVT10, State.STA11): Transition(Action.AA_8, State.STA13),
    (Event.EVT10, State.STA12): Transition(Action.AA_8, State.STA13),
    (Event.EVT10, State.STA13): Transition(Action.AA_6, State.STA13),
    # A-RELEASE request (local user)
    (Event.EVT11, State.STA6): Transition(Action.AR_1, State.STA7),
    # A-RELEASE-RQ received
    (Event.EVT12, State.STA2): Transition(Action.AA_1, State.STA13),
    (Event.EVT12, State.STA3): Transition(Action.AA_8, State.STA13),
    (Event.EVT12, State.STA5): Transition(Action.AA_8, State.STA13),
    (Event.EVT12, State.STA6): Transition(Action.AR_2, State.STA8),
    (Event.EVT12, State.STA7): Transition(Action.AR_8, State.STA9, State.STA10),
    (Event.EVT12, State.STA8): Transition(Action.AA_8, State.STA13),
    (Event.EVT12, State.STA9): Transition(Action.AA_8, State.STA13),
    (Event.EVT12, State.STA10): Transition(Action.AA_8, State.STA13),
    (Event.EVT12, State.STA11): Transition(Action.AA_8, State.STA13),
    (Event.EVT12, State.STA12): Transition(Action.AA_8, State.STA13),
    (Event.EVT12, State.STA13): Transition(Action.AA_6, State.STA13),
    # A-RELEASE-RP received
    (Event.EVT13, State.STA2): Transition(Action.AA_1, State.STA13),
    (Event.EVT13, State.STA3): Transition(Action.AA_8, State.STA13),
    (Event.EVT13, State.STA5): Transition(Action.AA_8, State.STA13),
    (Event.EVT13, State.STA6): Transition(Action.AA_8, State.STA13),
    (Event.EVT13, State.STA7): Transition(Action.AR_3, State.STA1),
    (Event.EVT13, State.STA8): Transition(Action.AA_8, State.STA13),
    (Event.EVT13, State.STA9): Transition(Action.AA_8, State.STA13),
    (Event.EVT13, State.STA10): Transition(Action.AR_10, State.STA12),
    (Event.EVT13, State.STA11): Transition(Action.AR_3, State.STA1),
    (Event.EVT13, State.STA12): Transition(Action.AA_8, State.STA13),
    (Event.EVT13, State.STA13): Transition(Action.AA_6, State.STA13),
    # A-RELEASE response (local user)
    (Event.EVT14, State.STA8): Transition(Action.AR_4, State.STA13),
    (Event.EVT14, State.STA9): Transition(Action.AR_9, State.STA11),
    (Event.EVT14, State.STA12): Transition(Action.AR_4, State.STA13),
    # A-ABORT request (local user)
    (Event.EVT15, State.STA3): Transition(Action.AA_1, State.STA13),
    (Event.EVT15, State.STA4): Transition(Action.AA_2, State.STA1),
    (Event.EVT15, State.STA5): Transition(Action.AA_1, State.STA13),
    (Event.EVT15, State.STA6): Transition(Action.AA_1, State.STA13),
    (Event.EVT15, State.STA7): Transition(Action.AA_1, State.STA13),
    (Event.EVT15, State.STA8): Transition(Action.AA_1, State.STA13),
    (Event.EVT15, State.STA9): Transition(Action.AA_1, State.STA13),
    (Event.EVT15, State.STA10): Transition(Action.AA_1, State.STA13),
    (Event.EVT15, State.STA11): Transition(Action.AA_1, State.STA13),
    (Event.EVT15, State.STA12): Transition(Action.AA_1, State.STA13),
    # A-ABORT received
    (Event.EVT16, State.STA2): Transition(Action.AA_2, State.STA1),
    (Event.EVT16, State.STA3): Transition(Action.AA_3, State.STA1),
    (Event.EVT16, State.STA5): Transition(Action.AA_3, State.STA1),
    (Event.EVT16, State.STA6): Transition(Action.AA_3, State.STA1),
    (Event.EVT16, State.STA7): Transition(Action.AA_3, State.STA1),
    (Event.EVT16, State.STA8): Transition(Action.AA_3, State.STA1),
    (Event.EVT16, State.STA9): Transition(Action.AA_3, State.STA1),
    (Event.EVT16, State.STA10): Transition(Action.AA_3, State.STA1),
    (Event.EVT16, State.STA11): Transition(Action.AA_3, State.STA1),
    (Event.EVT16, State.STA12): Transition(Action.AA_3, State.STA1),
    (Event.EVT16, State.STA13): Transition(Action.AA_2, State.STA1),
    # Transport connection closed (local transport service)
    (Event.EVT17, State.STA2): Transition(Action.AA_5, State.STA1),
    (Event.EVT17, State.STA3): Transition(Action.AA_4, State.STA1),
    (Event.EVT17, State.STA4): Transition(Action.AA_4, State.STA1),
    (Event.EVT17, State.STA5): Transition(Action.AA_4, State.STA1),
    (Event.EVT17, State.STA6): Transition(Action.AA_4, State.STA1),
    (Event.EVT17, State.STA7): Transition(Action.AA_4, State.STA1),
    (Event.EVT17, State.STA8): Transition(Action.AA_4, State.STA1),
    (Event.EVT17, State.STA9): Transition(Action.AA_4, State.STA1),
    (Event.EVT17, State.STA10): Transition(Action.AA_4, State.STA1),
    (Event.EVT17, State.STA11): Transition(Action.AA_4, State.STA1),
    (Event.EVT17, State.STA12): Transition(Action.AA_4, State.STA1),
    (Event.EVT17, State.STA13): Transition(Action.AR_5, State.STA1),
    # ARTIM timer expired
    (Event.EVT18, State.STA2): Transition(Action.AA_2, State.STA1),
    (Event.EVT18, State.STA13): Transition(Action.AA_2, State.STA1),
    # Unrecognized or invalid PDU received
    (Event.EVT19, State.STA2): Transition(Action.AA_1, State.STA13),
    (Event.EVT19, State.STA3): Transition(Action.AA_8, State.STA13),
    (Event.EVT19, State.STA5): Transition(Action.AA_8, State.STA13),
    (Event.EVT19, State.STA6): Transition(Action.AA_8, State.STA13),
    (Event.EVT19, State.STA7): Transition(Action.AA_8, State.STA13),
    (Event.EVT19, State.STA8): Transition(Action.AA_8, State.STA13),
    (Event.EVT19, State.STA9): Transition(Action.AA_8, State.STA13),
    (Event.EVT19, State.STA10): Transition(Action.AA_8, State.STA13),
    (Event.EVT19, State.STA11): Transition(Action.AA_8, State.STA13),
    (Event.EVT19, State.STA12): Transition(Action.AA_8, State.STA13),
    (Event.EVT19, State.STA13): Transition(Action.AA_7, State.STA13),
}
