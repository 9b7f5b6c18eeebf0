"""``fluxbatch doctor``: what it says of keys, addresses, clocks and disks, and that it keeps secrets to itself."""

from __future__ import annotations

from contextlib import contextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest
from anyio.from_thread import start_blocking_portal

from fluxbatch.adapters.clock import SystemClock
from tests.app.stage import KEY, Api, Ran, run_command
from tests.http.rawserver import RawServer, Script, always, answer, serve
from tests.stores.s3server import s3_serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODELS: dict[str, Any] = {"object": "list", "data": [{"id": "flux-2-pro"}]}
NO_PROXY = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "no_proxy"), "")


@contextmanager
def answering(script: Script) -> Iterator[RawServer]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(script)) as server:
        yield server


def examine(base_url: str, cwd: Path, *args: object, key: str = KEY, **env: str) -> Ran:
    environment = {**NO_PROXY, "FLUXBATCH_API_KEY": key, "FLUXBATCH_BASE_URL": base_url, **env}
    return run_command("doctor", *args, cwd=cwd, env=environment)


def found(ran: Ran) -> dict[str, dict[str, str]]:
    assert ran.summary["exit_code"] == ran.code
    return {check["name"]: check for check in ran.summary["checks"]}


def levels(ran: Ran) -> dict[str, str]:
    return {name: check["level"] for name, check in found(ran).items() if check["level"] != "ok"}


def test_all_is_well_and_nothing_was_billed_or_left_behind(api: Api, tmp_path: Path) -> None:
    before = api.sim.requests
    ran = examine(api.sim.base_url, tmp_path, "--json")
    assert (ran.code, levels(ran)) == (0, {})
    assert found(ran)["key"]["message"] == "from FLUXBATCH_API_KEY"
    assert "all 7" in found(ran)["models"]["message"]
    assert found(ran)["balance"]["message"] == "the gateway doesn't tell"
    assert KEY not in ran.out + ran.err
    assert (api.sim.requests, api.sim.spent_usd, list(tmp_path.iterdir())) == (before, 0, [])


def test_in_words_a_problem_is_followed_by_its_remedy(api: Api, tmp_path: Path) -> None:
    ran = examine(api.sim.base_url, tmp_path, key="")
    lines = ran.out.splitlines()
    assert ran.code == 2
    assert lines[0] == "problem  key:      there is none"
    assert "export FLUXBATCH_API_KEY" in lines[1]
    assert any("without one" in line for line in lines if "api:" in line)


def test_a_wrong_key(api: Api, tmp_path: Path) -> None:
    ran = examine(api.sim.base_url, tmp_path, "--json", key="sk-wrong-but-secret")
    assert (ran.code, levels(ran)) == (3, {"api": "problem"})
    assert "HTTP 401" in found(ran)["api"]["message"]
    assert "FLUXBATCH_API_KEY" in found(ran)["api"]["remedy"]
    assert "wrong-but-secret" not in ran.out + ran.err


def test_a_key_that_cant_be_sent_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-one\nsk-two")
    with answering(always(answer(MODELS))) as server:
        ran = examine(server.base_url, tmp_path, "--json", "--api-key-file", "key")
        assert "authorization" not in server.requests[0].headers
    assert (ran.code, levels(ran)["key"]) == (2, "problem")
    assert "sk-one" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("url", "code"),
    [("http://127.0.0.1:9/v1", 3), ("http://example.com/v1", 2), ("ftp://x", 2), ("https://u:secret@x/v1", 2)],
)
def test_an_address_that_is_no_use(tmp_path: Path, url: str, code: int) -> None:
    ran = examine(url, tmp_path, "--json")
    assert (ran.code, levels(ran)["api"]) == (code, "problem")
    assert found(ran)["api"]["remedy"]
    assert "secret@" not in ran.out


