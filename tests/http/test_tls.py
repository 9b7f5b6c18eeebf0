from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fluxbatch.adapters.http.connect import Network
from fluxbatch.errors import DeliveryError, UsageError
from fluxbatch.model.answer import Action, Granted, Scope
from fluxbatch.model.state import Charge
from fluxbatch.testing.sink import MemorySink
from tests.http.rawserver import GRANTED, always, answer, serve
from tests.http.support import Bench, job_of, lease_at, write_photo

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.conftest import Certificates

OK = answer(GRANTED)


async def test_a_certificate_of_the_given_authority_is_trusted(
    bench: Bench, certificates: Certificates, tmp_path: Path
) -> None:
    bench = replace(bench, network=Network(ca_file=certificates.ca_file))
    photo = write_photo(tmp_path, "one.png", 3 << 20)
    async with serve(always(OK), tls=certificates.server) as server:
        assert isinstance(await bench.ask(server.base_url, job_of([photo])), Granted)
    assert len(server.complete[0].json["input_image"]) > 4 << 20


async def test_ssl_cert_file_works_as_always(
    bench: Bench, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca_file))
    async with serve(always(OK), tls=certificates.server) as server:
        assert isinstance(await replace(bench, network=Network()).ask(server.base_url), Granted)


async def test_a_certificate_that_is_not_trusted_stops_the_run(bench: Bench, certificates: Certificates) -> None:
    async with serve(always(OK), tls=certificates.server) as server:
        verdict = await bench.refusal(server.base_url)
        assert server.requests == []
    assert (verdict.action, verdict.scope, verdict.charge) == (Action.STOP_RUN, Scope.ENDPOINT, Charge.NONE)
    assert "certificate" in verdict.message.casefold()


async def test_a_certificate_of_another_name_stops_the_run(bench: Bench, certificates: Certificates) -> None:
    bench = replace(bench, network=Network(ca_file=certificates.ca_file))
    async with serve(always(OK), tls=certificates.server) as server:
        verdict = await bench.refusal(server.base_url.replace("127.0.0.1", "localhost"))
        assert server.requests == []
    assert (verdict.action, verdict.charge) == (Action.STOP_RUN, Charge.NONE)


async def test_results_are_held_to_the_same(bench: Bench, certificates: Certificates) -> None:
    async with serve(always(answer(b"image")), tls=certificates.server) as server:
        lease = lease_at(f"{server.origin}/x?sig=1")
        async with bench.fetcher() as fetcher:
            with pytest.raises(DeliveryError, match=r"(?i)certificate") as caught:
                await fetcher.fetch(lease, await MemorySink().land())
        assert not caught.value.refused
        landing = await MemorySink().land()
        async with replace(bench, network=Network(ca_file=certificates.ca_file)).fetcher() as fetcher:
            await fetcher.fetch(lease, landing)
        assert landing.data == b"image"


@pytest.mark.parametrize("content", ["", "no certificate", None])
def test_a_file_without_certificates_is_told(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=r"ca\.pem"):
        Network(ca_file=path)
