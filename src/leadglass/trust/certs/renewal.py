"""The node's own certificate: made by ``init``, made anew at a start before it ends.

A renewal writes a whole new folder and swaps it in with renames, so that a crash in between leaves one that is whole.
"""

import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from leadglass.base.clock import Clock
from leadglass.trust.certs.authority import CertificateAuthority
from leadglass.trust.certs.node_key import NodeCredentials, open_node_credentials, write_node_credentials
from leadglass.trust.identity.models import CertificateFacts
from leadglass.trust.keys.interfaces import KeyEncryptionProvider

RENEW_BEFORE: Final = timedelta(days=30)
"""A third of its 90 days: a node is restarted for updates at least that often."""


def make_node_certificate(
    folder: Path, authority: CertificateAuthority, names: Sequence[str], provider: KeyEncryptionProvider
) -> CertificateFacts:
    """Issue the first certificate of a node."""
    folder.mkdir(mode=0o700)
    issued = authority.issue_server(names)
    write_node_credentials(folder, issued, provider)
    return issued.facts


def open_node_certificate(
    folder: Path,
    authority: CertificateAuthority,
    names: Sequence[str],
    provider: KeyEncryptionProvider,
    clock: Clock,
) -> tuple[NodeCredentials, CertificateFacts | None]:
    """Open the node's credentials, made anew if they end soon.

    Returns:
        The credentials, and the facts of the new certificate where there is one, for the record.

    Raises:
        IntegrityError: they are not what was written.
    """
    new, old = folder.with_suffix(".new"), folder.with_suffix(".old")
    _finish_interrupted(folder, new, old)
    credentials = open_node_credentials(folder, provider)
    if credentials.facts.not_after - clock.now() > RENEW_BEFORE:
        return credentials, None
    new.mkdir(mode=0o700)
    issued = authority.issue_server(names)
    write_node_credentials(new, issued, provider)
    folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old)
    return open_node_credentials(folder, provider), issued.facts


def _finish_interrupted(current: Path, new: Path, old: Path) -> None:
    """Make good what a crash in the middle of a renewal left: at every moment one of the folders is whole."""
    if not current.exists() and old.exists():
        # Between the two renames: the new one was complete, since it is written before the first.
        (new if new.exists() else old).rename(current)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)
