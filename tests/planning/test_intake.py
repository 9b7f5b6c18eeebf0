"""The intake as a whole: sources, order, findings, memory."""

from __future__ import annotations

import functools
import operator
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fluxbatch.errors import ManifestError
from fluxbatch.model.problem import Level, Problem, Where
from fluxbatch.planning.findings import Findings
from fluxbatch.planning.intake import Intake, JobList, ManifestFile
from tests.planning.helpers import take

if TYPE_CHECKING:
    from fluxbatch.planning.sources import SourceSpec
    from tests.planning.helpers import Desk


def test_several_sources_are_one_run(desk: Desk) -> None:
    sources: list[SourceSpec] = [
        desk.write("one.csv", "id,prompt\na,x\nb,y\n"),
        desk.write("two.yaml", "jobs: [{id: b, prompt: x}, {id: c, prompt: x}]"),
        JobList([{"id": "d", "prompt": "x"}], desk.folder, "mine"),
    ]

    taken = take(*sources, root=desk.folder)

    assert taken.line == "two.yaml:1: error: [b] id: the id 'b' is taken by one.csv:3 (give each job an id of its own)"
    assert [(job.id, job.position) for job in taken.jobs] == [("a", 0), ("b", 1), ("c", 3), ("d", 4)]
    assert [job.manifest.rpartition("/")[2] for job in taken.jobs] == ["one.csv", "one.csv", "two.yaml", "mine"]
    assert [out for _, _, out in taken.outs] == [desk.folder / f"{name}-out" for name in ("one", "two", "mine")]


def test_jobs_come_in_batches_in_order(desk: Desk) -> None:
    source = JobList(({"id": str(number), "prompt": "x"} for number in range(1000)), desk.folder)
    with Intake([source], findings=Findings()) as intake:
        intake.stage()
        intake.check()
        batches = list(intake.planned(300))
        again = list(intake.planned(1000))

    assert [len(batch) for batch in batches] == [300, 300, 300, 100]
    assert [job.id for batch in batches for job in batch] == [str(number) for number in range(1000)]
    assert again == [functools.reduce(operator.iadd, batches, [])]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jbos.yaml", "there is no such file (did you mean 'jobs.yaml'?)"),
        ("nowhere/jobs.yaml", "there is no such file (check the path)"),
        ("folder.yaml", "is a folder, not a manifest (for its photos: fluxbatch run "),
        ("folder", "has no extension (it is a folder; for its photos: fluxbatch run "),
        ("table.xlsx", "there is no such file (check the path)"),
        ("table.parquet", "there is no such file (check the path)"),
        ("a.jpg", "is a photo, not a manifest (say what to make of it: fluxbatch run "),
        ("a.txt", "'.txt' is no kind of manifest (documents are .yaml .yml .json .toml, tables .jsonl .csv .tsv .xl"),
        ("empty.csv", "the file is empty (write at least one job)"),
    ],
)
def test_manifests_that_can_not_be_opened(desk: Desk, name: str, message: str) -> None:
    desk.write("jobs.yaml", "jobs: []")
    desk.write("empty.csv", "")
    (desk.folder / "folder.yaml").mkdir()
    (desk.folder / "folder").mkdir()

    taken = take(ManifestFile(desk.folder / name), root=desk.folder)

    assert taken.line.startswith(f"{name}: error: {message}")
    assert (taken.errors, taken.fatal, taken.total) == (1, 1, 0)


def test_a_manifest_given_twice(desk: Desk) -> None:
    source = desk.write("a.csv", "id,prompt\na,x\n")

    taken = take(source, ManifestFile(source.path), root=desk.folder)

    assert taken.line == "a.csv: error: is given twice (give it once)"
    assert len(taken.jobs) == 1


def test_python_jobs_that_are_none(desk: Desk) -> None:
    taken = desk.take_jobs("text", {1: 2, "prompt": "x", "id": "a"}, {"id": "b", "prompt": "\ud800"})  # type: ignore[arg-type, dict-item]

    assert [line.partition(" (")[0] for line in taken.lines] == [
        "python:1: error: 'text' is not a mapping of fields to values",
        "python:2: error: [a] the key 1 is not text",
        "python:3: error: holds a value that JSON can't express: str is not valid UTF-8: surrogates not allowed",
    ]


