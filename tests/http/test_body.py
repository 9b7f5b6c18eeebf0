from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import orjson
import pytest

from fluxbatch.adapters.http.body import PIECE
from fluxbatch.errors import PhotoChanged, PhotoError
from fluxbatch.model.answer import Granted
from fluxbatch.model.job import Photo, RemoteImage
from tests.http.rawserver import GRANTED, RESULT, Peer, always, answer, serve
from tests.http.support import KEY, Bench, job_of, open_files, photo_of, write_photo

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.adapters.http import GatewayProvider
    from fluxbatch.model.job import Image

OK = answer(GRANTED)
AROUND = [0, 1, 2, 3, 4, 5, PIECE - 2, PIECE - 1, PIECE, PIECE + 1, PIECE + 2, 2 * PIECE, 3 * PIECE + 1]


def data_url(photo: Photo, content: bytes) -> str:
    return f"data:{photo.mime};base64,{base64.b64encode(content).decode()}"


async def test_text_only_body_is_the_fields_and_nothing_else(bench: Bench) -> None:
    async with serve(always(OK)) as server:
        answered = await bench.ask(server.base_url, job_of(width=512, height=768, output_format="png"))
    assert isinstance(answered, Granted)
    assert answered.lease.url == RESULT
    (request,) = server.complete
    assert request.line == "POST /v1/images/generations HTTP/1.1"
    assert request.json == {
        "model": "flux-2-pro",
        "prompt": 'a cat, 一只猫 "quoted"',
        "seed": 7,
        "width": 512,
        "height": 768,
        "output_format": "png",
    }
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["content-length"] == str(len(request.body))
    assert "transfer-encoding" not in request.headers
    assert "cookie" not in request.headers
    assert "expect" not in request.headers


@pytest.mark.parametrize("size", AROUND)
async def test_a_photo_arrives_byte_for_byte(bench: Bench, tmp_path: Path, size: int) -> None:
    photo = write_photo(tmp_path, "one.png", size)
    content = (tmp_path / "one.png").read_bytes()
    async with serve(always(OK)) as server:
        assert isinstance(await bench.ask(server.base_url, job_of([photo])), Granted)
    (request,) = server.complete
    assert request.json["input_image"] == data_url(photo, content)
    assert request.headers["content-length"] == str(len(request.body))


async def test_eight_images_arrive_in_order_with_their_mime_types(bench: Bench, tmp_path: Path) -> None:
    mimes = ["image/png", "image/jpeg", "image/webp"]
    images: list[Image] = []
    expected: list[str] = []
    for number in range(8):
        if number in {2, 7}:
            url = f'https://example.com/{number}.png?a="b"&c=%2F'
            images.append(RemoteImage(url))
            expected.append(url)
            continue
        # names that lie: what counts is the type that was found by the bytes
        photo = write_photo(tmp_path, f"{number}.gif", PIECE * (number % 3) + number, mimes[number % 3])
        images.append(photo)
        expected.append(data_url(photo, (tmp_path / photo.ref).read_bytes()))
    async with serve(always(OK)) as server:
        assert isinstance(await bench.ask(server.base_url, job_of(images)), Granted)
    (request,) = server.complete
    names = ["input_image", *(f"input_image_{number}" for number in range(2, 9))]
    assert [request.json[name] for name in names] == expected
    assert list(request.json) == ["model", "prompt", "seed", *names]


async def test_one_url_alone_needs_no_file(bench: Bench) -> None:
    async with serve(always(OK)) as server:
        await bench.ask(server.base_url, job_of([RemoteImage("https://example.com/ü.png")]))
    assert server.complete[0].json["input_image"] == "https://example.com/ü.png"


async def test_what_changed_before_the_upload_is_not_sent(bench: Bench, tmp_path: Path) -> None:
    photo = write_photo(tmp_path, "one.png", 1000)
    (tmp_path / "one.png").write_bytes(os.urandom(1000))
    os.utime(tmp_path / "one.png", ns=(1, 1))
    async with serve(always(OK)) as server:
        with pytest.raises(PhotoChanged, match=r"one\.png has changed"):
            await bench.ask(server.base_url, job_of([photo]))
        assert server.complete == []


async def test_a_photo_that_is_gone_is_not_sent(bench: Bench, tmp_path: Path) -> None:
    photo = write_photo(tmp_path, "one.png", 1000)
    (tmp_path / "one.png").unlink()
    async with serve(always(OK)) as server:
        with pytest.raises(PhotoChanged, match=r"one\.png is gone"):
            await bench.ask(server.base_url, job_of([photo]))
        assert server.complete == []


