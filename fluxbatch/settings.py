"""How a run behaves. Frozen, checked when made; an unknown name is an error with a suggestion."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args

from fluxbatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.model.state import Reason

__all__ = ["DEFAULT_BASE_URL", "KEY_VARIABLES", "IfUnsure", "Settings"]

DEFAULT_BASE_URL: Final = "https://api.apiyi.com/v1"
KEY_VARIABLES: Final = ("FLUXBATCH_API_KEY", "APIYI_API_KEY")
"""where the API key is looked for, first one first"""

IfUnsure = Literal["resend", "hold"]

_AT_LEAST_ONE: Final = (
    "concurrency",
    "downloads",
    "max_attempts",
    "rpm",
    "canary",
    "max_rounds",
    "stop_after_failures",
)
_SHARES: Final = ("canary_share", "fail_under")
_POSITIVE: Final = ("request_timeout_s", "upload_stall_s", "download_stall_s", "outage_s", "first_answer_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that the engine may be told.

    Attributes:
        concurrency: requests in flight at most, over all models.
        downloads: results fetched at a time.
        request_timeout_s: seconds to wait for an answer, from the last byte of the body. The API bills a request whose
            client hung up, so this is generous.
        upload_stall_s, download_stall_s: seconds without a byte after which a transfer is given up.
        max_attempts: requests for one job that may fail in a run; those that met a rate limit or a restart of the
            gateway don't count.
        max_cost_usd: never to be exceeded by one request, maybe-billed ones included; what unfinished runs before this
            one have spent counts.
        max_runtime_s: seconds after which everything should have landed; sending ends early enough for that.
        window: hours of the day in which requests are sent, as ``01:00-06:00``; empty for all.
        budget: USD for a day, a week or a month, as ``900/month``, over all runs of a folder; empty for any.
        timezone: of window and budget, as ``Asia/Shanghai``; empty for this machine's.
        wait: for the window to open, before anything else; without it, a run outside it sends nothing.
        rpm: requests that may start in any minute, over all models; None for no such limit.
        if_unsure: whether a job whose outcome is unknown is sent once more, or held.
        retry: failures to try again although they would stay (``altered`` for outputs that someone edited is apart).
        retry_altered: make outputs again that someone edited.
        limit: images to make at most; 0 only fetches what is owed.
        canary: jobs that go ahead of the others, which are sent once these have ended; None for none.
        canary_share: how many of them may fail, as a share, for the others to follow.
        stop_after_failures: jobs that may fail until nothing more is sent; None for any number.
        fail_under: share of the images that has to be there for exit code 0; None for all.
        ok_if: stop reasons with which a run is as good as one that went through.
        only: shell patterns of ids; the others are left as they are, unless those need them.
        sample: so many jobs, by chance, and what they need; None for all.
        sample_seed: the same one gives the same sample.
        remake_rejected: make images again that were rejected.
        max_rounds: how often one job is, at most, until its words change.
        outage_s: seconds without any answer from the API after which the run stops.
        first_answer_s: the same before the first answer: a wrong address should not take minutes to notice.
        shared: other machines may fill the same place in an object store at the same time, with other jobs.
        free_space_floor: bytes that must be free to send another request.
        max_answer_bytes, max_image_bytes: what an answer and a result may weigh.
    """

    concurrency: int = 24
    downloads: int = 16
    request_timeout_s: float = 360.0
    upload_stall_s: float = 60.0
    download_stall_s: float = 30.0
    max_attempts: int = 5
    max_cost_usd: float | None = None
    max_runtime_s: float | None = None
    window: str = ""
    budget: str = ""
    timezone: str = ""
    wait: bool = False
    rpm: int | None = None
    if_unsure: IfUnsure = "resend"
    retry: frozenset[Reason] = frozenset()
    retry_altered: bool = False
    limit: int | None = None
    canary: int | None = None
    canary_share: float = 0.2
    stop_after_failures: int | None = None
    fail_under: float | None = None
    ok_if: frozenset[str] = frozenset()
    only: tuple[str, ...] = ()
    sample: int | None = None
    sample_seed: int = 0
    remake_rejected: bool = False
    max_rounds: int = 3
    outage_s: float = 900.0
    shared: bool = False
    first_answer_s: float = 60.0
    free_space_floor: int = 64 << 20
    max_answer_bytes: int = 96 << 20
    max_image_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}", remedy="it must be 1 or more")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}", remedy="it must be above 0 seconds")
        if self.max_cost_usd is not None and not self.max_cost_usd >= 0:
            raise UsageError(f"max_cost_usd is {self.max_cost_usd}", remedy="it must be 0 USD or more")
        if self.max_runtime_s is not None and not self.max_runtime_s > 0:
            raise UsageError(f"max_runtime_s is {self.max_runtime_s}", remedy="it must be above 0 seconds")
        if self.limit is not None and self.limit < 0:
            raise UsageError(f"limit is {self.limit}", remedy="it must be 0 or more")
        self._check_shares()
        if self.if_unsure not in get_args(IfUnsure):
            raise UsageError(f"if_unsure is {self.if_unsure!r}", remedy="it is 'resend' or 'hold'")

    def _check_shares(self) -> None:
        for name in _SHARES:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{name} is {value}", remedy="it must be between 0 and 1")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Settings by name.

        Raises:
            UsageError: a name is unknown, or a value out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise UsageError(
                    f"there is no setting {name!r}",
                    remedy=f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}",
                )
        return cls(**options)
