from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.app.stage import Api, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One for all tests of a module: what they are about is before or after it."""
    with serving(tmp_path_factory.mktemp("simulator")) as running:
        yield running
