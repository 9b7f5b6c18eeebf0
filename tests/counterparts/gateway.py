"""The litellm proxy in front of the simulator."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.app.stage import KEY, serving, wait_for
from tests.counterparts.programs import environment, free_port, listens, program
from tests.counterparts.set_up import LITELLM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.app.stage import Api

TOOL = program(LITELLM, "litellm")
"""None if it is not there"""
GATEWAY_KEY = "sk-of-the-gateway"
IMPATIENT = "flux-kontext-pro"
"""the model for which it waits one second"""
UNKNOWN = "flux-2-max"
"""a model that it was not told of"""
UNREACHABLE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Gateway:
    """A running one, and the port at which it looks for the API."""

    port: int
    upstream: int

    @contextmanager
    def before(self, data: Path, *, by: str = "/openai_passthrough/v1", **config: Any) -> Iterator[Api]:
        """A stage whose runs reach the API through it, by one of its routes; ``config`` as ``serving`` takes it."""
        with serving(data, port=self.upstream, **config) as api:
            address = f"http://127.0.0.1:{self.port}{by}"
            api.env |= {"FLUXBATCH_BASE_URL": address, "FLUXBATCH_API_KEY": GATEWAY_KEY}
            yield api


def _config(upstream: int) -> dict[str, Any]:
    """As its documentation has it, with its own retries off as far as they can be."""
    api = {"api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": KEY}
    models = ("flux-2-pro", "flux-2-flex", "flux-2-klein-4b", IMPATIENT)
    return {
        "model_list": [
            {
                "model_name": model,
                "litellm_params": {
                    "model": f"openai/{model}",
                    **api,
                    "max_retries": 0,
                    **({"timeout": 1} if model == IMPATIENT else {}),
                },
            }
            for model in models
        ],
        "general_settings": {"master_key": GATEWAY_KEY},
        "router_settings": {"num_retries": 0},
    }


@contextmanager
def litellm(folder: Path) -> Iterator[Gateway]:
    """Start it; it takes some seconds."""
    gateway = Gateway(free_port(), free_port())
    (folder / "config.yaml").write_text(json.dumps(_config(gateway.upstream)))
    told = {
        "HOME": str(folder),
        "OPENAI_API_BASE": f"http://127.0.0.1:{gateway.upstream}",
        "OPENAI_API_KEY": KEY,
        # it would fetch a list of prices and count its users; what else it may think of gets no further than here
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), UNREACHABLE),
        "NO_PROXY": "127.0.0.1,localhost",
    }
    assert TOOL is not None
    command = [TOOL, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(gateway.port)]
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(**told), stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        wait_for(lambda: process.poll() is not None or listens(gateway.port), seconds=120)
        assert process.poll() is None, (folder / "out").read_text()
        yield gateway
    finally:
        process.terminate()
        process.wait(20)
