from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fluxbatch.simulator import (
    MODELS,
    FolderInUseError,
    PortInUseError,
    Simulator,
    SimulatorConfig,
    SimulatorError,
    wall_clock,
)
from tests.simulator.client import HELLO, Client, exchange, request_bytes, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving() as client:
        yield client


async def test_the_answer_is_that_of_the_reference(client: Client) -> None:
    answer = await client.post(HELLO)
    assert answer.status == 200
    assert answer.json.keys() == {"created", "data"}
    assert abs(answer.json["created"] - wall_clock()) < 5
    (item,) = answer.json["data"]
    assert item.keys() == {"url"}
    assert answer.headers["X-Oneapi-Request-Id"] == client.sim.calls[0].request_id


async def test_b64_json_is_a_setting() -> None:
    async with serving(answer="b64_json") as client:
        (item,) = (await client.post(HELLO)).json["data"]
        assert item.keys() == {"b64_json"}
        assert item["b64_json"].startswith("/9j/")


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Bearer sk-wrong", "sk-simulator", "Basic sk-simulator", "Bearer \xe9"]
)
async def test_requests_without_the_key_are_401(client: Client, authorization: str) -> None:
    answer = await client.post(HELLO, Authorization=authorization)
    assert answer.status == 401
    assert "request id" in answer.error["message"]
    assert client.sim.requests == 0


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("path", ["/images/generations", "/v1/images/edits", "/", "/v1/chat/completions"])
async def test_other_addresses_are_invalid_urls(client: Client, method: str, path: str) -> None:
    answer = await client.get(path, method=method)
    assert answer.status == 404
    assert answer.error["message"].startswith(f"Invalid URL ({method} {path})")


async def test_get_of_the_endpoint_is_an_invalid_url(client: Client) -> None:
    assert (await client.get("/v1/images/generations")).status == 404


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", "application/x-ndjson"])
async def test_the_body_must_say_that_it_is_json(client: Client, content_type: str) -> None:
    answer = await client.post(HELLO, **{"Content-Type": content_type})
    assert answer.status == 400
    assert "Content-Type must be application/json" in answer.error["message"]


async def test_a_charset_does_no_harm(client: Client) -> None:
    assert (await client.post(HELLO, **{"Content-Type": "application/json; charset=utf-8"})).status == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_above_the_limit_are_413_once_they_are_sent(chunked: bool) -> None:
    async with serving(max_body_mb=0.25) as client:
        body = json.dumps({**HELLO, "prompt": "x" * 300_000}).encode()

        async def pieces() -> AsyncIterator[bytes]:
            yield body

        url = f"{client.sim.base_url}/images/generations"
        headers = {"Authorization": f"Bearer {client.sim.api_key}", "Content-Type": "application/json"}
        async with client.session.post(url, data=pieces() if chunked else body, headers=headers) as response:
            assert response.status == 413
            assert (await response.json())["error"]["code"] == "read_request_body_failed"


async def test_32_mb_pass_and_more_do_not(client: Client) -> None:
    frame = len(json.dumps({**HELLO, "padding": ""}))
    assert (await client.post({**HELLO, "padding": "x" * (32 * 2**20 - frame)})).status == 400
    assert (await client.post({**HELLO, "padding": "x" * (32 * 2**20 - frame + 1)})).status == 413


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", ""])
async def test_foreign_host_headers_are_refused(client: Client, host: str) -> None:
    answer = await exchange(client.sim.port, request_bytes(client.sim, HELLO, Host=host, Connection="close"))
    assert answer.split()[1] == b"403"
    assert client.sim.requests == 0


@pytest.mark.parametrize("host", ["localhost", "api.localhost:8080", "[::1]:99", "127.0.0.1"])
async def test_names_of_this_machine_are_served(client: Client, host: str) -> None:
    answer = await exchange(client.sim.port, request_bytes(client.sim, HELLO, Host=host, Connection="close"))
    assert answer.split()[1] == b"200"


