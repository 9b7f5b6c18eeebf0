"""Images in an S3 store keep the promises of the ``Sink`` port."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.stores import PhotoCache
from fluxbatch.adapters.stores.opening import open_bucket
from fluxbatch.adapters.stores.sink import StoreSink
from fluxbatch.model.address import StoreAddress
from fluxbatch.testing.conformance import case_name, sink
from tests.stores.s3server import S3Server, s3_serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from blockbuster import BlockBuster


def make_sink(url: str, folder: Path, *, kind: str = "live", patience_s: float = 0.2) -> StoreSink:
    """A sink as a run makes it, but for its patience."""
    made = StoreSink(
        open_bucket(StoreAddress.parse(url), patience_s=patience_s),
        spool=folder / "spool",
        scratch=folder / "landing",
        photos=PhotoCache(folder / "photos"),
        clock=SystemClock(),
        kind=kind,
    )
    (folder / "spool").mkdir(parents=True, exist_ok=True)
    made.sweep()
    return made


class DiskRig:
    """What of a rig is on the local disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def leftovers(self) -> int:
        return len(list((self._folder / "landing").iterdir()))  # what is in the spool waits for its upload

    def spool(self, data: bytes) -> Path:
        path = self._folder / "spooled.image"
        path.write_bytes(data)
        return path


class StoreRig(DiskRig):
    def __init__(self, server: S3Server, prefix: str, folder: Path) -> None:
        super().__init__(folder)
        self._server, self._prefix = server, prefix
        self.sink = make_sink(f"s3://{server.bucket}/{prefix}", folder)

    def read(self, file: str) -> bytes | None:
        kept = self._server.objects.get(f"{self._prefix}/{file}")
        return None if kept is None else kept.data

    def alter(self, file: str, data: bytes) -> None:
        self._server.put(f"{self._prefix}/{file}", data)
        self.sink.look_again()  # someone else's doing, before the run that looks

    def remove(self, file: str) -> None:
        del self._server.objects[f"{self._prefix}/{file}"]
        self.sink.look_again()

    @contextmanager
    def full(self) -> Iterator[None]:
        self._server.fault = lambda asked: 507 if asked.method == "PUT" else None
        yield
        self._server.fault = lambda _: None


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_serving() as server:
        yield server


@pytest.mark.parametrize("store", ["plain", pytest.param("no conditions, opaque ETags", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", sink.CASES, ids=case_name)
async def test_store_sink(
    case: sink.Case,
    store: str,
    server: S3Server,
    tmp_path: Path,
    blockbuster: BlockBuster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.conditional, server.opaque = store == "plain", store != "plain"
    server.objects.clear()
    count = 0

    @contextmanager
    def make() -> Iterator[StoreRig]:
        nonlocal count
        count += 1
        blockbuster.deactivate()  # to make its folders, which is done before a run
        rig = StoreRig(server, f"some prefix/{count}", tmp_path / f"state-{count}")
        blockbuster.activate()
        rig.sink.bucket.creates = rig.sink.bucket.updates = server.conditional
        yield rig

    await case(make)
