"""Time that does not pass unless nobody has anything to do."""

from __future__ import annotations

import asyncio
import io
import time
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
import pytest
from aiohttp import web

from fluxbatch.formats import inspect_image
from fluxbatch.testing import EPOCH, VirtualClock, VirtualTimeLoop, make_jpeg, make_png


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def test_ten_minutes_take_no_time() -> None:
    real, virtual = time.perf_counter(), anyio.current_time()
    await anyio.sleep(600)
    assert anyio.current_time() - virtual == pytest.approx(600)
    assert time.perf_counter() - real < 1


async def test_timers_go_off_in_order() -> None:
    order: list[float] = []

    async def after(seconds: float) -> None:
        await anyio.sleep(seconds)
        order.append(seconds)

    async with anyio.create_task_group() as tasks:
        for seconds in (30.0, 10.0, 20.0, 0.5):
            tasks.start_soon(after, seconds)
    assert order == [0.5, 10.0, 20.0, 30.0]


async def test_timeouts_work() -> None:
    begun = anyio.current_time()
    with pytest.raises(TimeoutError):
        with anyio.fail_after(360):
            await anyio.sleep_forever()
    assert anyio.current_time() - begun == pytest.approx(360)


async def test_work_takes_no_virtual_time() -> None:
    begun = anyio.current_time()
    for _ in range(1000):
        await anyio.lowlevel.checkpoint()
    assert anyio.current_time() == begun


async def test_real_sockets_work() -> None:
    async def answer(_request: web.Request) -> web.Response:
        await anyio.sleep(120)
        return web.Response(text="late")

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    begun = anyio.current_time()
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as response:
        assert await response.text() == "late"
    await runner.cleanup()
    assert anyio.current_time() - begun >= 120


async def test_threads_are_waited_for_if_there_is_no_timer() -> None:
    def work() -> int:
        time.sleep(0.05)
        return 7

    assert await anyio.to_thread.run_sync(work) == 7


def test_a_deadlock_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="nothing would ever happen"):
        anyio.run(anyio.sleep_forever, backend_options={"loop_factory": VirtualTimeLoop})


async def test_rounds_are_counted() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    before = loop.rounds
    await anyio.sleep(1000)
    assert 1 <= loop.rounds - before < 5


async def test_the_clock_is_the_loops() -> None:
    clock = VirtualClock()
    assert clock.now() - clock.monotonic() == pytest.approx(EPOCH)
    wall = clock.now()
    await anyio.sleep(5)
    assert clock.now() - wall == pytest.approx(5)
    clock.skew_s = -3600
    assert clock.now() - wall == pytest.approx(-3595)


@pytest.mark.parametrize("make", [make_png, make_jpeg])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 30), (640, 480)])
def test_images_are_whole(make: Any, size: tuple[int, int]) -> None:
    width, height = size
    data = make(3, width=width, height=height)
    facts = inspect_image(io.BytesIO(data))
    assert (facts.width, facts.height) == size
    assert make(4, width=width, height=height) != data


@pytest.mark.parametrize("make", [make_png, make_jpeg])
def test_images_can_be_seen(make: Any) -> None:
    image_module = pytest.importorskip("PIL.Image")
    with image_module.open(io.BytesIO(make(0x336699, width=20, height=9))) as image:
        image.load()
        assert image.size == (20, 9)
        assert image.getpixel((3, 3)) in {(0x33, 0x66, 0x99), 128}
