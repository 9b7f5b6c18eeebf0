"""How a simulator is set up. Misspelt settings are errors, and so are values that make no sense."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .catalog import MODELS, PRICES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEMO_KEY = "sk-simulator"
"""The API key unless another is given. It protects nothing: the simulator listens on loopback only."""

DEMO_SYSTEM_TOKEN = "simulator-system-token"  # noqa: S105 - a documented demo value, no secret
"""The system token of the call log, `GET /api/log/self`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """Settings of one simulator. Durations are seconds, money is USD."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback only."""
    port: int = 0
    """Port of the API; 0: the last one used with this `data` folder, else any free one."""
    delivery_port: int | None = None
    """Port of the results, so that they come from another host than the API; None: the API's own, 0: any."""
    api_key: str = DEMO_KEY
    system_token: str = DEMO_SYSTEM_TOKEN
    data: Path | None = None
    """Folder for the signing secret, results and `calls.jsonl`; None: a temporary one, removed at the end."""

    latency: float = 0.1
    """Scale of the documented latencies: 1.0 is realistic (pro up to 10 s), 0.1 suits demos, 0 is at once."""
    latency_s: float | None = None
    """Fixed seconds for every generation, instead of the scale."""
    seed: int = 0
    """Seed of the latency jitter."""
    render: Literal["montage", "plain"] = "montage"
    """`plain` answers flat colours: many requests in little time, for load tests."""

    concurrency: int = 24
    """Generations at once for a model and key (documented by BFL)."""
    kontext_max_concurrency: int = 6
    """The same for flux-kontext-max (documented by BFL); never above `concurrency`."""
    rpm: int | None = None
    """Requests in any 60 s for a key; documents say about 100, None: no such limit."""
    retry_after: float | None = None
    """Seconds to announce with a 429; None: nothing is announced, as often seen."""
    retry_after_form: Literal["seconds", "date", "body"] = "seconds"
    credit_usd: float | None = None
    """Balance of the account; None: no end."""
    prices: Mapping[str, float] = field(default_factory=lambda: PRICES)

    max_body_mb: float = 32
    """Request body at most, in MiB; 32 is the default of the gateway family."""
    max_prompt_tokens: int = 32_768
    """32K tokens (api reference), by estimate: one for 4 ASCII characters, one for any other character."""
    strict_dimensions: bool = False
    """Refuse inputs that are no multiple of 16 or above 4 MP, as the API reference words it, instead of
    cropping and shrinking them, as BFL does."""
    flux2_safety_cap: bool = False
    """Refuse `safety_tolerance` 6 for FLUX.2, as BFL documents; the gateway documents 0 to 6."""

    answer: Literal["url", "b64_json"] = "url"
    """`b64_json`: the image in the answer, as other OpenAI-style hosts do."""
    url_life: float = 600
    """Seconds from the end of the generation to the deadline of its URL (api reference: 10 minutes)."""
    redirect_delivery: bool = False
    """Every result URL answers 302 to a second signed URL."""
    keepalive_s: float = 75
    """Seconds an idle connection stays open."""
    grace_s: float = 1.0
    """Seconds that requests in flight get at the end."""

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        :raises ValueError: naming the setting.
        """
        if not is_loopback(self.host):
            raise ValueError(f"host {self.host!r} is not a loopback address: the simulator serves this machine only")
        self._check_ports()
        for name in ("latency", "latency_s", "retry_after", "credit_usd", "grace_s"):
            self._at_least(name, 0)
        for name in ("concurrency", "kontext_max_concurrency", "rpm", "max_prompt_tokens", "url_life"):
            self._at_least(name, 1)
        if self.max_body_mb <= 0:
            raise ValueError("max_body_mb must be above 0")
        if missing := sorted(MODELS.keys() - self.prices.keys()):
            raise ValueError(f"prices: no price for {', '.join(missing)}")
        if not self.api_key or not self.system_token:
            raise ValueError("api_key and system_token must not be empty")

    def _check_ports(self) -> None:
        for name in ("port", "delivery_port"):
            port = getattr(self, name)
            if port is not None and not 0 <= port <= 65535:
                raise ValueError(f"{name} must be 0 to 65535, not {port}")
        if self.port and self.port == self.delivery_port:
            raise ValueError("delivery_port must differ from port; leave it out to serve both from one")

    def _at_least(self, name: str, least: float) -> None:
        value = getattr(self, name)
        if value is not None and not value >= least:
            raise ValueError(f"{name} must be at least {least:g}, not {value:g}")

    @property
    def max_body_bytes(self) -> int:
        """The body limit in bytes."""
        return int(self.max_body_mb * 1024 * 1024)

    def concurrency_of(self, model: str) -> int:
        """Generations at once for this model and one key."""
        if model == "flux-kontext-max":
            return min(self.concurrency, self.kontext_max_concurrency)
        return self.concurrency


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine: `localhost`, `*.localhost`, 127.0.0.0/8, ::1."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