@pytest.mark.parametrize(
    ("off", "words"), [(3600, "60 min behind"), (-90, "90 s ahead of"), (-400_000, "5 days ahead")]
)
def test_a_clock_that_is_off_is_told(tmp_path: Path, off: float, words: str) -> None:
    date = formatdate(SystemClock().now() + off, usegmt=True)
    with answering(always(answer(MODELS, headers={"Date": date}))) as server:
        ran = examine(server.base_url, tmp_path, "--json")
    assert (ran.code, levels(ran)) == (0, {"clock": "warning", "models": "warning"})
    # a second more or less passes on the way
    message = found(ran)["clock"]["message"].replace("89 s", "90 s").replace("91 s", "90 s")
    assert message.startswith(words)
    assert "6 of 7 are not listed" in found(ran)["models"]["message"]


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 31 Dec 99999 23:59:59 GMT", "\x1b[31mred", "9" * 2000])
def test_a_date_that_makes_no_sense(tmp_path: Path, date: str) -> None:
    with answering(always(answer(MODELS, headers={"Date": date}))) as server:
        ran = examine(server.base_url, tmp_path, "--json")
    assert ran.code in {0, 3}  # control characters in a header may break the protocol
    assert "\x1b" not in ran.out
    assert "Traceback" not in ran.err


HOSTILE = {"error": {"message": f"\x1b[2Jkey {KEY} at https://x/y?sig=signed \u202e" + "n" * 30_000, "code": None}}


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (answer(HOSTILE, status="500 Oops"), 3),
        (answer({"data": [{"id": f"\x1b[31m{KEY}"}, {"id": 7}, "x"]}), 0),
        (answer("<html>Log in to the Wi-Fi</html>", headers={"Content-Type": "text/html"}), 3),
        (answer("", status="302 Found", headers={"Location": "https://example.com/"}), 2),
        (answer({"error": {"message": "Invalid URL (GET /models)"}}, status="404 Not Found"), 2),
        (answer("", status="404 Not Found"), 0),
        (answer({"error": {"message": "slow down"}}, status="429 Too Many"), 0),
        (answer({"error": {"code": "insufficient_user_quota"}}, status="403 Forbidden"), 3),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 3),
        (b"\x00\x1b[31m no HTTP\r\n\r\n", 3),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", 3),
    ],
)
def test_answers_of_every_kind(tmp_path: Path, sent: bytes, code: int) -> None:
    async def once(peer: Any) -> None:
        await peer.request()
        await peer.send(sent)

    with answering(once) as server:
        ran = examine(server.base_url, tmp_path, "--json")
        assert server.requests[0].line.startswith("GET /v1/models ")
        assert len(server.requests) == 1
    assert ran.code == code, ran.out
    assert not any(secret in ran.out + ran.err for secret in (KEY, "signed", "\x1b", "Traceback"))
    assert all(len(check["message"]) < 500 for check in found(ran).values())


@pytest.mark.slow
def test_a_proxy_is_named_without_its_credentials(tmp_path: Path) -> None:
    with answering(always(answer(MODELS))) as server:
        place = f"127.0.0.1:{server.port}"
        ran = examine("https://api.example.com/v1", tmp_path, "--json", https_proxy=f"http://u:secret@{place}")
    assert found(ran)["proxy"]["message"] == f"api.example.com is reached through http://{place}"
    assert "secret" not in ran.out + ran.err
    elsewhere = examine("http://127.0.0.1:9/v1", tmp_path, "--json", https_proxy=f"http://{place}")
    assert "directly: it is exempt" in found(elsewhere)["proxy"]["message"]
    by_all = examine("http://127.0.0.1:9/v1", tmp_path, "--json", all_proxy=f"http://{place}")
    assert "directly: it is exempt" in found(by_all)["proxy"]["message"]
    socks = examine("http://127.0.0.1:9/v1", tmp_path, "--json", https_proxy="socks5://u:secret@h:1")
    assert (socks.code, "secret" in socks.out) == (2, False)


