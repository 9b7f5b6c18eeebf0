"""What other people wrote, in the forms of CI servers: it is text there, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fluxbatch.model.job import Failure, Record
from fluxbatch.model.problem import Where
from fluxbatch.model.state import JobState, Reason
from fluxbatch.model.summary import Summary
from fluxbatch.report.annotations import Annotations, command
from fluxbatch.report.case import Case
from fluxbatch.report.job_summary import JobSummary
from fluxbatch.report.junit import JUnitFile, xml_text
from fluxbatch.testing import make_job

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = st.text() | st.sampled_from(
    [
        "]]><x/>",
        "\x1b[31m\x00\ufffe\ud800",
        "::error::x\r\n::set-env name=a::b",
        "<script>|`@me` ##[error]",
        "x" * 30_000,
    ]
)


def case_of(job_id: str, file: str, message: str) -> Case:
    failure = Failure(Reason.MODERATED, message, 400)
    return Case(Record(make_job(0, id=job_id), JobState.FAILED, failure=failure), Where(file, 7), "run")


def summary_of(count: int) -> Summary:
    return Summary(
        run_id="run",
        total=count,
        stored=0,
        cached=0,
        failed=count,
        pending=0,
        requests=count,
        charged=0,
        unknown_charges=0,
        lost=0,
        cost_usd=0.0,
        unknown_usd=0.0,
        wall_s=1.0,
        url_age_p50_s=None,
        url_age_max_s=None,
        stop_reason="",
        exit_code=1,
        simulated=False,
        failures={"moderated": count},
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(HOSTILE, HOSTILE, HOSTILE)
def test_junit_stays_xml(tmp_path: Path, job_id: str, file: str, message: str) -> None:
    path = tmp_path / "junit.xml"
    with JUnitFile(path) as junit:
        junit.add([case_of(job_id, file, message)])
        junit.close(summary_of(1))
    (suite,) = ET.parse(path).getroot()
    (case,) = suite
    assert case.attrib["name"] == (xml_text(job_id) or "job-00000")
    assert case.attrib["file"] == xml_text(file)
    assert [child.tag for child in case] == ["failure"]
    assert [one.name for one in tmp_path.iterdir()] == ["junit.xml"]


@given(HOSTILE, HOSTILE, HOSTILE)
def test_an_annotation_is_one_line(file: str, title: str, message: str) -> None:
    said = command("error", message, file=file, line=3, title=title)
    assert len(said.splitlines()) == 1
    _, properties, data = said.split("::", 2)
    assert properties.startswith("error")
    names = [part.partition("=")[0] for part in properties.partition(" ")[2].split(",") if part]
    assert names in (["file", "line", "title"], ["file", "line"], ["title"], [])
    assert "\r" not in data


@given(st.integers(0, 40))
def test_of_a_level_there_are_ten_annotations_at_most(count: int) -> None:
    lines: list[str] = []
    notes = Annotations(lines.append, lambda file: file)
    notes.jobs([case_of(f"job-{n}", "jobs.yaml", "no") for n in range(count)], forgiven=False)
    notes.flush()
    assert len(lines) == min(count, 10)
    if count > 10:
        assert f"and {count - 9} more" in lines[-1]


def test_a_page_stays_small_whatever_is_in_it() -> None:
    page = JobSummary()
    worst = "@" * 30_000
    page.add([case_of(f"{n}{worst}", worst, worst) for n in range(150)])
    text = page.page(summary_of(150))
    assert len(text.encode()) < 200 << 10
    assert "more" in text


@given(HOSTILE, HOSTILE)
def test_a_row_of_the_page_stays_a_row(job_id: str, message: str) -> None:
    page = JobSummary()
    page.add([case_of(job_id, "jobs.yaml", message)])
    row = page.page(summary_of(1)).splitlines()[6]
    cells = row.replace("\\\\", "").replace("\\|", "").split("|")
    assert len(cells) == 7
    assert "<" not in row
