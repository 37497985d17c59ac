"""``leadglass echo``."""

from pathlib import Path

import click

from leadglass.app.cli.as_device import DeviceCaller, device_option
from leadglass.app.cli.console import json_option, print_json
from leadglass.doors.dimse.query_scu import contexts_for, echo
from leadglass.wire.dimse.uids import VERIFICATION_SOP_CLASS


@click.command("echo")
@device_option
@json_option
def command(device_path: Path, host: str, port: int, called: str, as_json: bool) -> None:
    """Ask whether a node answers (C-ECHO): proves network, certificates, AE titles and policy in one go."""
    caller = DeviceCaller.load(device_path, host=host, port=port, called=called)
    with caller.associate(contexts_for(VERIFICATION_SOP_CLASS)) as connection:
        echo(connection)
    if as_json:
        print_json({"answered": True, "node": caller.peer.called_ae_title})
    else:
        click.echo(f"{caller.peer.called_ae_title} answers on {caller.peer.host} port {caller.peer.port}.")
