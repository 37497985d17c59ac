"""The entry point: finds the command, and turns errors into words and exit statuses."""

import importlib
import sys
from typing import Final

import click

from leadglass import __version__
from leadglass.app.asking import RemoteError
from leadglass.app.cli.console import print_error
from leadglass.app.failures import describe_failure
from leadglass.base.errors import LeadglassError

_COMMANDS: Final = {
    "access-review": "who still needs which role: open, show, decide",
    "audit": "show, verify and prove the audit log",
    "break-glass": "emergency accesses: list, review",
    "client": "services and scripts: keys, scopes, who answers for them",
    "device": "enrol, list and revoke devices",
    "echo": "ask whether a node answers (C-ECHO)",
    "find": "find studies, series and instances (C-FIND)",
    "get": "fetch objects (C-GET)",
    "identity": "test single sign-on and directories",
    "import": "take every file of a folder",
    "init": "make a new site",
    "policy": "policies: show, diff, apply, explain",
    "relation": "who works on which study, who treats whom",
    "role": "roles: list, show, assign, remove",
    "send": "send files to a node (C-STORE)",
    "serve": "run the node",
    "session": "who is signed in: list, end",
    "status": "what is held, who holds the keys, what needs attention",
    "study": "delete softly, restore, list what is deleted",
    "user": "people: accounts, roles, invitations",
    "vault": "verify what is held, rebuild the index",
}


class _LazyGroup(click.Group):
    """Loads a command's module when it is called: most of them need not wait for what the others import."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"leadglass.app.cli.{cmd_name.replace('-', '_')}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="leadglass")
def cli() -> None:
    """Leadglass: an encryption-first PACS and vendor-neutral archive.

    Make a site with `leadglass init DIR`, run it with `leadglass serve --site DIR`, let devices in with
    `leadglass device enrol`. Every command takes --json and ends with a stable exit status (docs/ERRORS.md).
    """


def main() -> None:
    """Run a command line."""
    if not __debug__:
        sys.exit("leadglass does not run under python -O: its assertions are part of it")
    as_json = "--json" in sys.argv
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        print_error("interrupted", "LG-0100", "", as_json=as_json)
        sys.exit(130)
    except RemoteError as error:
        print_error(str(error), error.remote_code, error.hint, as_json=as_json)
        sys.exit(error.remote_exit_status or 1)
    except LeadglassError as error:
        print_error(str(error), error.code, error.hint, as_json=as_json)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has seen enough
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - a bug: say where, never quote what it was about
        text = describe_failure(type(error), error.__traceback__)
        print_error(text, "LG-0001", "this is a bug of Leadglass: please report this line", as_json=as_json)
        sys.exit(1)


if __name__ == "__main__":
    main()
