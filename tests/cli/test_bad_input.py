"""Wrong input: exit code 2, the place, the value and the remedy, and nothing is sent."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from fluxbatch.cli import main
from tests.app.stage import KEY, PHOTOS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api


def yaml(*lines: str) -> str:
    return "\n".join(["version: 1", "jobs:", *lines])


BAD: dict[str, tuple[str, str, list[str]]] = {
    # name: (file, text, what must be said)
    "no prompt": ("m.yaml", yaml("- id: a"), ["m.yaml:3", "prompt"]),
    "empty prompt": ("m.yaml", yaml("- {id: a, prompt: ''}"), ["m.yaml:3", "prompt"]),
    "misspelt key": ("m.yaml", yaml("- id: a", "  promt: x"), ["m.yaml:4", "promt", "prompt"]),
    "duplicate key": ("m.yaml", yaml("- id: a", "  id: b", "  prompt: x"), ["m.yaml:4", "id"]),
    "duplicate id": ("m.yaml", yaml("- {id: a, prompt: x}", "- {id: a, prompt: y}"), ["m.yaml:4", "'a'", "m.yaml:3"]),
    "id leaves the folder": ("m.yaml", yaml("- {id: ../a, prompt: x}"), ["m.yaml:3", "../a"]),
    "missing photo": ("m.yaml", yaml("- prompt: x", "  images: [cap.png]"), ["m.yaml:4", "cap.png", "cup.png"]),
    "photo is text": ("m.yaml", yaml("- prompt: x", "  images: [notes.png]"), ["m.yaml:4", "notes.png"]),
    "photo is cut": ("m.yaml", yaml("- prompt: x", "  images: [cut.jpg]"), ["m.yaml:4", "cut.jpg"]),
    "too many images": (
        "m.yaml",
        yaml("- prompt: x", "  model: flux-kontext-pro", "  images: [cup.png, cat.webp]"),
        ["m.yaml", "flux-kontext-pro", "2", "1"],
    ),
    "gap in numbering": (
        "m.yaml",
        yaml("- prompt: x", "  input_image: cup.png", "  input_image_3: cat.webp"),
        ["m.yaml", "input_image_2"],
    ),
    "unknown model": ("m.yaml", yaml("- {prompt: x, model: flux-2-por}"), ["m.yaml:3", "flux-2-por", "flux-2-pro"]),
    "steps off flex": ("m.yaml", yaml("- {prompt: x, steps: 30}"), ["m.yaml:3", "steps", "flux-2-flex"]),
    "guidance out of range": (
        "m.yaml",
        yaml("- {prompt: x, model: flux-2-flex, guidance: 11}"),
        ["m.yaml:3", "guidance", "11", "10"],
    ),
    "size with width": ("m.yaml", yaml("- {prompt: x, size: 512x512, width: 512}"), ["m.yaml:3", "width"]),
    "width alone": ("m.yaml", yaml("- {prompt: x, width: 512}"), ["m.yaml:3", "height"]),
    "no multiple of 16": ("m.yaml", yaml("- {prompt: x, width: 500, height: 512}"), ["m.yaml:3", "500", "16"]),
    "aspect ratio": ("m.yaml", yaml("- {prompt: x, aspect_ratio: wide}"), ["m.yaml:3", "aspect_ratio", "wide"]),
    "seed is text": ("m.yaml", yaml("- {prompt: x, seed: lucky}"), ["m.yaml:3", "seed", "lucky"]),
    "tolerance": ("m.yaml", yaml("- {prompt: x, safety_tolerance: 9}"), ["m.yaml:3", "safety_tolerance", "9"]),
    "format": ("m.yaml", yaml("- {prompt: x, output_format: jpg}"), ["m.yaml:3", "jpg", "jpeg"]),
    "key in the manifest": ("m.yaml", "version: 1\napi_key: sk-oops-1234567\njobs: []", ["m.yaml:2", "api_key"]),
    "too many variants": ("m.yaml", yaml("- {prompt: x, variants: 3000}"), ["m.yaml:3", "variants"]),
    "circle": ("m.yaml", yaml("- {id: a, prompt: x, images: [{job: a}]}"), ["m.yaml:3", "a → a"]),
    "nobody": ("m.yaml", yaml("- {id: mug, prompt: x, images: [{job: muug}]}"), ["m.yaml:3", "'muug'", "'mug'"]),
    "step": ("m.yaml", yaml("- {id: a, chain: [x, {promt: y}]}"), ["m.yaml:3", "chain[2]", "promt", "prompt"]),
    "prompt file": ("m.yaml", yaml("- {id: a, prompt_file: nope.txt}"), ["m.yaml:3", "nope.txt"]),
    "broken yaml": ("m.yaml", "version: 1\njobs: [", ["m.yaml:"]),
    "broken json": ("m.json", '{"version": 1,\n "jobs": [}', ["m.json:2"]),
    "broken toml": ("m.toml", "version = 1\n[[jobs]\n", ["m.toml:2"]),
    "broken row": ("m.jsonl", '{"prompt": "x"}\n{"prompt": ', ["m.jsonl:2"]),
    "column almost a field": ("m.csv", "id,Promt\na,x\n", ["m.csv:1", "Promt", "prompt"]),
    "row too long": ("m.csv", "id,prompt\na,x\nb,y,z\n", ["m.csv:3"]),
    "nothing to do": ("m.jsonl", "", ["m.jsonl"]),
    "unknown extension": ("m.txt", "hello", ["m.txt", ".yaml"]),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: Api) -> Path:
    for name in ("cup.png", "cat.webp"):
        shutil.copy(PHOTOS / name, tmp_path / name)
    (tmp_path / "notes.png").write_text("just text")
    (tmp_path / "cut.jpg").write_bytes((PHOTOS / "person.jpg").read_bytes()[:20000])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLUXBATCH_API_KEY", KEY)
    monkeypatch.setenv("FLUXBATCH_BASE_URL", api.sim.base_url)
    return tmp_path


def said(args: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    with pytest.raises(SystemExit) as caught:
        main(args)
    shown = capsys.readouterr()
    return caught.value.code, shown.out + shown.err


@pytest.mark.parametrize("name", BAD)
def test_a_bad_manifest(name: str, folder: Path, api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    file, text, expected = BAD[name]
    (folder / file).write_text(text)

    for command in (["validate", file], ["run", file]):
        code, shown = said(command, capsys)
        assert code == 2, shown
        for words in expected:
            assert words in shown
        assert "sk-oops" not in shown
    assert api.sim.requests == 0
    assert not (folder / "m-out").exists()


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["run", "missing.yaml"], ["missing.yaml"]),
        (["run", "cup.png"], ["cup.png", '-p "…"']),
        (["run", "."], ["-p"]),
        (["run", "empty", "-p", "x"], ["empty"]),
        (["run", "cup.png", "-p", "x", "--model", "flux-3"], ["flux-3"]),
        (["run", "cup.png", "-p", "x", "--with", "gone.png"], ["gone.png"]),
        (["run", "ok.jsonl", "--model", "flux-2-pro"], ["--model", "-p"]),
        (["run", "ok.jsonl", "--retry", "moderate"], ["moderate", "moderated"]),
        (["run", "ok.jsonl", "--base-url", "http://example.com/v1"], ["https"]),
        (["run", "ok.jsonl", "--base-url", "example.com"], ["example.com", "https://"]),
        (["run", "ok.jsonl", "-o", "s3://bucket/x"], ["s3://bucket/x"]),
        (["run", "ok.jsonl", "-o", ""], ["-o"]),
        (["run", "ok.jsonl", "-o", "notes.png"], ["notes.png", "-o"]),
        (["run", "ok.jsonl", "-o", "notes.png/x"], ["notes.png", "-o"]),
        (["run", "ok.jsonl", "--only", "zzz"], ["--only", "zzz"]),
        (["run", "ok.jsonl", "--simulate", "--base-url", "http://127.0.0.1:1/v1"], ["--simulate", "--base-url"]),
        (["run", "ok.jsonl", "--api-key-file", "nowhere"], ["--api-key-file", "nowhere"]),
        (["run", "ok.jsonl", "--ca-file", "notes.png"], ["--ca-file", "notes.png"]),
        (["run", "ok.jsonl", "--request-timeout", "soon"], ["soon", "5m"]),
        (["run", "ok.jsonl", "--concurrency", "0"], ["--concurrency"]),
        (["run", "ok.jsonl", "--rpm", "0"], ["--rpm"]),
        (["run", "ok.jsonl", "--max-runtime", "tonight"], ["tonight", "5m"]),
        (["run", "ok.jsonl", "--max-runtime", "0"], ["max_runtime_s", "above 0"]),
        (["run", "ok.jsonl", "--prices", "nowhere.toml"], ["nowhere.toml"]),
        (["run", "ok.jsonl", "--price", "flux-2-por=1"], ["flux-2-por", "flux-2-pro"]),
        (["run", "--serve", "ok.jsonl", "ok.jsonl"], ["--serve ok.jsonl", "no address", "--serve last"]),
        (["run"], ["Missing argument"]),
        (["rum"], ["rum", "'run'"]),
        (["status", "empty"], ["empty"]),
    ],
)
def test_a_bad_command_line(
    args: list[str], expected: list[str], folder: Path, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty").mkdir()
    (folder / "ok.jsonl").write_text('{"prompt": "x"}')

    code, shown = said(args, capsys)

    assert code == 2, shown
    for words in expected:
        assert words in shown
    assert api.sim.requests == 0


def test_all_problems_at_once_and_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "m.yaml").write_text(
        yaml("- {id: a, promt: x}", "- {id: b, prompt: x, seed: no}", "- {id: ../c, prompt: y}")
    )
    code, shown = said(["validate", "m.yaml", "--json"], capsys)
    facts = json.loads(shown)
    assert code == 2
    assert facts["jobs"] == 3
    assert {problem["where"]["line"] for problem in facts["problems"]} == {3, 4, 5}


def test_without_a_key_nothing_starts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FLUXBATCH_API_KEY")
    (folder / "ok.jsonl").write_text('{"prompt": "x"}')
    code, shown = said(["run", "ok.jsonl"], capsys)
    assert code == 2
    assert "FLUXBATCH_API_KEY" in shown
    assert "--simulate" in shown


def test_invalid_jobs_may_be_left_out(folder: Path, api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ['{"id": "a", "prompt": "x"}', '{"id": "b", "prompt": "x", "images": "cut.jpg"}', "{broken", '{"id": "c"}']
    (folder / "rows.jsonl").write_text("\n".join(rows))
    code, shown = said(["run", "rows.jsonl", "--on-invalid", "skip", "--json"], capsys)

    summary = json.loads(next(line for line in shown.splitlines() if line.startswith("{")))
    assert code == 1
    assert (summary["total"], summary["stored"], summary["failed"]) == (4, 1, 3)
    lines = [json.loads(line) for line in (folder / "rows-out" / "results.jsonl").read_text().splitlines()]
    assert {line["id"]: line["error"] and line["error"]["code"] for line in lines} == {
        "a": None,
        "b": "bad_image",
        "c": "invalid_request",
    }
    assert len(api.sim.calls) == 1


@pytest.mark.parametrize(
    "args",
    [["run", "m.yaml"], ["run", "gone.yaml"], ["run", "m.yaml", "--concurrency", "0"]],
    ids=lambda args: args[-1],
)
def test_errors_are_lines_of_a_log_in_json(args: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "m.yaml").write_text(yaml("- {id: a, promt: x}", "- {id: b, prompt: x, seed: no}"))
    code, shown = said([*args, "--json", "--log-format", "json"], capsys)
    lines = [json.loads(line) for line in shown.splitlines()]
    assert code == 2
    assert {line["level"] for line in lines} == {"error"}
    assert lines[-1]["exit_code"] == 2
    if args == ["run", "m.yaml"]:
        assert {line["where"] for line in lines[:-1]} == {"m.yaml:3", "m.yaml:4"}
