"""``fluxbatch validate``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from fluxbatch.cli.ci import annotate

__all__ = ["validate"]

_SHOWN: Final = 250

_HELP: Final = """Find all errors of manifests and their photos at once, with file and line. Needs no key.

\b
  fluxbatch validate jobs.yaml
  fluxbatch validate *.csv --json
"""


@click.command(help=_HELP, short_help="find all errors of manifests")
@click.argument("manifests", nargs=-1, required=True, metavar="MANIFEST…", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One object on stdout, with all problems.")
@click.option("-q", "--quiet", is_flag=True, help="No warnings, no summary.")
def validate(manifests: tuple[Path, ...], *, as_json: bool, quiet: bool) -> int:
    """Find all errors at once."""
    from fluxbatch.app.look import validate as look
    from fluxbatch.cli.talk import show_problem
    from fluxbatch.planning.intake import ManifestFile
    from fluxbatch.report.summary import count

    jobs, findings = look([ManifestFile(path) for path in manifests])
    problems = findings.first(_SHOWN)
    if as_json:
        import orjson

        facts = {
            "jobs": jobs,
            "errors": findings.errors,
            "warnings": findings.warnings,
            "problems": [asdict(problem) for problem in problems],
        }
        click.echo(orjson.dumps(facts).decode())
        return 2 if findings.errors else 0
    for problem in problems:
        if not quiet or problem.level == "error":
            show_problem(problem)
    annotate(problems, findings.errors + findings.warnings)
    hidden = findings.errors + findings.warnings - len(problems)
    if hidden > 0:
        click.echo(f"… and {hidden} more", err=True)
    if not quiet:
        state = f"{count(findings.errors, 'error')}, " if findings.errors else "no errors, "
        click.echo(f"{count(jobs, 'job')}: {state}{count(findings.warnings, 'warning')}")
    return 2 if findings.errors else 0
