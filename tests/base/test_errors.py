"""Codes and statuses are a promise to scripts and to peers: they are written down here a second time, by hand."""

import pytest

from leadglass.base import errors
from leadglass.base.errors import LeadglassError, RemoteProtocolError

# class: code, exit status, DIMSE status (PS3.7 Annex C, PS3.4 Tables B.2-1 and C.4-1)
CATALOGUE = {
    "LeadglassError": ("LG-0001", 1, 0x0110),
    "UsageError": ("LG-0100", 2, 0x0110),
    "ConfigurationError": ("LG-0200", 3, 0x0110),
    "ProtocolError": ("LG-0300", 4, 0x0110),
    "LocalProtocolError": ("LG-0301", 4, 0x0110),
    "RemoteProtocolError": ("LG-0302", 4, 0x0110),
    "PeerRefused": ("LG-0310", 5, 0x0110),
    "PeerUnreachable": ("LG-0311", 6, 0x0110),
    "Refused": ("LG-0400", 7, 0x0110),
    "AccessDenied": ("LG-0401", 7, 0x0124),
    "DatasetRefused": ("LG-0402", 7, 0xC000),
    "DuplicateObject": ("LG-0403", 7, 0x0111),
    "IdentifierRefused": ("LG-0404", 7, 0xA900),
    "OutOfResources": ("LG-0405", 7, 0xA700),
    "NotFound": ("LG-0406", 7, 0x0112),
    "StepUpRequired": ("LG-0407", 7, 0x0124),
    "StateConflict": ("LG-0408", 7, 0xC300),
    "RequestRefused": ("LG-0409", 7, 0x0110),
    "IntegrityError": ("LG-0500", 8, 0x0110),
    "KeyUnavailable": ("LG-0600", 9, 0x0110),
    "AuditUnavailable": ("LG-0700", 10, 0xA700),
}

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, LeadglassError)
}


def test_every_class_is_as_it_was_promised() -> None:
    found = {name: (c.code, c.exit_status, c.dimse_status) for name, c in CLASSES.items()}
    assert found == CATALOGUE


def test_codes_are_unique_and_every_class_has_its_own() -> None:
    codes = [vars(one)["code"] for one in CLASSES.values()]
    assert len(set(codes)) == len(codes)


def test_every_class_says_what_it_means() -> None:
    assert all(one.__doc__ for one in CLASSES.values())


@pytest.mark.parametrize("one", CLASSES.values(), ids=lambda one: one.code)
def test_a_hint_and_a_status_are_of_the_raised_error_only(one: type[LeadglassError]) -> None:
    if one is RemoteProtocolError:
        assert RemoteProtocolError("words", abort_reason=2).abort_reason == 2
        return
    error = one("words", hint="do this", dimse_status=0x0122)
    assert (str(error), error.hint, error.dimse_status) == ("words", "do this", 0x0122)
    plain = one("words")
    assert (plain.hint, plain.dimse_status) == ("", CATALOGUE[one.__name__][2])


def test_no_exit_status_is_one_of_the_shell() -> None:
    assert all(0 < one.exit_status < 64 for one in CLASSES.values())
