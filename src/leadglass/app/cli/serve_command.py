"""``leadglass serve``."""

import os
from pathlib import Path

import click

from leadglass.app.cli.console import json_option, print_json
from leadglass.app.cli.on_site import find_site, read_passphrase, site_option
from leadglass.app.collector import settle_collector
from leadglass.app.config import load_settings
from leadglass.app.failures import install_failure_hooks
from leadglass.app.hardening import harden_process


@click.command("serve")
@site_option
@json_option
def command(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Run the node until it is told to stop (SIGTERM, SIGINT).

    It opens the site as its only owner, makes good what a crash left behind, and listens for DICOM over mutual TLS.
    """
    from leadglass.app.compose import open_node  # noqa: PLC0415 - imports every room
    from leadglass.app.server import Server  # noqa: PLC0415

    harden_process()
    install_failure_hooks()
    paths = find_site(site)
    settings = load_settings(paths.settings)
    passphrase = read_passphrase(settings.keys.provider, passphrase_fd)
    node = open_node(paths, passphrase, os.environ)
    recovered = node.recovered
    settle_collector()

    def ready(port: int, https_port: int) -> None:
        if as_json:
            print_json(
                {
                    "listening": {
                        "host": settings.dimse.host,
                        "port": port,
                        "ae_title": settings.dimse.ae_title,
                        "https_port": https_port,
                    },
                    "recovered": {"packs": recovered.packs, "records": recovered.records},
                    "findings": len(recovered.findings),
                }
            )
            return
        if recovered.packs:
            click.echo(
                f"Recovered {recovered.packs} open packs: {recovered.records} objects, "
                f"{recovered.rows_added} index rows, {recovered.events_added} events, {recovered.octets_cut} octets cut."
            )
        for finding in recovered.findings:
            click.echo(f"DAMAGE  {finding.where}: {finding.what}", err=True)
        click.echo(
            f"{settings.dimse.ae_title} listens on {settings.dimse.host} port {port}, DICOM over mutual TLS."
        )
        if https_port:
            click.echo(f"DICOMweb and sign-in: https://{settings.site.names[0]}:{https_port}/")

    Server(node).run(ready)
    if not as_json:
        click.echo("Stopped; the audit log is signed.")
