"""Values that must not be printed.

``Secret`` holds key material, ``Phi`` holds a direct identifier of a patient. Neither shows its value in ``repr``,
``str`` or a format string, so a careless log line shows a placeholder; ``reveal`` is what a review greps for.
"""

from typing import Generic, NoReturn, TypeVar, final

T = TypeVar("T")


@final
class Secret:
    """Key material, or a passphrase."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the bytes. Every call is a place that a review looks at."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret(<{len(self._value)} bytes>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never serialised")


@final
class Phi(Generic[T]):
    """A direct identifier of a patient."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """Return the value. Every call is a place that a review looks at."""
        return self._value

    def __repr__(self) -> str:
        return "Phi(<hidden>)"

    def __format__(self, _spec: str) -> str:
        return "Phi(<hidden>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Phi is never serialised")
