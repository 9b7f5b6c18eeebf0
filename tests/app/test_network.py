"""Proxies as users give them, through the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.app.stage import run_command, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.stage import Api


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_socks_address_gets_a_clear_message(api: Api, tmp_path: Path, by: str) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    address = "socks5://me:hidden-word@127.0.0.1:1080"
    options = ("--download-proxy", address) if by == "option" else ()
    api.env |= {"ALL_PROXY": address} if by == "variable" else {}

    ran = api.run("jobs.jsonl", *options, cwd=tmp_path)

    assert ran.code == 2
    assert "SOCKS is not supported" in ran.err
    assert "bridge" in ran.err
    assert "hidden-word" not in ran.err
    assert api.sim.requests == 0


def test_the_simulator_needs_no_way_out(tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    env = {"ALL_PROXY": "socks5://127.0.0.1:1080"}
    ran = run_command("run", "jobs.jsonl", "--simulate", cwd=tmp_path, env=env)
    assert ran.code == 0, ran.err


def test_the_secret_of_a_proxy_is_nowhere(api: Api, tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 2)
    secret = "hidden-word"
    api.env["FLUXBATCH_DOWNLOAD_PROXY"] = f"http://me:{secret}@127.0.0.1:1"
    ran = api.run("jobs.jsonl", "-vv", "--max-cost", "0.01", cwd=tmp_path)
    assert ran.code == 3, "loopback needs no proxy, and the cap lets one through"
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert secret not in ran.err + ran.out
    assert secret.encode() not in written
