"""``leadglass init``."""

import os
from pathlib import Path

import click

from leadglass.app.cli.console import json_option, print_facts, print_json
from leadglass.app.cli.on_site import read_passphrase
from leadglass.app.config.settings import (
    DimseSettings,
    KeyProvider,
    KeySettings,
    Settings,
    SiteSettings,
    WebSettings,
    check_settings,
)
from leadglass.app.site import SitePaths


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--name", default="Leadglass site", help="Name of the institution, for the site's certificates."
)
@click.option(
    "--host-name",
    "names",
    multiple=True,
    help="Host name or address of this node; again for more. Default: this host.",
)
@click.option("--ae-title", default="LEADGLASS", show_default=True, help="AE title of this node.")
@click.option("--listen", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104 - see DimseSettings
@click.option("--port", default=2762, show_default=True, help="Port to listen on (2762 is DICOM over TLS).")
@click.option(
    "--https-port",
    default=8443,
    show_default=True,
    help="Port for DICOMweb and the console; 0 takes any free one.",
)
@click.option(
    "--key-provider",
    type=click.Choice(["key-file", "passphrase", "systemd-credential"]),
    default="key-file",
    show_default=True,
    help="Who holds the root key.",
)
@click.option(
    "--root-key",
    default="keys/root.key",
    show_default=True,
    help="File of the root key. Best on another device than FOLDER.",
)
@click.option(
    "--passphrase-fd", type=int, default=None, metavar="N", help="Read the passphrase from file descriptor N."
)
@json_option
def command(
    folder: Path,
    name: str,
    names: tuple[str, ...],
    ae_title: str,
    listen: str,
    port: int,
    https_port: int,
    key_provider: KeyProvider,
    root_key: str,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Make a new site in FOLDER: keys, certificate authority, node certificate, settings.

    Nothing in it has a default password, and nothing can connect before it is enrolled.
    """
    from leadglass.app.compose import default_names, init_site  # noqa: PLC0415 - imports every room

    settings = Settings(
        site=SiteSettings(name=name, names=names or default_names()),
        dimse=DimseSettings(ae_title=ae_title, host=listen, port=port),
        web=WebSettings(host=listen, port=https_port),
        keys=KeySettings(provider=key_provider, path=root_key),
    )
    check_settings(settings)
    passphrase = read_passphrase(key_provider, passphrase_fd, confirm=True)
    paths = SitePaths(folder.resolve())
    facts = init_site(paths, settings, passphrase, os.environ).facts()
    if as_json:
        print_json(
            {
                "site": str(paths.root),
                "settings": str(paths.settings),
                "ae_title": ae_title,
                "port": port,
                "authority": str(paths.authority),
                "key_provider": facts.kind,
                "separate_from_data": facts.separate_from_data,
                "does_not_protect": list(facts.does_not_protect),
            }
        )
        return
    click.echo(f"A new site is in {paths.root}")
    print_facts({"  AE title": ae_title, "  port": port, "  root key": facts.location})
    for line in facts.does_not_protect:
        click.echo(f"  not protected: {line}")
    click.echo(
        f"""
Next:
  leadglass device enrol ct1 --site {folder} --ae-title CT1 --role store --network 192.0.2.0/24 --out ct1
  leadglass serve --site {folder}"""
    )
