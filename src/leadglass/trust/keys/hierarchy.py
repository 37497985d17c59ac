"""What a study key gives: keys of objects, packs and rows, and the tag of a context.

::

    OK  object key   HKDF-Expand-SHA-256(SK, "leadglass/v1/object-key" 00 || object_id || u64 version || u16 suite)
    CK  context key  HKDF-Expand-SHA-256(SK, "leadglass/v1/context-key" 00)
    PK  pack key     HKDF-Expand-SHA-256(SK, "leadglass/v1/pack-key" 00 || pack_id)
    RK  row key      HKDF-Expand-SHA-256(SK, "leadglass/v1/row-key" 00)

SK is 32 random bytes, so it is a pseudo-random key already and HKDF-Extract has nothing to add. Source: RFC 5869 3.3.
"""

import struct
from typing import Final, final

from leadglass.base.errors import LocalProtocolError
from leadglass.trust.keys.derive import KeyedHash, label
from leadglass.trust.keys.row_seal import RowSeal

ID_BYTES: Final = 16

_OBJECT_KEY: Final = label("object-key")
_CONTEXT_KEY: Final = label("context-key")
_PACK_KEY: Final = label("pack-key")
_ROW_KEY: Final = label("row-key")
_VERSION_AND_SUITE: Final = struct.Struct(">QH")


@final
class OpenStudyKey:
    """Implements ``StudyKey``. Immutable, so threads share it.

    The study key itself is not kept as bytes: only keyed HMAC contexts and one AES context stay in memory.
    """

    __slots__ = ("_context", "_root", "generation", "key_id", "rows")

    def __init__(self, key_id: bytes, generation: int, key: bytes) -> None:
        self.key_id = key_id
        self.generation = generation
        self._root = KeyedHash(key)
        self._context = KeyedHash(self._root.expand(_CONTEXT_KEY))
        self.rows = RowSeal(self._root.expand(_ROW_KEY))

    def object_key(self, object_id: bytes, version: int, suite: int) -> bytes:
        """Return the 32-byte FLOE key of one record.

        The id is new for every write, so no two records share a key and FLOE's segment nonces never meet.
        """
        if len(object_id) != ID_BYTES:
            raise LocalProtocolError("an object id has 16 bytes")
        return self._root.expand(_OBJECT_KEY + object_id + _VERSION_AND_SUITE.pack(version, suite))

    def context_tag(self, context: bytes) -> bytes:
        """Return HMAC-SHA-256 of ``context`` under the context key: 32 bytes."""
        return self._context.digest(context)

    def pack_key(self, pack_id: bytes) -> bytes:
        """Return the 32-byte key that authenticates the directory of one pack."""
        if len(pack_id) != ID_BYTES:
            raise LocalProtocolError("a pack id has 16 bytes")
        return self._root.expand(_PACK_KEY + pack_id)

    def __repr__(self) -> str:
        return f"OpenStudyKey({self.key_id.hex()}, generation {self.generation})"
