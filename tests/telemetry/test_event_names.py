"""Every event has a name that is written down, with what it carries; nothing is logged or kept under another."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import fluxbatch
from fluxbatch.model.events import Event
from fluxbatch.simulator import Faults
from fluxbatch.telemetry.catalogue import CATALOGUE
from tests.app.stage import events, run_command, serving, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

CODE = Path(fluxbatch.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}


def strings(node: ast.expr) -> Iterator[str]:
    """All texts that an expression may be, as far as they are written there."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


def logged(tree: ast.AST) -> Iterator[ast.expr]:
    """What is given to loggers as an event, and what is written as a line with one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            if "logger" in ast.unparse(node.func.value):
                yield node.args[1 if node.func.attr == "log" else 0]
        elif isinstance(node, ast.Dict):
            yield from (value for key, value in zip(node.keys, node.values, strict=True) if is_event(key))


def is_event(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value == "event"


def test_each_kind_of_event_is_in_the_catalogue_and_nothing_else_is() -> None:
    kinds = {kind.name for kind in get_args(Event)}
    assert kinds == {name for name, told in CATALOGUE.items() if told.in_file}
    assert all(told.meaning and told.level in LEVELS for told in CATALOGUE.values())


def test_the_code_logs_under_no_other_name() -> None:
    found = set()
    for path in CODE.rglob("*.py"):
        if "simulat" in str(path.relative_to(CODE)):  # a server of its own, with a log of its own
            continue
        for node in logged(ast.parse(path.read_text(encoding="utf-8"))):
            found |= {text for text in strings(node) if text and " " not in text}  # others are sentences for people
    assert found >= {"run.progress", "check", "error"}
    assert found <= CATALOGUE.keys()


def test_what_the_log_alone_tells_carries_what_is_said() -> None:
    calls = [
        node
        for path in (CODE / "cli").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.args[0]) in {"'run.progress'", "'check'"}
    ]
    assert len(calls) == 2
    for call in calls:
        name = next(strings(call.args[0]))
        assert {keyword.arg for keyword in call.keywords} == set(CATALOGUE[name].carries)


def test_a_real_run_keeps_and_logs_what_the_catalogue_says(tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 12)
    faults = Faults(schedule={"429": frozenset({2}), "moderation": frozenset({3}), "504": frozenset({5})})
    with serving(tmp_path / "simulator", faults=faults, retry_after=0.2) as api:
        ran = api.run("jobs.jsonl", "-vv", "--log-format", "json", cwd=tmp_path)
    assert ran.code == 1, ran.err
    kept = events(tmp_path / "jobs-out")
    lines = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    assert {"job.stored", "job.failed", "job.requeued", "run.paused", "limit.changed"} <= names(kept)
    for one in kept:
        assert one.keys() == {"event", "at", "run_id", *CATALOGUE[one["event"]].carries}
    assert names(lines) >= names(kept)
    assert all("at" in one and "level" in one for one in lines)


def names(found: list[dict[str, Any]]) -> set[str]:
    assert all(one["event"] in CATALOGUE for one in found)
    return {one["event"] for one in found}


def test_what_goes_wrong_before_a_run_is_logged_by_name(tmp_path: Path) -> None:
    (tmp_path / "jobs.jsonl").write_text('{"prompt": "x", "steps": 99}\n')
    ran = run_command("run", "jobs.jsonl", "--simulate", "--log-format", "json", cwd=tmp_path)
    assert ran.code == 2
    for line in ran.err.splitlines():
        said = json.loads(line)
        assert said.keys() - {"event", "level"} <= set(CATALOGUE[said["event"]].carries)


def test_the_catalogue_can_be_printed(tmp_path: Path) -> None:
    text = run_command("schema", "--events", cwd=tmp_path).out
    for name, told in CATALOGUE.items():
        assert f"{name} ({told.level}" in text
        assert " ".join(told.carries) in text
    found = json.loads(run_command("schema", "--events", "--json", cwd=tmp_path).out)
    assert found.keys() == CATALOGUE.keys()
    assert found["check"]["in_file"] is False
