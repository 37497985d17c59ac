"""``leadglass client``."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from leadglass.app.cli.console import json_option, print_facts, print_json, print_table
from leadglass.app.cli.given import make_folder, read_ascii
from leadglass.app.cli.on_site import run_operation, site_option
from leadglass.base.errors import UsageError

_EXISTING_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_DATE = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"])


@click.group("client")
def command() -> None:
    """Services and scripts that get access tokens (OAuth 2.0 client credentials).

    A client proves itself by a key (private_key_jwt) or by a certificate; there are no shared secrets. Somebody answers
    for each: when their account is disabled, the client is too.
    """


@command.command("add")
@click.argument("client")
@click.option("--owner", required=True, metavar="ACCOUNT", help="Who answers for it.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    help="A permission that its tokens may hold, as study:query; again for more.",
)
@click.option(
    "--role", "roles", multiple=True, help="Default: client. Others are given by whoever gives roles."
)
@click.option("--jwks", type=_EXISTING_FILE, help="File with its public keys (JWK Set, RFC 7517).")
@click.option(
    "--certificate",
    "certificates",
    type=_EXISTING_FILE,
    multiple=True,
    help="PEM of a certificate of this site's authority that it shows; again for more.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Make a key and a certificate for it, in this folder.",
)
@click.option("--bound", is_flag=True, help="Give tokens only over a certificate, bound to it (RFC 8705).")
@click.option("--until", type=_DATE, help="End, UTC. Default: in a year.")
@click.option("--device", "devices", multiple=True, help="Limit to studies of this device.")
@click.option("--institution", "institutions", multiple=True, help="Limit to studies of this institution.")
@click.option("--description", default="", help="What it is for.")
@site_option
@json_option
def add(
    client: str,
    owner: str,
    scopes: tuple[str, ...],
    roles: tuple[str, ...],
    jwks: Path | None,
    certificates: tuple[Path, ...],
    out: Path | None,
    bound: bool,
    until: datetime | None,
    devices: tuple[str, ...],
    institutions: tuple[str, ...],
    description: str,
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Enrol CLIENT, a service or a script."""
    if jwks is None and not certificates and out is None:
        raise UsageError("a client needs --jwks, --certificate or --out: something that it proves itself by")
    arguments = {
        "client": client,
        "owner": owner,
        "scopes": scopes,
        "roles": roles or ("client",),
        "jwks": "" if jwks is None else read_ascii(jwks),
        "certificates": [read_ascii(path) for path in certificates],
        "out": "" if out is None else str(make_folder(out.resolve(), mode=0o700)),
        "bound": bound,
        "expires_at": None if until is None else until.replace(tzinfo=UTC).isoformat(),
        "devices": [device if ":" in device else f"device:{device}" for device in devices],
        "institutions": institutions,
        "description": description,
    }
    answer = run_operation(site, passphrase_fd, "client-add", arguments, label="Enrolling", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    _print_client(answer)
    if answer["files"]:
        print_facts({name.capitalize(): path for name, path in answer["files"].items()})
    click.echo("Its tokens: POST /oauth/token with grant_type=client_credentials.")


@command.command("list")
@site_option
@json_option
def list_clients(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """List services and scripts."""
    answer = run_operation(site, passphrase_fd, "client-list", {}, label="Listing", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("CLIENT", "OWNER", "SCOPES", "PROVES ITSELF BY", "STATE"),
        [
            [one["client"], one["owner"], ",".join(one["scopes"]), _proof(one), _state(one)]
            for one in answer["clients"]
        ],
    )


@command.command("show")
@click.argument("client")
@site_option
@json_option
def show(client: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Show CLIENT."""
    answer = run_operation(
        site, passphrase_fd, "client-show", {"client": client}, label="Reading", as_json=as_json
    )
    if as_json:
        print_json(answer)
        return
    print_facts({name: value for name, value in answer["client"].items() if value})


@command.command("change")
@click.argument("client")
@click.option("--owner", metavar="ACCOUNT", help="Who answers for it from now on.")
@click.option("--until", type=_DATE, help="New end, UTC.")
@click.option("--jwks", type=_EXISTING_FILE, help="File with its public keys; replaces all.")
@click.option(
    "--certificate", "certificates", type=_EXISTING_FILE, multiple=True, help="As with add; replaces all."
)
@site_option
@json_option
def change(
    client: str,
    owner: str | None,
    until: datetime | None,
    jwks: Path | None,
    certificates: tuple[Path, ...],
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Let somebody else answer for CLIENT, give it longer, or change what proves it. Its tokens end."""
    arguments = {
        "client": client,
        "owner": owner,
        "expires_at": None if until is None else until.replace(tzinfo=UTC).isoformat(),
        "jwks": None if jwks is None else read_ascii(jwks),
        "certificates": [read_ascii(path) for path in certificates] or None,
    }
    answer = run_operation(site, passphrase_fd, "client-change", arguments, label="Changing", as_json=as_json)
    if as_json:
        print_json(answer)
    else:
        _print_client(answer)


@command.command("disable")
@click.argument("client")
@click.option("--reason", required=True, help="Why, for the record; no patient in it.")
@site_option
@json_option
def disable(client: str, reason: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Turn CLIENT away for good: its tokens count no more."""
    arguments = {"client": client, "reason": reason}
    answer = run_operation(
        site, passphrase_fd, "client-disable", arguments, label="Disabling", as_json=as_json
    )
    if as_json:
        print_json(answer)
    else:
        _print_client(answer)


def _print_client(answer: dict[str, Any]) -> None:
    one = answer["client"]
    click.echo(f"{one['client']}: {', '.join(one['scopes'])}, for {one['owner']}, {_state(one)}.")


def _proof(one: dict[str, Any]) -> str:
    proofs = ["key"] * bool(one["jwks"]) + ["certificate"] * bool(one["certificate_sha256"])
    return " or ".join(proofs)


def _state(one: dict[str, Any]) -> str:
    return "disabled" if one["disabled"] else f"until {one['expires_at'][:10]}"
