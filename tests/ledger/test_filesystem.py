"""On which filesystems a ledger may be: by what systems print, and by what this one is."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from fluxbatch.adapters.disk import network_kind
from fluxbatch.adapters.disk.filesystem import Mount, kind_of, parse_mount, parse_mountinfo

if TYPE_CHECKING:
    from pathlib import Path

LINUX: Final = r"""
22 27 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:35 / /mnt/auto rw,relatime shared:20 - autofs systemd-1 rw,fd=52,pgrp=1,timeout=0
41 40 0:48 / /mnt/auto rw,relatime shared:21 - nfs4 server:/export rw,vers=4.2,addr=10.0.0.1
42 27 0:49 / /mnt/my\040share rw,relatime - cifs //server/my\040share rw,vers=3.1.1
43 42 254:1 / /mnt/my\040share/local rw,relatime master:1 propagate_from:2 - xfs /dev/vdb rw
44 27 0:50 / /mnt/covered rw,relatime - nfs server:/old rw
45 44 254:2 / /mnt/covered rw,relatime - ext4 /dev/vdc rw
46 27 0:51 / /home/me/remote rw,nosuid,nodev,relatime - fuse.sshfs me@server: rw,user_id=1000,group_id=1000
47 27 8:1 / /mnt/stick rw,relatime - fuseblk /dev/sda1 rw,user_id=0
48 27 0:52 / /mnt/bucket rw - fuse.gcsfuse bucket rw
49 27 0:53 / /mnt/crypt rw - fuse.gocryptfs /home/me/.crypt rw
50 27 0:54 / /mnt/c rw,noatime - 9p C:\134 rw,dirsync,aname=drvfs
51 27 0:55 / /mnt/vm rw,relatime - virtiofs share rw
52 27 0:56 / /mnt/odd\011\134\012name rw - ceph 10.0.0.1:/ rw
53 27 0:57 / /overlay rw - overlay overlay rw,lowerdir=/a - b,upperdir=/c
54 27 0:58 / /mnt/plain rw - fuse something rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", ""),
        ("/home/me/out/.fluxbatch", ""),
        ("/home/me/remote", "fuse.sshfs"),
        ("/home/me/remote/out", "fuse.sshfs"),
        ("/home/me/remoteness", ""),
        ("/mnt/auto/out", "nfs4"),
        ("/mnt/my share/out", "cifs"),
        ("/mnt/my share/local/out", ""),
        ("/mnt/covered/out", ""),
        ("/mnt/stick/out", ""),
        ("/mnt/bucket", "fuse.gcsfuse"),
        ("/mnt/crypt/out", ""),
        ("/mnt/c/Users/me", "9p"),
        ("/mnt/vm/out", ""),
        ("/mnt/odd\t\\\nname/out", "ceph"),
        ("/overlay/x", ""),
        ("/mnt/plain/x", ""),
        ("relative/path", ""),
    ],
)
def test_linux(path: str, kind: str) -> None:
    assert kind_of(path, parse_mountinfo(LINUX)) == kind


MAC: Final = """
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse, protect, root data)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
//me@server._smb._tcp.local/photos on /Volumes/photos (smbfs, nodev, nosuid, mounted by me)
//me@server/a on b on /Volumes/more photos (2024) (smbfs, nodev, nosuid, mounted by me)
server:/export on /Volumes/export (nfs, nodev, nosuid, mounted by me)
me@host: on /Volumes/sshfs (macfuse, nodev, nosuid, synchronous, mounted by me)
crypt@macfuse0 on /Volumes/vault (macfuse, local, nodev, nosuid, synchronous, mounted by me)
https://dav.example/x/ on /Volumes/dav (webdav, nodev, noexec, nosuid, mounted by me)
/dev/disk5s1 on /Volumes/CARD (msdos, local, nodev, nosuid, noowners)
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/Users/me/out", ""),
        ("/Volumes/photos/out", "smbfs"),
        ("/Volumes/photos 2/out", ""),
        ("/Volumes/more photos (2024)/out", "smbfs"),
        ("/Volumes/export", "nfs"),
        ("/Volumes/sshfs/out", "macfuse"),
        ("/Volumes/vault/out", ""),
        ("/Volumes/dav/x", "webdav"),
        ("/Volumes/CARD/out", ""),
    ],
)
def test_macos(path: str, kind: str) -> None:
    assert kind_of(path, parse_mount(MAC)) == kind


def test_nothing_is_known_of_nothing() -> None:
    assert kind_of("/x", []) == ""
    assert parse_mountinfo("") == parse_mount("") == []
    assert parse_mount("nonsense") == []
    assert parse_mountinfo("1 2 3:4 / /x rw shared:1 - nfs") == [Mount("/x", "nfs")]


def test_this_machine(tmp_path: Path) -> None:
    """Tests run on local disks; a path that isn't there is judged by the folders above it."""
    assert network_kind(tmp_path) == ""
    assert network_kind(tmp_path / "not" / "there" / "yet") == ""
    (tmp_path / "circle").symlink_to("circle")
    assert network_kind(tmp_path / "circle") == ""


def test_links_are_followed(tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (tmp_path / "near").symlink_to(far)
    mounts = [Mount("/", "ext4"), Mount(str(far.resolve()), "nfs4")]
    assert network_kind(tmp_path / "near" / "out" / ".fluxbatch", lambda: mounts) == "nfs4"
    assert network_kind(tmp_path / "near" / ".." / "out", lambda: mounts) == ""


@pytest.mark.parametrize("error", [PermissionError(13, "no"), subprocess.TimeoutExpired("mount", 10)])
def test_a_system_that_does_not_say_is_trusted(tmp_path: Path, error: Exception) -> None:
    def mounts() -> list[Mount]:
        raise error

    assert network_kind(tmp_path, mounts) == ""
