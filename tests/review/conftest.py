from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.app.stage import Api, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    data: Path = tmp_path_factory.mktemp("simulator")
    with serving(data) as running:
        yield running
