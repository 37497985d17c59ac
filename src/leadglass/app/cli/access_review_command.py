"""``leadglass access-review``."""

from pathlib import Path

import click

from leadglass.app.cli.console import json_option, print_facts, print_json, print_table
from leadglass.app.cli.on_site import run_operation, site_option
from leadglass.base.errors import UsageError


@click.group("access-review")
def command() -> None:
    """Access reviews: somebody named looks at every grant of a role, and each is confirmed or removed.

    What nobody looked at by the due date is suspended: the role is taken away.
    """


@command.command("open")
@click.option("--cause", required=True, help="Why now: a reorganisation, an audit.")
@click.option(
    "--reviewer", required=True, metavar="ACCOUNT", help="Who looks at the grants; must be able to sign."
)
@click.option("--deputy", default="", metavar="ACCOUNT", help="Who looks at the reviewer's own.")
@click.option("--role", "roles", multiple=True, help="Reviewed; again for more. Default: all.")
@click.option(
    "--account", "subjects", multiple=True, help="Whose grants; again for more. Default: everybody's."
)
@site_option
@json_option
def open_review(
    cause: str,
    reviewer: str,
    deputy: str,
    roles: tuple[str, ...],
    subjects: tuple[str, ...],
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Open a review of everything that is granted now."""
    arguments = {
        "cause": cause,
        "reviewer": reviewer,
        "deputy": deputy,
        "roles": roles,
        "subjects": subjects,
    }
    answer = run_operation(
        site, passphrase_fd, "access-review-open", arguments, label="Opening", as_json=as_json
    )
    if as_json:
        print_json(answer)
    else:
        opened = answer["review"]
        click.echo(f"Review {opened['review']} is open until {opened['due_at'][:10]}.")


@command.command("list")
@site_option
@json_option
def list_reviews(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """List reviews, oldest first."""
    answer = run_operation(site, passphrase_fd, "access-review-list", {}, label="Listing", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("REVIEW", "CAUSE", "ROLES", "OPENED", "DUE", "ENDED"),
        [
            [
                one["review"],
                one["cause"],
                ",".join(one["roles"]),
                one["opened_at"][:10],
                one["due_at"][:10],
                (one["ended_at"] or "-")[:10],
            ]
            for one in answer["reviews"]
        ],
    )


@command.command("show")
@click.argument("review")
@site_option
@json_option
def show(review: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Show REVIEW and its grants."""
    arguments = {"review": review}
    answer = run_operation(
        site, passphrase_fd, "access-review-show", arguments, label="Reading", as_json=as_json
    )
    if as_json:
        print_json(answer)
        return
    facts = {
        "review": answer["review"],
        "cause": answer["cause"],
        "due": answer["due_at"][:19],
        "ended": (answer["ended_at"] or "")[:19],
        "evidence": answer["evidence"],
    }
    print_facts({name: value for name, value in facts.items() if value})
    click.echo()
    print_table(
        ("WHO", "ROLE", "REVIEWER", "STATE", "REASON"),
        [
            [one["principal"], one["role"], one["reviewer"], one["state"], one["reason"]]
            for one in answer["grants"]
        ],
    )


@command.command("decide")
@click.argument("review")
@click.argument("account")
@click.argument("role")
@click.option("--confirm/--remove", "confirmed", required=True, help="They keep the role, or not.")
@click.option("--reason", required=True, help="Why, for the record.")
@site_option
@json_option
def decide(
    review: str,
    account: str,
    role: str,
    confirmed: bool,
    reason: str,
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Decide whether ACCOUNT keeps ROLE.

    Reviews are signed by the named reviewer, signed in (POST /api/v1/access-reviews/REVIEW/decisions): the people at the
    machine may not, unless a policy of the site's own permits review:sign to the role operator.
    """
    arguments = {
        "review": review,
        "principal": account,
        "role": role,
        "confirmed": confirmed,
        "reason": reason,
    }
    answer = run_operation(
        site, passphrase_fd, "access-review-decide", arguments, label="Signing", as_json=as_json
    )
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['grant']['principal']}, {answer['grant']['role']}: {answer['grant']['state']}.")


@command.command("evidence")
@click.argument("review")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this new file.")
@site_option
@json_option
def evidence(review: str, out: Path | None, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Print the result of REVIEW, a JSON document whose SHA-256 stands in the audit log."""
    answer = run_operation(
        site, passphrase_fd, "access-review-evidence", {"review": review}, label="Reading", as_json=as_json
    )
    if out is None:
        click.echo(answer["evidence"], nl=False)
        return
    try:
        with out.open("xb") as file:
            file.write(answer["evidence"].encode("utf-8"))
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from error
    if as_json:
        print_json({"written": str(out)})
