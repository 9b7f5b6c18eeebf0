"""Help that helps: examples, every command in the README, quick to come."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import fluxbatch
from fluxbatch.cli.main import cli

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = cli.list_commands(click.Context(cli))


def shown(*args: str) -> str:
    done = subprocess.run([sys.executable, "-m", "fluxbatch", *args], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example_and_is_in_the_readme(command: str) -> None:
    text = shown(command, "--help")
    assert re.search(rf"^\s+fluxbatch {command}\b", text, re.MULTILINE)
    assert f"fluxbatch {command}" in README


def test_the_group_names_exit_codes_and_commands() -> None:
    text = shown("--help")
    for words in ("Exit codes", "75", "130", *COMMANDS):
        assert words in text
    assert shown("--version").strip() == f"fluxbatch, version {fluxbatch.__version__}"


def test_models_lists_prices_with_their_date() -> None:
    text = shown("models")
    assert "flux-2-pro" in text
    assert "0.03" in text
    assert re.search(r"as of 20\d\d-\d\d", text)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nbefore = set(sys.modules)\nfrom fluxbatch.cli import main\n"
        "try: main(['run', '--help'])\nexcept SystemExit: pass\n"
        "heavy = ('aiohttp', 'pydantic', 'structlog', 'PIL', 'anyio', 'orjson', 'sqlite3', 'rich', 'obstore')\n"
        "print([name for name in heavy if name in sys.modules.keys() - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_run_into_a_folder_loads_nothing_of_stores_pages_and_tracebacks_in_colour(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text('{"id": "a", "prompt": "a cup"}\n', encoding="utf-8")
    code = (
        "import sys\nfrom fluxbatch.cli import main\n"
        "try: main(['run', 'one.jsonl', '--simulate', '-q'])\nexcept SystemExit as end: print(end.code)\n"
        "late = ('obstore', 'fluxbatch.adapters.stores.bucket', 'fluxbatch.web', 'fluxbatch.report.gallery')\n"
        "late += ('rich', 'pygments')\n"
        "print([name for name in late if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-2:] == ["0", "[]"]