def test_the_way_of_results_is_tried(api: Api, tmp_path: Path) -> None:
    def downloads(proxy: str, base_url: str = api.sim.base_url, **env: str) -> tuple[int, dict[str, str]]:
        ran = examine(base_url, tmp_path, "--json", *(["--download-proxy", proxy] if proxy else []), **env)
        assert "secret" not in ran.out + ran.err
        return ran.code, found(ran).get("downloads") or found(ran)["network"]

    assert "downloads" not in found(examine(api.sim.base_url, tmp_path, "--json")), "they go as requests do"
    assert downloads("direct")[1]["message"] == "results are fetched directly"
    code, check = downloads("http://u:secret@127.0.0.1:9")
    assert (code, check["level"]) == (3, "problem")
    assert check["message"] == "the proxy for results, http://127.0.0.1:9, can't be reached"
    assert "FLUXBATCH_DOWNLOAD_PROXY" in check["remedy"]
    with answering(always(answer("no", status="403 Forbidden"))) as proxy:
        place = f"http://u:secret@127.0.0.1:{proxy.port}"
        code, check = downloads("", FLUXBATCH_DOWNLOAD_PROXY=place)
        assert (code, check["message"]) == (0, f"results are fetched through http://127.0.0.1:{proxy.port}")
        # an API that is not on this machine is asked for through it, without the key
        _, check = downloads(place, "https://api.example.com/v1")
        assert check["level"] == "warning"
        assert "api.example.com can't be reached" in check["message"]
        assert [one.line for one in proxy.requests] == ["CONNECT api.example.com:443 HTTP/1.1"]
    code, check = downloads("socks5://u:secret@h:1")
    assert (code, check["level"]) == (2, "problem")
    assert check["message"].startswith("--download-proxy: ")


def test_a_folder_that_cant_hold_images(api: Api, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    ran = examine(api.sim.base_url, tmp_path, "--json", "--out", "file/below")
    assert (ran.code, levels(ran)) == (2, {"space": "problem"})
    assert examine(api.sim.base_url, tmp_path, "--out", "not/there/yet").code == 0


def test_too_few_files_for_so_much_at_a_time(api: Api, tmp_path: Path) -> None:
    limited = ["bash", "-c", 'ulimit -n 256; exec "$@"', "-"]
    environment = {"FLUXBATCH_API_KEY": KEY, "FLUXBATCH_BASE_URL": api.sim.base_url}
    ran = run_command("doctor", "--json", "--concurrency", 200, cwd=tmp_path, env=environment, via=limited)
    assert (ran.code, levels(ran)) == (3, {"files": "problem"})
    assert "ulimit -n 1024" in found(ran)["files"]["remedy"]


def test_the_simulator_needs_no_key(tmp_path: Path) -> None:
    ran = examine("http://127.0.0.1:9/v1", tmp_path, "--simulate", "--json", key="")
    assert (ran.code, levels(ran), list(tmp_path.iterdir())) == (0, {}, [])


def test_an_object_store_is_tried(api: Api, tmp_path: Path) -> None:
    with s3_serving() as server:
        words = ("--out", "s3://pictures/night", "--state", "state", "--json")
        ran = examine(api.sim.base_url, tmp_path, *words, **server.environment)
        assert (ran.code, levels(ran)) == (0, {})
        assert "takes images, and never one in place" in found(ran)["store"]["message"]
        assert not server.objects
        wrong = {**server.environment, "AWS_SECRET_ACCESS_KEY": "wrong"}
        ran = examine(api.sim.base_url, tmp_path, *words, **wrong)
        assert (ran.code, levels(ran)) == (3, {"store": "problem"})
        assert "refuses the credentials" in found(ran)["store"]["message"]
        ran = examine(api.sim.base_url, tmp_path, *words, **{**wrong, "AWS_ACCESS_KEY_ID": ""})
        assert (ran.code, levels(ran)) == (2, {"store": "problem"})
