from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
MB = 1 << 20
PROGRAM = (sys.executable, "-m", "tests.http.uploads")


@pytest.fixture
def sink() -> Iterator[str]:
    with subprocess.Popen((*PROGRAM, "sink"), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.mark.parametrize(
    ("requests", "photos", "megabytes"),
    [(16, 2, 8), pytest.param(16, 8, 15, marks=pytest.mark.slow)],
    ids=["250 MB", "2 GB"],
)
def test_memory_does_not_grow_with_the_photos(
    tmp_path: Path, sink: str, requests: int, photos: int, megabytes: int
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(photos)]
    for path in paths:
        with path.open("wb") as file:
            file.truncate(megabytes * MB)  # sparse: what is in it makes no difference
    run = subprocess.run(
        (*PROGRAM, "client", sink, str(tmp_path), str(requests), *map(str, paths)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["granted"] == requests
    each = (seen["peak"] - seen["before"]) / requests
    print(f"peak {seen['peak'] / MB:.1f} MB, {each / MB:.2f} MB for each upload")  # noqa: T201  # with pytest -s
    assert seen["peak"] < 100 * MB
    assert each < 1 * MB