async def test_a_photo_that_cannot_be_read_is_told(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    async with serve(always(OK)) as server:
        with pytest.raises(PhotoError, match="can't be read"):
            await bench.ask(server.base_url, job_of([photo_of(folder)]))
        assert server.complete == []


@pytest.mark.parametrize("change", ["truncated", "appended", "touched"])
async def test_a_change_during_the_upload_breaks_it_off(bench: Bench, tmp_path: Path, change: str) -> None:
    photo = write_photo(tmp_path, "one.png", 16 << 20)
    path = tmp_path / "one.png"
    cut_short = anyio.Event()

    async def read_a_part_then_change_the_file(peer: Peer) -> None:
        head = await peer.head()
        await peer.body(head, bytes_at_most=1 << 20)
        match change:
            case "truncated":
                os.truncate(path, 2 << 20)
            case "appended":
                with path.open("ab") as file:
                    file.write(b"x")
            case _:
                os.utime(path, ns=(1, 1))
        try:
            await peer.body(head)
        except (EOFError, ConnectionError):
            cut_short.set()

    async with serve(read_a_part_then_change_the_file, small_buffer=True) as server:
        with pytest.raises(PhotoChanged, match=r"one\.png has (changed|become shorter)"):
            await bench.ask(server.base_url, job_of([photo]))
        with anyio.fail_after(5):
            await cut_short.wait()
    assert server.peers[0].received < int(server.requests[0].headers["content-length"])


async def test_a_photo_removed_during_the_upload_is_sent_whole(bench: Bench, tmp_path: Path) -> None:
    """An open file stays what it was, whatever becomes of its name."""
    photo = write_photo(tmp_path, "one.png", 8 << 20)
    path = tmp_path / "one.png"
    content = path.read_bytes()

    async def script(peer: Peer) -> None:
        head = await peer.head()
        first = await peer.body(head, bytes_at_most=1 << 20)
        path.unlink()
        head.headers["content-length"] = str(int(head.headers["content-length"]) - len(first))
        rest = await peer.body(head)
        assert orjson.loads(first + rest)["input_image"] == data_url(photo, content)
        await peer.send(OK)

    async with serve(script, small_buffer=True) as server:
        assert isinstance(await bench.ask(server.base_url, job_of([photo])), Granted)


async def test_the_second_of_two_photos_breaks_the_body_off_too(bench: Bench, tmp_path: Path) -> None:
    first, second = write_photo(tmp_path, "1.png", 10), write_photo(tmp_path, "2.png", 10)
    (tmp_path / "2.png").unlink()
    async with serve(always(OK)) as server:
        with pytest.raises(PhotoChanged, match=r"2\.png"):
            await bench.ask(server.base_url, job_of([first, second]))
        assert server.complete == []


async def test_files_are_closed_after_each_upload(bench: Bench, tmp_path: Path) -> None:
    photos = [write_photo(tmp_path, f"{n}.png", PIECE + n) for n in range(8)]

    async with serve(always(OK)) as server:
        before = open_files()
        await bench.ask(server.base_url, job_of(photos))
        (tmp_path / "7.png").unlink()
        with pytest.raises(PhotoChanged):
            await bench.ask(server.base_url, job_of(photos))
        await server.until(lambda: not server.open)
        assert open_files() == before


async def test_sixteen_uploads_leave_the_loop_free(bench: Bench, tmp_path: Path) -> None:
    """The loop comes round for each piece. Without the gate it would once for a piece of every upload, or for more."""
    photo = write_photo(tmp_path, "one.png", 4 << 20)
    turns = 0
    done = anyio.Event()

    async def tick() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await anyio.lowlevel.checkpoint()

    async def send_sixteen(provider: GatewayProvider) -> None:
        async with anyio.create_task_group() as uploads:
            for _ in range(16):
                uploads.start_soon(provider.generate, job_of([photo]))
        done.set()

    async with (
        serve(always(OK)) as server,
        bench.provider(server.base_url) as provider,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(tick)
        tasks.start_soon(send_sixteen, provider)
    assert len(server.complete) == 16
    assert turns >= 16 * photo.size // PIECE


async def test_uploads_of_one_provider_share_the_gate(bench: Bench, tmp_path: Path) -> None:
    """Pieces of parallel uploads go through one buffer, and no photo gets the bytes of another."""
    photos = [write_photo(tmp_path, f"{n}.png", PIECE * 5 + n) for n in range(8)]
    async with (
        serve(always(OK)) as server,
        bench.provider(server.base_url) as provider,
        anyio.create_task_group() as uploads,
    ):
        for photo in photos:
            uploads.start_soon(provider.generate, job_of([photo]))
    arrived = {request.json["input_image"] for request in server.complete}
    assert arrived == {data_url(photo, (tmp_path / photo.ref).read_bytes()) for photo in photos}


@pytest.mark.parametrize("turns", [30, 37, 44])
async def test_uploads_that_are_called_off_hand_their_turn_on(bench: Bench, tmp_path: Path, turns: int) -> None:
    photo = write_photo(tmp_path, "one.png", PIECE * 40)
    async with (
        serve(always(OK)) as server,
        bench.provider(server.base_url) as provider,
        anyio.create_task_group() as uploads,
    ):
        scopes = [anyio.CancelScope() for _ in range(8)]

        async def upload(scope: anyio.CancelScope) -> None:
            with scope:
                await provider.generate(job_of([photo]))

        for scope in scopes:
            uploads.start_soon(upload, scope)
        await server.until(lambda: server.open == len(scopes))
        for scope in scopes[::2]:
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
    assert len(server.complete) == 4
