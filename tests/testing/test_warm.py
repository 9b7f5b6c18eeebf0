"""The process that begins commands of the tests: each has its own, and one that hangs spoils no other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.app.stage import run_command

if TYPE_CHECKING:
    from pathlib import Path


def test_a_command_that_takes_too_long_is_ended_and_the_next_one_is_itself(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        run_command("simulate", "--port", "0", cwd=tmp_path, timeout=1)

    after = run_command("--version", cwd=tmp_path)

    assert (after.code, after.err) == (0, "")
    assert after.out.startswith("fluxbatch, version ")


def test_a_command_has_its_own_folder_environment_and_streams(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("jobs: [{prompt: x}]\n")

    good = run_command("validate", "a.yaml", cwd=tmp_path, env={"COLUMNS": "200"})
    bad = run_command("validate", "b.yaml", cwd=tmp_path)

    assert (good.code, "1 job" in good.out) == (0, True)
    assert (bad.code, "b.yaml: error: there is no such file" in bad.err) == (2, True)
    assert "COLUMNS" not in os.environ or os.environ["COLUMNS"] != "200"
