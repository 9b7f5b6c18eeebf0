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
"""


@click.command(help=_HELP, short_help="JSON Schema of the manifest")
def schema() -> int:
    """Print the schema."""
    from fluxbatch.planning.schema import manifest_schema

    click.echo(json.dumps(manifest_schema(), indent=1))
    return 0
