"""What a failed request means: by ``error.code``, then by message, then by status.

The gateway's status lies, and its codes are strings, numbers or null; so the order matters. Sources: the API reference,
the providers' documentation, and the source of the gateway family (one-api, new-api).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fluxbatch.model.answer import Action, Scope, Verdict
from fluxbatch.model.state import Charge, Reason
from fluxbatch.ports import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Complaint", "Loss", "judge", "judge_loss", "outcome_of"]


@dataclass(frozen=True, slots=True)
class Complaint:
    """An answer without an image.

    Attributes:
        status: HTTP status.
        code: ``error.code`` as text, empty if there was none.
        message: ``error.message`` or the start of the body, already free of secrets.
        retry_after: seconds, from the header or the body.
        early: it came before the whole request was sent.
    """

    status: int
    code: str = ""
    message: str = ""
    retry_after: float | None = None
    early: bool = False


class Loss(StrEnum):
    """How a request ended without an answer."""

    CONNECT = "connect"
    """no connection: DNS, TCP, TLS or proxy"""
    CERTIFICATE = "certificate"
    """the host's certificate is not trusted: no wait will mend that"""
    UPLOAD = "upload"
    """lost or stalled before the last byte of the body"""
    LOST = "lost"
    """lost after the body was sent"""
    TIMEOUT = "timeout"
    """no answer in time after the body was sent"""


_CREDIT = Verdict(Reason.OUT_OF_CREDIT, Action.STOP_RUN, scope=Scope.KEY)
_KEY = Verdict(Reason.UNAUTHORIZED, Action.STOP_RUN, scope=Scope.KEY)
_ADDRESS = Verdict(Reason.INVALID_REQUEST, Action.STOP_RUN, scope=Scope.ENDPOINT)
_MODERATED = Verdict(Reason.MODERATED, Action.FAIL_JOB)
_INVALID = Verdict(Reason.INVALID_REQUEST, Action.FAIL_JOB)
_TOO_LARGE = Verdict(Reason.TOO_LARGE, Action.FAIL_JOB)
_LIMITED = Verdict(Reason.RATE_LIMITED, Action.RETRY, scope=Scope.MODEL, congestion=True)
_MODEL = Verdict(Reason.MODEL_UNAVAILABLE, Action.STOP_MODEL, scope=Scope.MODEL)
_BROKEN = Verdict(Reason.SERVER_ERROR, Action.RETRY, charge=Charge.UNKNOWN)
_RESTARTING = Verdict(Reason.SERVER_ERROR, Action.RETRY, scope=Scope.ENDPOINT)
_UNFINISHED = Verdict(Reason.SERVER_ERROR, Action.RETRY)
_UNKNOWN = Verdict(Reason.UNKNOWN_OUTCOME, Action.RETRY, charge=Charge.UNKNOWN)

_BY_CODE: Final[Mapping[str, Verdict]] = {
    "insufficient_user_quota": _CREDIT,
    "insufficient_quota": _CREDIT,
    "pre_consume_token_quota_failed": _CREDIT,
    "content_policy_violation": _MODERATED,
    "sensitive_words_detected": _MODERATED,
    "moderation_blocked": _MODERATED,
    "invalid_request": _INVALID,
    "invalid_request_error": _INVALID,
    "model_price_error": _INVALID,
    "read_request_body_failed": _TOO_LARGE,
    "rate_limit_exceeded": replace(_LIMITED, scope=Scope.KEY),
    "token_concurrency_limit_reached": replace(_LIMITED, scope=Scope.MODEL),
    "invalid_api_key": _KEY,
    "access_denied": _KEY,
    "write_response_body_failed": _BROKEN,
    "do_request_failed": _BROKEN,
    "model_not_found": _MODEL,
}

_BY_MESSAGE: Final[tuple[tuple[str, Verdict], ...]] = (
    ("request moderated", _MODERATED),
    ("content moderated", _MODERATED),
    ("用户额度不足", _CREDIT),
    ("预扣费额度失败", _CREDIT),
    ("无可用渠道", _MODEL),
    # gateways such as litellm put the status where the code was, and their own troubles into words alone
    ("invalid model name passed in", _MODEL),
    ("no connected db", _KEY),  # it looks a key up in a database that it doesn't have: any key but its own
    ("budget has been exceeded", _CREDIT),
    ("当前分组上游负载已饱和", replace(_LIMITED, scope=Scope.MODEL)),
    ("invalid url", _ADDRESS),
)

_BY_STATUS: Final[Mapping[int, Verdict]] = {
    400: _INVALID,
    401: _KEY,
    402: _CREDIT,
    403: _KEY,
    404: _ADDRESS,
    405: _ADDRESS,
    408: _UNKNOWN,  # a gateway that waited in vain for what it had passed on
    413: _TOO_LARGE,
    422: _INVALID,
    429: replace(_LIMITED, scope=Scope.KEY),
    502: _RESTARTING,
    503: _RESTARTING,
    504: _UNKNOWN,
    524: _UNKNOWN,
}

_BY_LOSS: Final[Mapping[Loss, Verdict]] = {
    Loss.CONNECT: _RESTARTING,
    Loss.CERTIFICATE: _ADDRESS,
    Loss.UPLOAD: _UNFINISHED,
    Loss.LOST: _UNKNOWN,
    Loss.TIMEOUT: _UNKNOWN,
}


def judge(complaint: Complaint) -> Verdict:
    """The verdict on an answer that holds no image. Never raises; what is not known is taken for the dearer case."""
    verdict = _match(complaint)
    if 200 <= complaint.status < 300 and verdict.charge is Charge.NONE:
        # a success without a usable image may have been billed, whatever the body says
        verdict = replace(verdict, charge=Charge.UNKNOWN)
    return replace(
        verdict,
        message=complaint.message or f"HTTP {complaint.status} without a reason",
        http_status=complaint.status,
        pause=complaint.retry_after if verdict.action is Action.RETRY else None,
    )


def judge_loss(loss: Loss, message: str) -> Verdict:
    """The verdict on a request that ended without an answer."""
    return replace(_BY_LOSS[loss], message=message)


def outcome_of(verdict: Verdict) -> Outcome:
    """What a refusal says about how many requests the API can take."""
    if verdict.congestion:
        return Outcome.CONGESTED
    if verdict.charge is not Charge.NONE or verdict.reason is Reason.SERVER_ERROR:
        return Outcome.TROUBLED
    return Outcome.UNSAID


def _match(complaint: Complaint) -> Verdict:
    code = complaint.code.strip().casefold()
    if code in _BY_CODE:
        return _BY_CODE[code]
    if code.startswith("bad_response") and not 400 <= complaint.status < 500:
        # with a 4xx, it is the status of the upstream that the gateway passes on
        return _BROKEN
    message = complaint.message.casefold()
    for words, verdict in _BY_MESSAGE:
        if words in message:
            return verdict
    return _by_status(complaint.status, early=complaint.early)


def _by_status(status: int, *, early: bool) -> Verdict:
    if status == 408 and early:
        return _UNFINISHED  # what the status was made for: the request took too long to arrive
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 200 <= status < 300:
        return _UNKNOWN
    if 300 <= status < 400:
        return _ADDRESS
    if 400 <= status < 500:
        return _INVALID
    return _BROKEN
