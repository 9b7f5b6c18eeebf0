from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

import pytest

from fluxbatch.adapters.http.connect import Network
from fluxbatch.settings import Settings
from tests.http.support import Bench, make_certificates

if TYPE_CHECKING:
    from pathlib import Path


class Certificates(NamedTuple):
    ca_file: Path
    server: ssl.SSLContext


API_HOST = "api.fluxbatch.test"
DELIVERY_HOST = "delivery.fluxbatch.test"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    ca_file, server = make_certificates(tmp_path_factory.mktemp("tls"), "127.0.0.1", API_HOST, DELIVERY_HOST)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server)
    return Certificates(ca_file, context)


@pytest.fixture
def settings() -> Settings:
    return Settings(request_timeout_s=5.0, upload_stall_s=5.0, download_stall_s=5.0)


@pytest.fixture(scope="session")
def network() -> Network:
    """Without proxies. Reading the system's certificates takes a moment, so it is done once."""
    return Network()


@pytest.fixture
def bench(tmp_path: Path, network: Network, settings: Settings) -> Bench:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return Bench(folder, network, settings)
