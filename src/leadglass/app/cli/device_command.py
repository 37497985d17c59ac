"""``leadglass device``."""

from pathlib import Path
from typing import Any

import click

from leadglass.app.cli.console import json_option, print_facts, print_json, print_table
from leadglass.app.cli.given import make_folder, read_ascii
from leadglass.app.cli.on_site import run_operation, site_option
from leadglass.base.errors import UsageError


@click.group("device")
def command() -> None:
    """Who may connect: a device is its certificate AND its AE title AND its networks."""


@command.command("enrol")
@click.argument("device_id")
@click.option("--ae-title", required=True, help="What the device calls itself.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice(["store", "query-retrieve", "router"]),
    help="What it may do; again for more.",
)
@click.option(
    "--network", "networks", multiple=True, required=True, help="From where, as CIDR; again for more."
)
@click.option("--host", default="", help="Where it listens, for C-MOVE and commitment reports.")
@click.option("--port", default=0, help="As above.")
@click.option("--move-destination", is_flag=True, help="Objects may be sent to it with C-MOVE.")
@click.option(
    "--csr", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Sign the device's own key."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for key, certificate, authority.",
)
@click.option(
    "--node-host", default="", help="Host name of this node, for the device's file. Default: its first name."
)
@site_option
@json_option
def enrol(
    device_id: str,
    ae_title: str,
    roles: tuple[str, ...],
    networks: tuple[str, ...],
    host: str,
    port: int,
    move_destination: bool,
    csr: Path | None,
    out: Path,
    node_host: str,
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Enrol DEVICE_ID and write what it needs to connect.

    OUT gets DEVICE_ID.key.pem (unless --csr), .cert.pem, .ca.pem and DEVICE_ID.toml for `leadglass send|find|get`. The
    private key belongs to the device: move it there; Leadglass keeps no copy.
    """
    if move_destination and not (host and port):
        raise UsageError("a move destination needs --host and --port")
    request = read_ascii(csr) if csr else ""
    make_folder(out, mode=0o700)
    answer = run_operation(
        site,
        passphrase_fd,
        "device-enrol",
        {
            "device_id": device_id,
            "ae_title": ae_title,
            "roles": list(roles),
            "networks": list(networks),
            "host": host,
            "port": port,
            "move_destination": move_destination,
            "csr": request,
            "out": str(out.resolve()),
            "node_host": node_host,
        },
        label="Enrolling",
        as_json=as_json,
    )
    if as_json:
        print_json(answer)
        return
    click.echo(
        f"{device_id} is enrolled. Its certificate ends on {answer['device']['certificate_expires_at'][:10]}."
    )
    print_facts({f"  {name}": path for name, path in answer["files"].items()})


@command.command("list")
@site_option
@json_option
def list_devices(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """List devices and every certificate of the site."""
    answer = run_operation(site, passphrase_fd, "device-list", {}, label="Listing", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    states = {row["sha256"]: row for row in answer["certificates"]}
    print_table(
        ("DEVICE", "AE TITLE", "ROLES", "NETWORKS", "LISTENS AT", "CERTIFICATE ENDS", "STATE"),
        [_row(device, states) for device in answer["devices"]],
    )
    for row in answer["certificates"]:
        if not row["holder"].startswith("device:"):
            click.echo(
                f"{row['holder']}: {row['state']}, ends {row['not_after'][:10]}, SHA-256 {row['sha256'][:16]}..."
            )


def _row(device: dict[str, Any], states: dict[str, dict[str, Any]]) -> list[str]:
    known = [states[sha256]["state"] for sha256 in device["certificate_sha256"] if sha256 in states]
    return [
        device["id"],
        device["ae_title"],
        ",".join(device["roles"]),
        ",".join(device["networks"]),
        f"{device['host']}:{device['port']}" if device["host"] else "-",
        device["certificate_expires_at"][:10],
        "revoked" if device["revoked_at"] else ",".join(known),
    ]


@command.command("revoke")
@click.argument("device_id")
@site_option
@json_option
def revoke(device_id: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Revoke DEVICE_ID: from its next connection on it is a stranger. This cannot be undone."""
    answer = run_operation(
        site, passphrase_fd, "device-revoke", {"device_id": device_id}, label="Revoking", as_json=as_json
    )
    if as_json:
        print_json(answer)
        return
    click.echo(f"{device_id} is revoked; its id and its certificate are never used again.")