def problem(line: int, level: Level = Level.ERROR, message: str = "wrong") -> Problem:
    return Problem(Where("a.csv", line), f"{message} {line}", level=level)


def test_findings_are_bounded_ordered_and_all_counted() -> None:
    findings = Findings()
    for line in reversed(range(1, 1001)):
        findings.add(problem(line), position=line)
        findings.add(problem(line, Level.WARNING), position=line)

    assert (findings.errors, findings.warnings) == (1000, 1000)
    assert [found.where.line for found in findings.first(3)] == [1, 2, 3]
    assert len(findings.first(10_000)) == 250
    with pytest.raises(ManifestError) as raised:
        findings.raise_if_errors()
    assert (len(raised.value.problems), raised.value.total) == (200, 1000)
    assert str(raised.value).endswith("… and 800 more\n1000 problems found, nothing was sent")


def test_warnings_alone_raise_nothing() -> None:
    findings = Findings()
    findings.add(problem(1, Level.WARNING))

    findings.raise_if_errors()
    assert findings.fatal == 0


def test_a_finding_is_one_line_without_escape_codes() -> None:
    findings = Findings()
    findings.add(Problem(Where("a\n.csv", 1), "evil \x1b[31m\nvalue", job_id="a\rb", field="\x07"))

    assert str(findings.first(1)[0]) == "a\\n.csv:1: error: [a\\rb] \\x07: evil \\x1b[31m\\nvalue"


FULL = """
import resource, sys
from pathlib import Path
from fluxbatch.errors import StorageError
from fluxbatch.planning.findings import Findings
from fluxbatch.planning.intake import Intake, JobList

resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
jobs = ({"id": str(number), "prompt": "x" * 1000} for number in range(100_000))
with Intake([JobList(jobs, Path.cwd())], findings=Findings()) as intake:
    try:
        intake.stage()
    except StorageError as error:
        print(error)
"""


def test_a_temporary_folder_that_is_full_is_a_storage_error() -> None:
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("the manifest can't be staged on disk: ")
    assert "free space in the temporary folder, or set TMPDIR to another one" in done.stdout


LOADED = """
import sys
from tests.planning.helpers import ManifestFile, Path, take
taken = take(ManifestFile(Path(sys.argv[1])))
print(len(taken.jobs), taken.lines, "pydantic" in sys.modules)
"""


@pytest.mark.parametrize(("field", "loaded"), [("output_format: png", False), ("seed: 7", True)])
def test_what_is_text_takes_no_pydantic(desk: Desk, field: str, loaded: bool) -> None:
    """It takes longer to load than all the rest of planning."""
    path = desk.write("a.yaml", f"defaults: {{model: flux-2-pro}}\njobs: [{{prompt: A lake, {field}}}]\n").path
    done = subprocess.run([sys.executable, "-c", LOADED, str(path)], capture_output=True, text=True, check=True)

    assert done.stdout == f"1 [] {loaded}\n"


MEASURE = """
import resource, sys
from pathlib import Path
from fluxbatch.planning.findings import Findings
from fluxbatch.planning.intake import Intake, ManifestFile

def run(path):
    findings = Findings()
    with Intake([ManifestFile(Path(path))], findings=findings) as intake:
        intake.stage()
        intake.check()
        count = sum(len(batch) for batch in intake.planned())
    assert findings.errors == int("bad" in path) * 400_000, findings.errors
    return count

run(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(run(sys.argv[2]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["good.csv", "bad.csv"])
def test_200_000_rows_take_no_memory(desk: Desk, name: str) -> None:
    rows = [f"job-{number},A photo of item {number} on white,{number % 7}" for number in range(200_000)]
    header = "id,prompt,seed" if name == "good.csv" else "id,prompt,width"
    desk.write("few.csv", "\n".join(["id,prompt,seed", *rows[:2000]]))
    desk.write(name, "\n".join([header, *rows]).replace(",0\n", ",1\n"))

    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(desk.folder / "few.csv"), str(desk.folder / name)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    count, grown_kb = map(int, done.stdout.split())
    assert count == 200_000
    assert grown_kb < 12 * 1024
