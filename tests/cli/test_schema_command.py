"""``fluxbatch schema``: what is committed for the examples is what it prints."""

from __future__ import annotations

from pathlib import Path

from tests.app.stage import run_command

JOBS = Path(__file__).parents[2] / "jobs"


def test_the_committed_schema_is_what_the_command_prints(tmp_path: Path) -> None:
    ran = run_command("schema", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})

    assert ran.code == 0, ran.err
    assert ran.out == (JOBS / "fluxbatch.schema.json").read_text(), "fluxbatch schema > jobs/fluxbatch.schema.json"


def test_its_help_says_how_an_editor_finds_it(tmp_path: Path) -> None:
    text = run_command("schema", "--help", cwd=tmp_path).out

    assert "fluxbatch schema > fluxbatch.schema.json" in text
    assert "# yaml-language-server: $schema=fluxbatch.schema.json" in text
    assert '"yaml.schemas"' in text
