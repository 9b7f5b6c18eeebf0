"""``fluxbatch plan``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from fluxbatch.cli.asking import asking, command_line, request_of, settings_of, shown
from fluxbatch.cli.ci import annotate
from fluxbatch.cli.nightly import calendar_options, nightly_settings

if TYPE_CHECKING:
    from fluxbatch.app.outline import Outline

__all__ = ["plan"]

_SHOWN: Final = 200
_WIDEST: Final = 32
_OF_PLANS: Final = ("--check", "--all", "--json", "--markdown", "-q", "--quiet")

_HELP: Final = """What `run` would make, why, and what it would cost. Sends nothing, locks nothing, needs no key.

Takes what `run` takes, and can be called while a run goes on.

\b
  fluxbatch plan jobs.yaml
  fluxbatch plan jobs.yaml --all             also what stays as it is
  fluxbatch plan jobs.yaml --check           exit 1 if there is work: for CI
  fluxbatch plan jobs.yaml --markdown        for a pull request
  fluxbatch plan jobs.yaml --window 01:00-06:00 --budget 900/month      what of it would be sent now
  fluxbatch plan jobs.yaml --json | jq '.jobs[] | select(.action == "make") | .id'

\b
Marks:  + new   ~ to be made again   > to be fetched   = to be copied   ! can't be sent   - left out
"""


@click.command(help=_HELP, short_help="what `run` would make, why, and what it would cost")
@asking("what", "rate", "money", "which")
@calendar_options
@click.option("--check", "as_check", is_flag=True, help="Exit 1 if there is anything to do.")
@click.option("--all", "everything", is_flag=True, help="Show all jobs, also what stays as it is.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout, with all jobs.")
@click.option("--markdown", "as_markdown", is_flag=True, help="For a pull request or a chat.")
@click.option("-q", "--quiet", is_flag=True, help="No warnings, no jobs, just the account.")
def plan(**options: Any) -> int:
    """Show what a run would do."""
    import anyio

    from fluxbatch.app.outline import outline

    found = anyio.run(outline, request_of(options, settings=settings_of(options, **nightly_settings(options))))
    try:
        _show(found, options)
    finally:
        found.close()
    return 1 if options["as_check"] and found.quote.has_work else 0


def _show(found: Outline, options: dict[str, Any]) -> None:
    from fluxbatch.cli.talk import show_problem
    from fluxbatch.report.plan import plan_json, plan_lines, plan_markdown

    facts = found.as_dict()
    if not options["quiet"] and not options["as_json"]:
        for problem in found.findings.first(20):
            show_problem(problem)
    annotate(found.findings.first(20), found.findings.errors + found.findings.warnings)
    if options["as_json"]:
        sys.stdout.writelines(plan_json(facts, found.entries()))
        return
    if options["as_markdown"]:
        click.echo("\n".join(plan_markdown(facts, found.quote, found.entries(), found.outlook)))
        return
    click.echo(f"{shown(found.out.place)}{' (simulated)' if found.simulated else ''}")
    if not options["quiet"]:
        _show_jobs(found, everything=options["everything"])
    command = command_line(name="run", flags=_OF_PLANS)
    click.echo("\n".join(plan_lines(facts, found.quote, command, found.outlook)))


def _show_jobs(found: Outline, *, everything: bool) -> None:
    from fluxbatch.model.outline import Action
    from fluxbatch.report.plan import plan_row

    hidden = 0
    rows = (
        entry for entry in found.entries() if everything or entry.action is not Action.KEEP or entry.why != "unchanged"
    )
    for number, entry in enumerate(rows):
        if number >= _SHOWN and not everything:
            hidden += 1
            continue
        click.echo(plan_row(entry, _WIDEST))
    if hidden:
        click.echo(f"  … and {hidden:,} more (--all shows them)")
