"""``leadglass status``."""

from pathlib import Path

import click

from leadglass.app.cli.console import clean, json_option, octets, print_facts, print_json
from leadglass.app.cli.on_site import find_site, run_operation, site_option
from leadglass.app.site import SiteLock


@click.command("status")
@site_option
@json_option
def command(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Say what is held, who holds the keys, what is on record, and what needs attention."""
    owner = SiteLock(find_site(site)).owner()
    answer = run_operation(site, passphrase_fd, "status", {}, label="Asking", as_json=True)
    answer["running"] = owner is not None
    answer["process"] = owner
    if as_json:
        print_json(answer)
        return
    held, keys, audit = answer["held"], answer["keys"], answer["audit"]
    print_facts(
        {
            "Site": answer["site"],
            "Node": f"running, process {owner}" if owner else "not running",
            "AE title": answer["ae_title"],
            "Held": f"{held['studies']} studies, {held['series']} series, {held['instances']} objects, "
            f"{held['quarantined']} kept apart, {octets(held['vault_octets'])}",
            "Devices": answer["devices"],
            "Audit": f"{audit['entries']} entries, {audit['signed_entries']} signed",
            "Root key": f"{keys['provider']}: {keys['location']}",
            "Breach safe harbour": keys["breach_safe_harbor"].replace("_", " "),
        }
    )
    for line in keys["protects"]:
        click.echo(f"  protects: {clean(line)}")
    for line in keys["does_not_protect"]:
        click.echo(f"  does not protect: {clean(line)}")
    for line in answer["attention"]:
        click.echo(f"  ATTENTION: {clean(line)}")
