"""What commands on a site share: where it is, its passphrase, and who carries them out."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from leadglass.app.asking import JSON, NobodyListens, ask
from leadglass.app.cli.console import progress
from leadglass.app.cli.given import read_descriptor
from leadglass.app.config import load_settings
from leadglass.app.hardening import harden_process
from leadglass.app.site import SiteBusy, SitePaths
from leadglass.base.errors import ConfigurationError
from leadglass.base.secret import Secret

_PASSPHRASE_BYTES_MAX: Final = 1024

_Command = TypeVar("_Command", bound=Callable[..., None])


def site_option(function: _Command) -> _Command:
    """Add ``--site`` and ``--passphrase-fd``."""
    with_passphrase = click.option(
        "--passphrase-fd",
        type=int,
        default=None,
        metavar="N",
        help="Read the passphrase of the root key from file descriptor N.",
    )
    with_site = click.option(
        "--site",
        type=click.Path(path_type=Path),
        default=".",
        envvar="LEADGLASS_SITE",
        show_envvar=True,
        help="Folder of the site. Default: this one.",
    )
    return with_site(with_passphrase(function))


def find_site(folder: Path) -> SitePaths:
    """Return the paths of an existing site.

    Raises:
        ConfigurationError: there is none.
    """
    paths = SitePaths(folder.resolve())
    if not paths.settings.exists():
        raise ConfigurationError(
            f"{folder} is not a Leadglass site",
            hint="name it with --site DIR or LEADGLASS_SITE, or make one: leadglass init DIR",
        )
    return paths


def read_passphrase(provider: str, fd: int | None, *, confirm: bool = False) -> Secret | None:
    """Return the passphrase of the root key where it has one: from a descriptor, else from the terminal.

    Raises:
        ConfigurationError: it is needed and there is nobody to ask.
    """
    if provider != "passphrase":
        return None
    if fd is not None:
        return Secret(read_descriptor(fd, _PASSPHRASE_BYTES_MAX))
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "the root key is sealed with a passphrase, and there is no terminal to ask on",
            hint="give it with --passphrase-fd N",
        )
    text: str = click.prompt(
        "Passphrase of the root key", hide_input=True, confirmation_prompt=confirm, err=True
    )
    return Secret(text.encode("utf-8"))


def run_operation(
    site: Path, passphrase_fd: int | None, name: str, arguments: JSON, *, label: str, as_json: bool
) -> JSON:
    """Carry out an operation: in the process that owns the site, or here when nobody owns it."""
    # Composing a node imports everything; a command that only asks the running one should not wait for that.
    paths = find_site(site)
    with progress(label, as_json=as_json) as tell:
        if paths.control_socket.exists():
            try:
                return ask(paths.control_socket, name, arguments, tell)
            except NobodyListens:
                pass  # the socket of a process that was killed, or is starting or ending: the site's lock knows
        return _run_here(paths, passphrase_fd, name, arguments, tell)


def _run_here(
    paths: SitePaths, passphrase_fd: int | None, name: str, arguments: JSON, tell: Callable[[int, int], None]
) -> JSON:
    from leadglass.app.compose import open_node  # noqa: PLC0415
    from leadglass.app.operations import OPERATIONS  # noqa: PLC0415

    harden_process()
    passphrase = read_passphrase(load_settings(paths.settings).keys.provider, passphrase_fd)
    try:
        node = open_node(paths, passphrase, os.environ)
    except SiteBusy:
        return ask(paths.control_socket, name, arguments, tell)
    try:
        answer: dict[str, Any] = OPERATIONS[name](node, arguments, tell)
        return answer
    finally:
        node.close()
