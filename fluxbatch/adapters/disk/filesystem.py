"""What kind of filesystem a path is on: a ledger needs a local one, for its locks and its write order."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Mount", "kind_of", "mounted", "network_kind", "parse_mount", "parse_mountinfo"]

_UNFIT: Final = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "afs", "auristorfs", "coda", "ncpfs"),
        *("9p", "davfs", "davfs2", "webdav", "ftp", "acfs"),
        *("ceph", "glusterfs", "lustre", "gpfs", "beegfs", "orangefs", "pvfs2", "gfs", "gfs2", "ocfs2", "mfs"),
        *("vboxsf", "vmhgfs", "prl_fs"),  # a folder of the host in a virtual machine: no shared memory, or no locks
    }
)
_UNFIT_FUSE: Final = frozenset(
    {
        *("sshfs", "curlftpfs", "davfs", "davfs2", "cifs", "smb", "smbnetfs", "nfs", "fuse-nfs", "gvfsd-fuse"),
        *("s3fs", "s3ql", "goofys", "geesefs", "mountpoint-s3", "rclone", "gcsfuse", "gcsf", "google-drive-ocamlfuse"),
        *("blobfuse", "blobfuse2", "onedriver", "juicefs", "JuiceFS", "seaweedfs", "kio-fuse", "cvmfs2"),
        *("glusterfs", "ceph", "ceph-fuse", "mfs", "moosefs", "lizardfs", "beegfs", "afs", "vmhgfs-fuse"),
    }
)
_MAC_FUSE: Final = frozenset({"macfuse", "osxfuse", "osxfusefs", "fusefs"})
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
_MOUNT_LINE: Final = re.compile(r"(?P<source>.*?) on (?P<point>/.*) \((?P<kind>[^,()]+)(?P<options>[^()]*)\)")
_MOUNT_S: Final = 10.0


class Mount(NamedTuple):
    """A mounted filesystem.

    Attributes:
        point: absolute path.
        kind: as the system names the type, ``fuse.sshfs`` included.
        local: whether the system says that it is local; Linux does not say.
    """

    point: str
    kind: str
    local: bool = False


def network_kind(path: Path, mounts: Callable[[], list[Mount]] | None = None) -> str:
    """The kind of the filesystem that a path is or would be on, if it is unfit for a ledger; else, or unknown, ``""``.

    Follows links. Blocks. ``mounts`` says what is mounted; the system, unless given.
    """
    try:
        return kind_of(str(path.resolve()), (mounts or mounted)())
    except (OSError, RuntimeError, subprocess.SubprocessError):  # RuntimeError: links in a circle
        return ""


def mounted() -> list[Mount]:
    """All that is mounted, the latest last. Blocks."""
    if sys.platform == "darwin":
        said = subprocess.run(["/sbin/mount"], capture_output=True, check=True, timeout=_MOUNT_S)
        return parse_mount(said.stdout.decode("utf-8", "surrogateescape"))
    return parse_mountinfo(Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape"))


def kind_of(path: str, mounts: list[Mount]) -> str:
    """What ``network_kind`` says of an absolute path without links, from what is mounted, the latest last."""
    at = PurePosixPath(path)
    over = [mount for mount in mounts if at.is_relative_to(mount.point)]
    if not over:
        return ""
    # the longest; of equal ones the last, which covers the others
    mount = max(reversed(over), key=lambda mount: len(PurePosixPath(mount.point).parts))
    return mount.kind if _is_unfit(mount) else ""


def parse_mountinfo(text: str) -> list[Mount]:
    """What ``/proc/self/mountinfo`` says, as in proc(5)."""
    found: list[Mount] = []
    for line in text.split("\n"):
        place, dash, what = line.partition(" - ")
        fields = place.split(" ")
        if dash and len(fields) > 4:
            found.append(Mount(_unescaped(fields[4]), _unescaped(what.split(" ")[0])))
    return found


def parse_mount(text: str) -> list[Mount]:
    """What ``/sbin/mount`` prints on macOS."""
    lines = map(_MOUNT_LINE.fullmatch, text.split("\n"))
    return [
        Mount(line["point"], line["kind"], local="local" in line["options"].replace(" ", "").split(","))
        for line in lines
        if line is not None
    ]


def _is_unfit(mount: Mount) -> bool:
    if mount.point == "/" and mount.kind == "9p":
        return False  # the disk of a sandbox (gVisor): no other machine has a hand in it
    if mount.kind in _MAC_FUSE:
        return not mount.local
    kind, _, below = mount.kind.partition(".")
    return below in _UNFIT_FUSE if kind == "fuse" else kind in _UNFIT


def _unescaped(field: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)
