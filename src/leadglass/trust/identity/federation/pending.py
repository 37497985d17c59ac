"""Where a sign-in comes back to."""

from typing import Final

_CHARACTERS_MAX: Final = 1024


def local_path(return_to: str) -> str:
    r"""Return ``return_to`` if a browser would take it for a path of this site; else ``/``.

    ``//host``, ``/\host`` and control characters lead browsers elsewhere: an open redirect is how a sign-in page helps
    a phisher.
    """
    plain = return_to.isascii() and return_to.isprintable() and len(return_to) <= _CHARACTERS_MAX
    if not plain or not return_to.startswith("/") or return_to.startswith("//") or "\\" in return_to:
        return "/"
    return return_to
