"""A private key at rest: sealed under a key of its own, which the KEK provider wraps.

The provider wraps 16 to 128 octets; a PKCS#8 P-256 key has 138. So 32 random octets are wrapped, and the key is
sealed under them.
"""

import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leadglass.base.errors import IntegrityError, KeyUnavailable, OutOfResources, UsageError
from leadglass.base.secret import Secret
from leadglass.trust.keys.interfaces import KeyEncryptionProvider

_FORMAT: Final = 1
_BYTES_MAX: Final = 64 * 1024  # an RSA-8192 key is about 5 KiB


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    provider: str
    wrapped: bytes
    nonce: bytes
    ciphertext: bytes


def seal(plaintext: Secret, provider: KeyEncryptionProvider, purpose: str) -> bytes:
    """Return ``plaintext`` sealed; ``purpose`` must be given again to open it.

    The key is random and seals this one message, so that no nonce can repeat under it; the nonce is random all the
    same, so that this still holds if somebody should ever keep the key.
    """
    key = Secret(os.urandom(32))
    nonce = os.urandom(12)
    return msgspec.json.encode(
        _Sealed(
            format=_FORMAT,
            provider=provider.provider_id,
            wrapped=provider.wrap(key, {"purpose": purpose}),
            nonce=nonce,
            ciphertext=AESGCM(key.reveal()).encrypt(nonce, plaintext.reveal(), _associated(purpose)),
        )
    )


def unseal(sealed: bytes, provider: KeyEncryptionProvider, purpose: str) -> Secret:
    """Return what was sealed.

    Raises:
        IntegrityError: it is not what was sealed, or was sealed for another purpose.
        KeyUnavailable: the provider did not unwrap its key.
    """
    try:
        box = msgspec.json.decode(sealed, type=_Sealed)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError("a sealed private key cannot be read") from error
    if box.format != _FORMAT or len(box.nonce) != 12:
        raise IntegrityError("a sealed private key is of an unknown format")
    if box.provider != provider.provider_id:
        raise KeyUnavailable("a private key was sealed under another KEK provider")
    key = provider.unwrap(box.wrapped, {"purpose": purpose})
    try:
        return Secret(AESGCM(key.reveal()).decrypt(box.nonce, box.ciphertext, _associated(purpose)))
    except (InvalidTag, ValueError) as error:
        raise IntegrityError("a sealed private key is not what was sealed") from error


def _associated(purpose: str) -> bytes:
    return f"leadglass sealed key {_FORMAT} {purpose}".encode()


def read_bounded(path: Path) -> bytes:
    """Return a small file of ours.

    Raises:
        IntegrityError: it is missing or longer than any of ours.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise IntegrityError(f"{path.name} cannot be read: {error.strerror}") from error
    if len(content) > _BYTES_MAX:
        raise IntegrityError(f"{path.name} is too long")
    return content


def write_new(path: Path, content: bytes) -> None:
    """Write a file that was not there, durably, readable by its owner only.

    Raises:
        UsageError: there is a file of that name; it is never overwritten.
        OutOfResources: the disk refused it.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise UsageError(f"{path.name} exists already and is not overwritten") from error
    except OSError as error:
        raise OutOfResources(f"{path.name} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        path.unlink(missing_ok=True)  # half a key helps nobody
        raise OutOfResources(f"{path.name} cannot be written: {error.strerror}") from error
