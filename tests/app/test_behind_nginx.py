"""The API behind a gateway that nobody here wrote: nginx, with TLS, limits and time-outs of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.app.stage import check_bills, check_folder, photos_into, results, serving, wait_for, write_rows
from tests.http.support import make_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.app.stage import Api

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="no nginx on this machine"),
]

CONFIG = """
daemon off;
worker_processes 1;
error_log {folder}/error.log warn;
pid {folder}/pid;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  limit_req_zone $binary_remote_addr zone=requests:1m rate={rate}r/s;
  limit_req_status {limit_status};
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {both};
    ssl_certificate_key {both};
    client_max_body_size {body};
    keepalive_timeout 2s;
    proxy_read_timeout {patience};
    location / {{
      {limit}
      proxy_pass http://127.0.0.1:{upstream};
      proxy_http_version 1.1;
    }}
  }}
}}
"""


@contextmanager
def behind_nginx(
    api: Api, folder: Path, *, rate: int = 0, limit_status: int = 429, body: str = "64m", patience: str = "60s"
) -> Iterator[None]:
    """Have the runs of a stage reach it through nginx; ``rate``: requests a second."""
    folder.mkdir()
    ca_file, both = make_certificates(folder, "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    upstream = api.sim.base_url.rpartition(":")[2].partition("/")[0]
    limit = f"limit_req zone=requests burst={rate} nodelay;" if rate else ""
    text = CONFIG.format(
        folder=folder,
        port=port,
        both=both,
        upstream=upstream,
        rate=rate or 1,
        limit=limit,
        limit_status=limit_status,
        body=body,
        patience=patience,
    )
    (folder / "nginx.conf").write_text(text)
    assert NGINX is not None
    command = [NGINX, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: (folder / "pid").exists() and (folder / "pid").stat().st_size > 0)
        api.env |= {"FLUXBATCH_BASE_URL": f"https://127.0.0.1:{port}/v1", "FLUXBATCH_CA_FILE": str(ca_file)}
        yield
    finally:
        process.terminate()
        process.wait(20)


def test_a_rate_limit_of_the_gateway(tmp_path: Path) -> None:
    """What nginx refuses never reached the API: nothing of it is billed, and all is made in the end."""
    with serving(tmp_path / "api") as api, behind_nginx(api, tmp_path / "nginx", rate=8):
        write_rows(tmp_path / "jobs.jsonl", 40)
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path, timeout=120)
        assert ran.code == 0, ran.err
        assert (ran.summary["stored"], ran.summary["charged"], ran.summary["unknown_charges"]) == (40, 40, 0)
        assert ran.summary["requests"] > len(api.sim.calls) == 40
        check_bills(api, results(tmp_path / "jobs-out"))
        check_folder(tmp_path / "jobs-out")


def test_a_gateway_that_has_enough_of_it(tmp_path: Path) -> None:
    """By default nginx says 503 to what is too much, with a page of HTML."""
    with serving(tmp_path / "api") as api, behind_nginx(api, tmp_path / "nginx", rate=8, limit_status=503):
        write_rows(tmp_path / "jobs.jsonl", 12)
        ran = api.run("jobs.jsonl", "--json", "--concurrency", "12", cwd=tmp_path, timeout=120)
        assert ran.code == 0, ran.err
        assert (ran.summary["stored"], ran.summary["unknown_charges"]) == (12, 0)
        check_bills(api, results(tmp_path / "jobs-out"))


def test_photos_that_are_too_large_for_the_gateway(tmp_path: Path) -> None:
    photos_into(tmp_path / "photos", "person.jpg")
    with serving(tmp_path / "api") as api, behind_nginx(api, tmp_path / "nginx", body="10k"):
        write_rows(tmp_path / "jobs.jsonl", 2, images=["photos/person.jpg"])
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path)
        assert (ran.code, ran.summary["failed"]) == (1, 2), ran.err
        assert {line["error"]["code"] for line in results(tmp_path / "jobs-out")} == {"too_large"}
        assert ran.summary["unknown_charges"] == 0
        assert len(api.sim.calls) == 0


def test_a_gateway_that_does_not_wait_for_the_answer(tmp_path: Path) -> None:
    """The API goes on and bills what nginx has given up: maybe billed, and never a third time."""
    with serving(tmp_path / "api", latency_s=4) as api, behind_nginx(api, tmp_path / "nginx", patience="1s"):
        write_rows(tmp_path / "jobs.jsonl", 2)
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path, timeout=120)
        api.settle()
        assert ran.code in {1, 3}, ran.err
        assert ran.summary["charged"] == 0
        assert ran.summary["unknown_charges"] == len(api.sim.calls)
        check_bills(api, results(tmp_path / "jobs-out"))


def test_certificates_that_nobody_vouches_for(tmp_path: Path) -> None:
    with serving(tmp_path / "api") as api, behind_nginx(api, tmp_path / "nginx"):
        del api.env["FLUXBATCH_CA_FILE"]
        write_rows(tmp_path / "jobs.jsonl", 2)
        ran = api.run("jobs.jsonl", "--json", cwd=tmp_path, timeout=120)
        assert (ran.code, ran.summary["stop_reason"], ran.summary["unknown_charges"]) == (3, "wrong_base_url", 0)
        assert "certificate" in ran.err.lower()
        assert api.sim.requests == 0