async def test_models_are_listed_as_openai_does(client: Client) -> None:
    answer = await client.get("/v1/models", {"Authorization": f"Bearer {client.sim.api_key}"})
    assert answer.json["object"] == "list"
    assert [entry["id"] for entry in answer.json["data"]] == list(MODELS)
    assert (await client.get("/v1/models")).status == 401


async def test_dates_come_from_the_simulators_own_clock() -> None:
    ahead = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    async with serving(clock=ahead.timestamp) as client:
        answer = await client.post(HELLO)
        assert parsedate_to_datetime(answer.headers["Date"]) == ahead
        assert answer.json["created"] == ahead.timestamp()
        assert "se=2031-05-06T07%3A18%3A09Z&" in answer.url
        assert parsedate_to_datetime((await client.get(answer.url)).headers["Date"]) == ahead


async def test_the_listener_hears_of_every_request() -> None:
    events: list[dict[str, Any]] = []
    async with Simulator(SimulatorConfig(latency=0, render="plain"), listener=events.append) as sim:
        request = request_bytes(sim, HELLO, Connection="close")
        await exchange(sim.port, request)
        await exchange(sim.port, request_bytes(sim, {"model": "flux-2-pro"}, Connection="close"))
    assert [(event["model"], event["outcome"]) for event in events] == [
        ("flux-2-klein-4b", "200"),
        ("flux-2-pro", "400 invalid_request"),
    ]
    assert sim.answers == {"200": 1, "400 invalid_request": 1}


async def test_realistic_latency_is_within_what_is_documented() -> None:
    async with serving(latency=1) as client:
        start = anyio.current_time()
        assert (await client.post(HELLO)).status == 200
        assert 0.3 <= anyio.current_time() - start < 1
    async with serving(latency_s=0.15) as client:
        start = anyio.current_time()
        assert (await client.post({**HELLO, "model": "flux-2-flex"})).status == 200
        assert 0.15 <= anyio.current_time() - start < 1


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "0.0.0.0"},
        {"host": "192.168.1.5"},
        {"host": "example.com"},
        {"port": 70_000},
        {"port": 9, "delivery_port": 9},
        {"latency": -1},
        {"concurrency": 0},
        {"max_body_mb": 0},
        {"url_life": 0},
        {"api_key": ""},
        {"prices": {"flux-2-pro": 0.03}},
    ],
    ids=str,
)
def test_settings_that_can_not_be_meant_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings)).split("_")[0]):
        SimulatorConfig(**settings)


def test_misspelt_settings_are_refused() -> None:
    settings: dict[str, Any] = {"latncy": 1}
    with pytest.raises(TypeError, match="latncy"):
        SimulatorConfig(**settings)


async def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError, match=str(port)):
            await Simulator(SimulatorConfig(port=port, data=tmp_path)).start()
    async with Simulator(SimulatorConfig(port=port, data=tmp_path)) as sim:
        assert sim.port == port


async def test_if_the_last_port_is_taken_it_is_another_one(tmp_path: Path) -> None:
    async with serving(data=tmp_path) as client:
        last = client.sim.port
    with socket.create_server(("127.0.0.1", last)):
        async with serving(data=tmp_path) as client:
            assert client.sim.port != last
            assert (await client.post(HELLO)).status == 200


async def test_a_folder_serves_one_simulator_at_a_time(tmp_path: Path) -> None:
    async with serving(data=tmp_path):
        with pytest.raises(FolderInUseError, match=str(tmp_path)):
            await Simulator(SimulatorConfig(data=tmp_path)).start()
    async with serving(data=tmp_path) as client:
        assert (await client.post(HELLO)).status == 200


async def test_ipv6_loopback_is_served() -> None:
    async with serving(host="::1") as client:
        assert client.sim.base_url.startswith("http://[::1]:")
        assert (await client.get((await client.post(HELLO)).url)).status == 200


async def test_without_a_folder_nothing_is_left_behind() -> None:
    async with serving() as client:
        await client.post(HELLO)
        folder = anyio.Path(client.sim.world.folder.path)
        assert await folder.exists()
    assert not await folder.exists()


def test_what_is_not_started_says_so() -> None:
    with pytest.raises(SimulatorError, match="not been started"):
        _ = Simulator().calls
