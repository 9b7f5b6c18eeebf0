"""The adapters against the simulator, whose wire format is its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.disk.photos import FileSource
from fluxbatch.adapters.http import GatewayProvider, HttpFetcher
from fluxbatch.adapters.http.connect import check_base_url
from fluxbatch.errors import DeliveryError
from fluxbatch.formats import inspect_image
from fluxbatch.model.answer import Granted, Inline, Refused
from fluxbatch.model.state import Charge, Reason
from fluxbatch.simulator import DELIVERY_KINDS, GENERATE_KINDS, Faults, Simulator, SimulatorConfig
from fluxbatch.testing.sink import MemorySink
from tests.http.support import Bench, job_of, photo_of

PHOTOS = Path(__file__).parents[2] / "jobs" / "photos"
MIMES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
RIGHT = {
    "429": (Reason.RATE_LIMITED, Charge.NONE),
    "500": (Reason.SERVER_ERROR, Charge.UNKNOWN),
    "500-billed": (Reason.SERVER_ERROR, Charge.UNKNOWN),
    "502": (Reason.SERVER_ERROR, Charge.NONE),
    "503": (Reason.SERVER_ERROR, Charge.NONE),
    "503-no-channel": (Reason.MODEL_UNAVAILABLE, Charge.NONE),
    "504": (Reason.UNKNOWN_OUTCOME, Charge.UNKNOWN),
    "524": (Reason.UNKNOWN_OUTCOME, Charge.UNKNOWN),
    "reset": (Reason.UNKNOWN_OUTCOME, Charge.UNKNOWN),
    "truncated-json": (Reason.UNKNOWN_OUTCOME, Charge.UNKNOWN),
    "empty-data": (Reason.UNKNOWN_OUTCOME, Charge.UNKNOWN),
    "moderation": (Reason.MODERATED, Charge.NONE),
    "quota": (Reason.OUT_OF_CREDIT, Charge.NONE),
}


def simulated(faults: Faults | None = None, **settings: object) -> Simulator:
    config = SimulatorConfig(latency=0, render="plain", grace_s=0.2, delivery_port=0)
    return Simulator(replace(config, **settings), faults=faults)  # type: ignore[arg-type]  # by name


def provider_for(sim: Simulator, bench: Bench) -> GatewayProvider:
    return GatewayProvider(
        check_base_url(sim.base_url),
        sim.api_key,
        network=bench.network,
        source=FileSource(),
        clock=SystemClock(),
        spool=bench.folder,
        settings=bench.settings,
    )


def fetcher_for(bench: Bench) -> HttpFetcher:
    return HttpFetcher(network=bench.network, clock=SystemClock(), settings=bench.settings, local=True)


async def test_photos_of_every_kind_are_fused_and_fetched(bench: Bench) -> None:
    photos = [photo_of(path, MIMES[path.suffix]) for path in sorted(PHOTOS.iterdir()) if path.suffix in MIMES][:8]
    assert len({photo.mime for photo in photos}) >= 2
    async with simulated() as sim:
        provider, fetcher = provider_for(sim, bench), fetcher_for(bench)
        answered = await provider.generate(job_of(photos, output_format="png"))
        assert isinstance(answered, Granted), answered
        landing = await MemorySink().land()
        await fetcher.fetch(answered.lease, landing)
        await provider.close()
        await fetcher.close()
        assert (await landing.commit("one")).file == "one.png"
        assert landing.md5
        assert landing.etag
        assert answered.lease.request_id
        now = SystemClock().now()
        assert now + 590 < answered.lease.deadline < now + 601
        assert (len(sim.calls), sim.leaked_keys) == (1, 0)


async def test_an_image_in_the_answer(bench: Bench) -> None:
    async with simulated(answer="b64_json") as sim:
        provider = provider_for(sim, bench)
        answered = await provider.generate(job_of(output_format="png"))
        await provider.close()
    assert isinstance(answered, Inline)
    assert (await anyio.to_thread.run_sync(extension, answered.path)) == "png"


def extension(path: Path) -> str:
    with path.open("rb") as file:
        return inspect_image(file).extension


def test_every_fault_has_its_verdict() -> None:
    apart = {"reset-before-body", "error-in-200", "tail-stall"}
    assert RIGHT.keys() | apart == GENERATE_KINDS.keys()


@pytest.mark.parametrize("kind", RIGHT)
async def test_faults_of_the_api(bench: Bench, kind: str) -> None:
    async with simulated(Faults(schedule={kind: frozenset({1})})) as sim:
        provider = provider_for(sim, bench)
        answered = await provider.generate(job_of())
        await provider.close()
        billed = len(sim.calls)
    assert isinstance(answered, Refused), answered
    assert (answered.verdict.reason, answered.verdict.charge) == RIGHT[kind]
    assert not billed or answered.verdict.charge is Charge.UNKNOWN, "what is billed is never taken for free"


async def test_an_answer_in_time_although_the_stream_does_not_end(bench: Bench) -> None:
    async with simulated(Faults(schedule={"tail-stall": frozenset({1})}, stall_s=10)) as sim:
        provider = provider_for(sim, bench)
        with anyio.fail_after(3):
            assert isinstance(await provider.generate(job_of()), Granted)
        await provider.close()


@pytest.mark.parametrize("kind", DELIVERY_KINDS)
async def test_faults_of_the_delivery(bench: Bench, kind: str) -> None:
    """Whatever the first try meets, the second into the same landing ends with the image."""
    faults = Faults(schedule={kind: frozenset({1})}, stall_s=10, slow_s=0.3)
    bench = replace(bench, settings=replace(bench.settings, download_stall_s=0.4))
    async with simulated(faults, render="montage") as sim:
        provider, fetcher = provider_for(sim, bench), fetcher_for(bench)
        answered = await provider.generate(job_of(output_format="png", model="flux-2-klein-4b"))
        assert isinstance(answered, Granted)
        landing = await MemorySink().land()
        for _ in range(2):
            try:
                await fetcher.fetch(answered.lease, landing)
                stored = await landing.commit("one")
            except DeliveryError as error:
                if error.corrupt:
                    landing.restart()
            else:
                break
        else:
            pytest.fail("no image after two tries")
        assert stored.file == "one.png"
        await provider.close()
        await fetcher.close()
