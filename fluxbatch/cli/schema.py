"""``fluxbatch schema``."""

from __future__ import annotations

import json
from typing import Final

import click

__all__ = ["schema"]

_HELP: Final = """The JSON Schema of manifests on stdout: editors complete keys with it, and check while you write.

\b
  fluxbatch schema > fluxbatch.schema.json

\b
In VS Code, with the extension "YAML" by Red Hat: as the first line of a manifest
  # yaml-language-server: $schema=fluxbatch.schema.json
or for all manifests of a project, in .vscode/settings.json
  {"yaml.schemas": {"./fluxbatch.schema.json": ["jobs*.yaml", "jobs/**/*.yaml"]}}

\b
In a manifest of JSON, beside its own keys, nothing is needed: name it in .vscode/settings.json
  {"json.schemas": [{"fileMatch": ["jobs*.json"], "url": "./fluxbatch.schema.json"}]}

\b
What is in events.jsonl, and in the log with --log-format json:
  fluxbatch schema --events
  fluxbatch schema --events --json
"""


@click.command(help=_HELP, short_help="JSON Schema of the manifest, and events by name")
@click.option("--events", is_flag=True, help="The events instead: name, level, fields, meaning.")
@click.option("--json", "as_json", is_flag=True, help="With --events: one object on stdout; the schema is JSON anyway.")
def schema(*, events: bool, as_json: bool) -> int:
    """Print the schema."""
    if events:
        _show_events(as_json=as_json)
        return 0
    from fluxbatch.planning.schema import manifest_schema

    click.echo(json.dumps(manifest_schema(), indent=1))
    return 0


def _show_events(*, as_json: bool) -> None:
    from dataclasses import asdict

    from fluxbatch.telemetry.catalogue import CATALOGUE

    if as_json:
        click.echo(json.dumps({name: asdict(told) for name, told in CATALOGUE.items()}))
        return
    click.echo("Each has the field event, and in the log level; all but error have at (ISO 8601, UTC) and run_id.\n")
    for name, told in CATALOGUE.items():
        place = "" if told.in_file else ", in the log only"
        click.echo(f"{name} ({told.level}{place}): {told.meaning}\n    {' '.join(told.carries)}")
