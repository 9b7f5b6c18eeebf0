"""A certificate for 127.0.0.1 and the authority that signed it, made for one run by the ``openssl`` command."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_DAYS: Final = "2"
_CONFIG: Final = """\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True, slots=True)
class Certificates:
    """``authority`` is what clients trust; ``server`` holds certificate and key of the server."""

    authority: Path
    server: Path


def can_certify() -> bool:
    return shutil.which("openssl") is not None


def certify(folder: Path) -> Certificates:
    folder.mkdir()
    (folder / "openssl.cnf").write_text(_CONFIG, encoding="ascii")
    for name in ("authority", "server"):
        _openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    asked = ("req", "-new", "-config", "openssl.cnf")
    _openssl(
        folder,
        *(*asked, "-x509", "-days", _DAYS, "-extensions", "authority", "-subj", "/CN=fluxbatch benchmarks"),
        *("-key", "authority.key", "-out", "authority.pem"),
    )
    _openssl(folder, *asked, "-subj", "/CN=127.0.0.1", "-key", "server.key", "-out", "server.csr")
    _openssl(
        folder,
        *("x509", "-req", "-days", _DAYS, "-in", "server.csr", "-CA", "authority.pem", "-CAkey", "authority.key"),
        *("-set_serial", "1", "-extfile", "openssl.cnf", "-extensions", "server", "-out", "server.crt"),
    )
    pair = folder / "server.pem"
    pair.write_bytes((folder / "server.crt").read_bytes() + (folder / "server.key").read_bytes())
    return Certificates(folder / "authority.pem", pair)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)
