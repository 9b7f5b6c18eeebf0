"""``import fluxbatch``: the public surface is pinned, and does what the command line does."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import fluxbatch
from fluxbatch.simulator import Faults
from tests.app.stage import KEY, PHOTOS, photos_into

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api

SURFACE = {
    *("Charge", "DeliveryRetried", "Event", "FluxbatchError", "FolderInUse", "Interrupted", "Job", "JobFailed"),
    *("JobGranted", "JobLost", "JobRequeued", "JobStored", "JobSubmitted", "ManifestError", "Reason", "Result"),
    *("ResultError", "RunEnded", "RunPaused", "RunResult", "RunStarted", "RunStopping", "Settings"),
    *("LimitChanged", "StepsRescued", "StorageError"),
    *("Summary", "UsageError", "__version__", "arun", "run"),
}


def test_the_surface() -> None:
    assert set(fluxbatch.__all__) == set(dir(fluxbatch)) == SURFACE
    assert all(getattr(fluxbatch, name) is not None for name in SURFACE)
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = fluxbatch.rum


def test_importing_is_cheap() -> None:
    code = (
        "import sys\nbefore = set(sys.modules)\nimport fluxbatch\n"
        "print(sorted({'aiohttp', 'pydantic', 'PIL', 'click'} & set(sys.modules) - before))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_an_iterable_of_jobs(api: Api, tmp_path: Path) -> None:
    events: list[str] = []
    jobs = (
        fluxbatch.Job(id=f"cat-{n}", prompt=f"The cat of image 1, take {n}", images=[PHOTOS / "cat.webp"], seed=n)
        for n in range(3)
    )

    result = fluxbatch.run(
        jobs,
        out=tmp_path / "out",
        api_key=KEY,
        base_url=api.sim.base_url,
        concurrency=2,
        on_event=lambda event: events.append(event.name),
    )

    assert result.ok
    assert [(one.id, one.status, one.seed) for one in result.results()] == [(f"cat-{n}", "stored", n) for n in range(3)]
    assert all(one.path is not None and one.path.stat().st_size == one.bytes for one in result.results())
    assert events.count("job.stored") == 3
    assert events[0] == "run.started"
    assert events[-1] == "run.ended"
    assert result.summary.charged == 3


async def test_async_with_plain_mappings_and_photos(api: Api, tmp_path: Path) -> None:
    def call(what: Any, **options: Any) -> Any:
        return fluxbatch.arun(what, api_key=KEY, base_url=api.sim.base_url, **options)

    made = await call([{"prompt": "A lake", "meta": {"sku": 7}}], out=tmp_path / "a")
    assert made.ok
    assert [one.meta for one in made.results()] == [{"sku": 7}]

    photos = photos_into(tmp_path / "photos", "cup.png")
    placed = await call(photos, prompt="On a beach", out=tmp_path / "b")
    assert [one.id for one in placed.results()] == ["cup"]


def test_wrong_jobs_raise_with_all_problems(tmp_path: Path) -> None:
    jobs: list[Any] = [fluxbatch.Job(prompt="", id="a"), {"prompt": "x", "id": "b", "seeed": 3}]
    with pytest.raises(fluxbatch.ManifestError) as caught:
        fluxbatch.run(jobs, out=tmp_path / "out", api_key=KEY)
    text = str(caught.value)
    assert caught.value.total == 2
    assert "[a] prompt" in text
    assert "seed" in text
    assert not (tmp_path / "out").exists()


def test_wrong_settings_raise_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(fluxbatch.UsageError, match="did you mean 'concurrency'"):
        fluxbatch.run([fluxbatch.Job(prompt="x")], out=tmp_path, api_key=KEY, concurency=3)
    with pytest.raises(fluxbatch.UsageError, match="jobs need an output folder"):
        fluxbatch.run([fluxbatch.Job(prompt="x")], api_key=KEY)
    with pytest.raises(fluxbatch.UsageError, match="no API key"):
        fluxbatch.run([fluxbatch.Job(prompt="x")], out=tmp_path)


def test_a_failed_job_has_its_error(api: Api, tmp_path: Path) -> None:
    api.sim.faults = Faults(schedule={"moderation": frozenset({1})})
    result = fluxbatch.run([fluxbatch.Job(prompt="x", id="x")], out=tmp_path, api_key=KEY, base_url=api.sim.base_url)

    assert result.summary.exit_code == 1
    (one,) = result.results()
    assert one.path is None
    assert one.error is not None
    assert one.error.code == fluxbatch.Reason.MODERATED
