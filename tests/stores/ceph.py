"""A Ceph Object Gateway of our own: a true S3 server, in front of one monitor and one daemon that stores in memory.

Debian's ``radosgw``, ``ceph-mon`` and ``ceph-osd``; all below one folder and on loopback.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import uuid
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOOLS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool")
KEY, SECRET = "AKCEPHTESTS", "a/secret+of/the=gateway"
_CONF = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon},v1:127.0.0.1:{old}]
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
keyring = {home}/keyring
run dir = {home}/run
admin socket = {home}/run/$name.asok
pid file = {home}/run/$name.pid
log file = {home}/$name.log
mon data = {home}/mon
mon data avail crit = 1
mon data avail warn = 2
mon allow pool size one = true
mon max pg per osd = 10000
osd data = {home}/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
rgw data = {home}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw rados pool pg num min = 1
rgw gc max objs = 1
rgw usage max shards = 1
rgw dynamic resharding = false
rgw enable quota threads = false
rgw enable gc threads = false
rgw enable lc threads = false
"""
_CAPS = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *"},
    "client.rgw": {"mon": "allow *", "osd": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
}


def missing() -> str:
    """The first tool that is not installed; empty if all are."""
    return next((tool for tool in TOOLS if shutil.which(tool) is None), "")


@contextmanager
def gateway(home: Path, *, seconds: float = 90) -> Iterator[str]:
    """The endpoint of a gateway that knows one user, ``KEY``."""
    for name in ("mon", "osd", "rgw", "run"):
        (home / name).mkdir(parents=True)
    mon, old, port = _free_ports(3)
    fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
    conf = home / "ceph.conf"
    conf.write_text(_CONF.format(fsid=fsid, mon=mon, old=old, port=port, home=home))
    give_up_at = time.monotonic() + seconds
    daemons: list[subprocess.Popen[bytes]] = []

    def tool(name: str, *words: object) -> None:
        left = give_up_at - time.monotonic()
        done = subprocess.run([name, *map(str, words)], capture_output=True, text=True, timeout=left, check=False)
        assert not done.returncode, (name, done.stderr)

    def daemon(name: str, *words: str) -> None:
        with (home / f"{name}.out").open("wb") as out:
            daemons.append(subprocess.Popen([name, "-c", str(conf), *words, "-f"], stdout=out, stderr=out))

    try:
        for number, (entity, caps) in enumerate(_CAPS.items()):
            words = [word for what, allowed in caps.items() for word in ("--cap", what, allowed)]
            tool("ceph-authtool", *["-C"][number:], home / "keyring", "--gen-key", "-n", entity, *words)
        addresses = f"[v2:127.0.0.1:{mon},v1:127.0.0.1:{old}]"
        tool("monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, home / "monmap")
        tool("ceph-mon", "-c", conf, "--mkfs", "-i", "a", "--monmap", home / "monmap", "--keyring", home / "keyring")
        daemon("ceph-mon", "-i", "a")
        tool("ceph", "-c", conf, "osd", "new", osd, "0")
        tool("ceph-osd", "-c", conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
        daemon("ceph-osd", "-i", "0")
        daemon("radosgw", "-n", "client.rgw")
        endpoint = f"http://127.0.0.1:{port}"
        while not _answers(endpoint):
            assert time.monotonic() < give_up_at, (home / "client.rgw.log").read_text()[-2000:]
            assert all(one.poll() is None for one in daemons)
            time.sleep(0.2)
        names = ["--uid=tests", "--display-name=tests", f"--access-key={KEY}", f"--secret-key={SECRET}"]
        tool("radosgw-admin", "-c", conf, "user", "create", *names)
        yield endpoint
    finally:
        for one in reversed(daemons):
            one.kill()
            one.wait()


def _answers(endpoint: str) -> bool:
    try:
        return requests.get(endpoint, timeout=2).status_code < 500
    except requests.RequestException:
        return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = []
    for one in sockets:
        with closing(one):
            ports.append(one.getsockname()[1])
    return ports
