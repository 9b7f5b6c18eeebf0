from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stores.s3server import S3Server, s3_serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.app.stage import Api


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_serving() as server:
        yield server


@pytest.fixture
def api(api: Api, server: S3Server) -> Api:
    """With an object store for the commands."""
    api.env |= server.environment
    return api
