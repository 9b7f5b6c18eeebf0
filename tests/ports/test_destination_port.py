"""Places that images are delivered to keep the promises of the ``Destination`` port."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from fluxbatch.adapters.disk.delivery import FolderDestination
from fluxbatch.adapters.stores.delivery import StoreDestination
from fluxbatch.adapters.stores.opening import open_bucket
from fluxbatch.model.address import StoreAddress
from fluxbatch.testing.conformance import case_name, destination
from tests.stores.s3server import S3Server, s3_serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from blockbuster import BlockBuster


class SourceRig:
    """With images on the local disk."""

    def __init__(self, folder: Path) -> None:
        self._source = folder / "image"

    def source(self, data: bytes) -> Path:
        self._source.write_bytes(data)
        return self._source


class FolderRig(SourceRig):
    def __init__(self, folder: Path, blockbuster: BlockBuster) -> None:
        super().__init__(folder)
        self._root, self._blockbuster = folder / "to", blockbuster

    @property
    def destination(self) -> FolderDestination:
        self._blockbuster.deactivate()  # it blocks, and is made in a thread
        made = FolderDestination(self._root)
        self._blockbuster.activate()
        return made

    def put(self, file: str, data: bytes) -> None:
        path = self._root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def files(self) -> dict[str, bytes]:
        found = (path for path in self._root.rglob("*") if path.is_file())
        return {str(path.relative_to(self._root)): path.read_bytes() for path in found}


class StoreRig(SourceRig):
    PREFIX = "shop/night"

    def __init__(self, folder: Path, server: S3Server) -> None:
        super().__init__(folder)
        self._server = server

    @property
    def destination(self) -> StoreDestination:
        address = StoreAddress.parse(f"s3://{self._server.bucket}/{self.PREFIX}")
        return StoreDestination(open_bucket(address, patience_s=0.2), "live")

    def put(self, file: str, data: bytes) -> None:
        self._server.put(f"{self.PREFIX}/{file}", data)

    def files(self) -> dict[str, bytes]:
        return {key.removeprefix(f"{self.PREFIX}/"): kept.data for key, kept in self._server.objects.items()}


@pytest.mark.parametrize("case", destination.CASES, ids=case_name)
async def test_folder_destination(case: destination.Case, tmp_path: Path, blockbuster: BlockBuster) -> None:
    @contextmanager
    def make() -> Iterator[FolderRig]:
        yield FolderRig(tmp_path, blockbuster)

    await case(make)


@pytest.mark.parametrize("store", ["plain", "no conditions, opaque ETags"])
@pytest.mark.parametrize("case", destination.CASES, ids=case_name)
async def test_store_destination(
    case: destination.Case, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_serving() as server:
        server.conditional, server.opaque = store == "plain", store != "plain"
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)

        @contextmanager
        def make() -> Iterator[StoreRig]:
            yield StoreRig(tmp_path, server)

        await case(make)
