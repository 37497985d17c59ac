"""Rows that belong to no single study: sealed under a key of the site, and bound to their columns.

**Invariant:** the kind of row is part of what a seal is bound to, so a row of one table does not open as one of another.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from leadglass.base.clock import Clock
from leadglass.base.errors import IntegrityError
from leadglass.store.index.database import Value
from leadglass.store.index.interfaces import SiteCipher

_DOMAIN: Final = "leadglass/v1/index"
"""Another domain than the payloads of the audit log, under the same key: nonces are random, and what is sealed for one
does not open as the other."""

_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class SiteRows:
    """What seals such rows, and what tells whether they are over.

    Attributes:
        cipher: of the site.
        clock: relations end by it.
    """

    cipher: SiteCipher
    clock: Clock

    def seal(self, kind: str, content: object, *columns: Value) -> bytes:
        """Return ``content`` sealed, bound to the kind of row and its columns."""
        return self.cipher.seal_payload(_encode(content), _encode((_DOMAIN, kind, *columns)))

    def open(self, kind: str, sealed: bytes, *columns: Value) -> bytes:
        """Return the content in MessagePack.

        Raises:
            IntegrityError: it is not what was sealed; the message names the kind of row.
        """
        try:
            return self.cipher.open_payload(sealed, _encode((_DOMAIN, kind, *columns)))
        except IntegrityError:
            raise IntegrityError(f"a row of table {kind} is not what was written") from None
