"""Who was billed for what: an append-only log, the balance, and the gateway's view of both."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

QUOTA_PER_USD = 500_000
"""Units of the gateway's `quota` (documented by apiyi)."""
PAGE_SIZE = 10
"""Entries of a page of the call log; more can be asked for, but no more come (documented by apiyi)."""


@dataclass(frozen=True, slots=True)
class Call:
    """A billed generation, as kept in `calls.jsonl`."""

    request_id: str
    at: float
    """Epoch seconds at the end of the generation, which is when it is billed."""
    model: str
    usd: float
    prompt_sha256: str
    inputs: list[dict[str, Any]]
    """In order: `{sha256, bytes, mime}` for a data URL, `{url}` for a URL."""
    client_gone: bool
    """The client had left by then, and is billed all the same."""
    result: str
    """Name of the stored image: `<id>/sample.jpeg`."""
    seconds: float
    fault: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    """The request without its images."""


class Account:
    """Calls and balance of one data folder; decisions without waiting, the file in `append`."""

    def __init__(self, path: Path, credit_usd: float | None) -> None:
        """Nothing is read before `load`."""
        self._path = path
        self._credit = credit_usd
        self._reserved = 0.0
        self.spent_usd = 0.0
        """USD billed, earlier runs on the same folder included."""
        self.calls: list[Call] = []

    def reserve(self, usd: float) -> None:
        """Set the price aside before the generation, as the gateway does.

        :raises ApiError: 403, the balance is too small.
        """
        if self._credit is not None:
            left = self._credit - self.spent_usd - self._reserved
            if left < usd - 1e-9:
                raise out_of_credit(max(left, 0), usd)
        self._reserved += usd

    def release(self, usd: float) -> None:
        """Undo a reservation: the call was billed, or nothing was made."""
        self._reserved -= usd

    def bill(self, call: Call) -> None:
        """The generation is over: it costs, whoever receives it."""
        self.calls.append(call)
        self.spent_usd += call.usd

    def load(self) -> None:
        """Read earlier calls; blocking. A last line that was cut by a crash is cut off."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        whole, _, rest = data.rpartition(b"\n")
        if rest:
            with self._path.open("r+b") as file:
                file.truncate(len(data) - len(rest))
        for line in whole.splitlines():
            self.bill(Call(**json.loads(line)))

    def append(self, call: Call) -> None:
        """Add a line to the file; blocking, one at a time."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(call), ensure_ascii=True) + "\n")


def out_of_credit(left: float, usd: float) -> ApiError:
    """The gateway's refusal for an empty account."""
    message = f"预扣费额度失败, 用户剩余额度: ${left:.6f}, 需要预扣费额度: ${usd:.6f} (insufficient user quota)"
    return ApiError(403, "insufficient_user_quota", message)


def log_page(calls: Sequence[Call], query: dict[str, str]) -> dict[str, Any]:
    """Answer of `GET /api/log/self`: newest first, at most 10 entries, page `p` from 0.

    An empty `data` says that there are no more pages; `type` other than 2 (consumption) has no entries here.
    """

    def number(*names: str, default: int) -> int:
        text = next((query[name] for name in names if query.get(name)), str(default))
        return int(text) if text.lstrip("-").isdigit() else default

    start, end = number("start_timestamp", default=0), number("end_timestamp", default=2**62)
    page, size = max(number("p", default=0), 0), number("pageSize", "page_size", default=PAGE_SIZE)
    size = min(max(size, 1), PAGE_SIZE)
    wanted = [
        (identity, call)
        for identity, call in enumerate(calls, start=1)
        if number("type", default=2) in {0, 2}
        and start <= call.at <= end
        and query.get("model_name") in {None, "", call.model}
    ]
    shown = wanted[::-1][page * size : (page + 1) * size]
    return {"success": True, "message": "", "data": [_entry(identity, call) for identity, call in shown]}


def _entry(identity: int, call: Call) -> dict[str, Any]:
    return {
        "id": identity,
        "request_id": call.request_id,
        "created_at": int(call.at),
        "type": 2,
        "content": f"模型固定价格 ${call.usd:.6f}",
        "token_name": "simulator",
        "model_name": call.model,
        "quota": round(call.usd * QUOTA_PER_USD),
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "use_time": round(call.seconds),
        "is_stream": False,
        # a string that holds JSON, as documented
        "other": json.dumps({"request_path": "/v1/images/generations", "model_price": call.usd}),
    }
