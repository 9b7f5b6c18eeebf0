"""What each failed request means: the API reference, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.model.answer import Action, Scope
from fluxbatch.model.state import Charge, Reason
from fluxbatch.policy.remedies import REMEDY
from fluxbatch.policy.verdict import Complaint, Loss, judge, judge_loss

RETRY, FAIL, STOP, STOP_MODEL = Action.RETRY, Action.FAIL_JOB, Action.STOP_RUN, Action.STOP_MODEL
NONE, UNKNOWN = Charge.NONE, Charge.UNKNOWN
JOB, MODEL, KEY, ENDPOINT = Scope.JOB, Scope.MODEL, Scope.KEY, Scope.ENDPOINT

HTML = "<html><head><title>524: A timeout occurred</title></head>"

TABLE = [
    # parameters: this job, for good
    (400, "", "width must be a multiple of 16", Reason.INVALID_REQUEST, FAIL, NONE, JOB),
    (422, "", "aspect_ratio: unknown", Reason.INVALID_REQUEST, FAIL, NONE, JOB),
    (400, "invalid_request", "", Reason.INVALID_REQUEST, FAIL, NONE, JOB),
    (500, "invalid_request", "", Reason.INVALID_REQUEST, FAIL, NONE, JOB),
    (500, "model_price_error", "模型价格未配置", Reason.INVALID_REQUEST, FAIL, NONE, JOB),
    (400, "400", "", Reason.INVALID_REQUEST, FAIL, NONE, JOB),
    (451, "", "", Reason.INVALID_REQUEST, FAIL, NONE, JOB),
    # moderation: a terminal reason of its own, whatever the status
    (403, "content_policy_violation", "", Reason.MODERATED, FAIL, NONE, JOB),
    (400, "sensitive_words_detected", "", Reason.MODERATED, FAIL, NONE, JOB),
    (400, "", "Request Moderated", Reason.MODERATED, FAIL, NONE, JOB),
    (403, "", "Content Moderated (request id: 2026)", Reason.MODERATED, FAIL, NONE, JOB),
    (403, "null", "Request Moderated", Reason.MODERATED, FAIL, NONE, JOB),
    (500, "", "task failed: Content Moderated", Reason.MODERATED, FAIL, NONE, JOB),
    # the key
    (401, "", "Invalid token", Reason.UNAUTHORIZED, STOP, NONE, KEY),
    (401, "invalid_api_key", "", Reason.UNAUTHORIZED, STOP, NONE, KEY),
    (403, "access_denied", "该令牌无权访问模型", Reason.UNAUTHORIZED, STOP, NONE, KEY),
    (403, "", "IP not allowed", Reason.UNAUTHORIZED, STOP, NONE, KEY),
    # credit: 402, or a code, or Chinese words under any status
    (402, "", "", Reason.OUT_OF_CREDIT, STOP, NONE, KEY),
    (403, "insufficient_user_quota", "", Reason.OUT_OF_CREDIT, STOP, NONE, KEY),
    (401, "insufficient_quota", "", Reason.OUT_OF_CREDIT, STOP, NONE, KEY),
    (429, "insufficient_quota", "You exceeded your current quota", Reason.OUT_OF_CREDIT, STOP, NONE, KEY),
    (403, "pre_consume_token_quota_failed", "", Reason.OUT_OF_CREDIT, STOP, NONE, KEY),
    (403, "", "用户额度不足, 剩余额度: $0.01", Reason.OUT_OF_CREDIT, STOP, NONE, KEY),
    (429, "", "预扣费额度失败, 用户剩余额度", Reason.OUT_OF_CREDIT, STOP, NONE, KEY),
    # the address
    (404, "", "Invalid URL (POST /v1/v1/images/generations)", Reason.INVALID_REQUEST, STOP, NONE, ENDPOINT),
    (404, "", "<html>404 Not Found</html>", Reason.INVALID_REQUEST, STOP, NONE, ENDPOINT),
    (301, "", "", Reason.INVALID_REQUEST, STOP, NONE, ENDPOINT),
    # size
    (413, "", "<html>413 Request Entity Too Large</html>", Reason.TOO_LARGE, FAIL, NONE, JOB),
    (500, "read_request_body_failed", "http: request body too large", Reason.TOO_LARGE, FAIL, NONE, JOB),
    # too many
    (429, "rate_limit_exceeded", "", Reason.RATE_LIMITED, RETRY, NONE, KEY),
    (429, "", "Too Many Requests", Reason.RATE_LIMITED, RETRY, NONE, KEY),
    (429, "token_concurrency_limit_reached", "", Reason.RATE_LIMITED, RETRY, NONE, MODEL),
    (429, "", "当前分组上游负载已饱和，请稍后再试", Reason.RATE_LIMITED, RETRY, NONE, MODEL),
    (503, "", "当前分组上游负载已饱和，请稍后再试", Reason.RATE_LIMITED, RETRY, NONE, MODEL),
    # broken answers of the gateway: maybe billed
    (500, "write_response_body_failed", "", Reason.SERVER_ERROR, RETRY, UNKNOWN, JOB),
    (500, "do_request_failed", "upstream error: do request failed", Reason.SERVER_ERROR, RETRY, UNKNOWN, JOB),
    (500, "bad_response_body", "", Reason.SERVER_ERROR, RETRY, UNKNOWN, JOB),
    (500, "bad_response_status_code", "", Reason.SERVER_ERROR, RETRY, UNKNOWN, JOB),
    (429, "bad_response_status_code", "", Reason.RATE_LIMITED, RETRY, NONE, KEY),
    (400, "bad_response_status_code", "", Reason.INVALID_REQUEST, FAIL, NONE, JOB),
    (500, "", "", Reason.SERVER_ERROR, RETRY, UNKNOWN, JOB),
    (520, "", HTML, Reason.SERVER_ERROR, RETRY, UNKNOWN, JOB),
    # restarts
    (502, "", "<html>502 Bad Gateway</html>", Reason.SERVER_ERROR, RETRY, NONE, ENDPOINT),
    (503, "", "", Reason.SERVER_ERROR, RETRY, NONE, ENDPOINT),
    # no channel for the model
    (503, "model_not_found", "", Reason.MODEL_UNAVAILABLE, STOP_MODEL, NONE, MODEL),
    (503, "", "分组 default 下模型 flux-2-pro 无可用渠道", Reason.MODEL_UNAVAILABLE, STOP_MODEL, NONE, MODEL),
    # time-outs in front of the gateway
    (504, "", HTML, Reason.UNKNOWN_OUTCOME, RETRY, UNKNOWN, JOB),
    (524, "", HTML, Reason.UNKNOWN_OUTCOME, RETRY, UNKNOWN, JOB),
    (408, "", "", Reason.UNKNOWN_OUTCOME, RETRY, UNKNOWN, JOB),
    (408, "408", "litellm.Timeout: APITimeoutError - Request timed out.", Reason.UNKNOWN_OUTCOME, RETRY, UNKNOWN, JOB),
    # what a gateway says in words alone
    (400, "400", "No connected db.", Reason.UNAUTHORIZED, STOP, NONE, KEY),
    (400, "400", "Invalid model name passed in model=x.", Reason.MODEL_UNAVAILABLE, STOP_MODEL, NONE, MODEL),
    (429, "429", "Budget has been exceeded! Current cost: 1", Reason.OUT_OF_CREDIT, STOP, NONE, KEY),
    # a success that is none
    (200, "", "", Reason.UNKNOWN_OUTCOME, RETRY, UNKNOWN, JOB),
    (200, "", HTML, Reason.UNKNOWN_OUTCOME, RETRY, UNKNOWN, JOB),
    (200, "content_policy_violation", "", Reason.MODERATED, FAIL, UNKNOWN, JOB),
    (200, "insufficient_user_quota", "", Reason.OUT_OF_CREDIT, STOP, UNKNOWN, KEY),
    (204, "", "", Reason.UNKNOWN_OUTCOME, RETRY, UNKNOWN, JOB),
]


@pytest.mark.parametrize(("status", "code", "message", "reason", "action", "charge", "scope"), TABLE)
def test_row(
    status: int, code: str, message: str, reason: Reason, action: Action, charge: Charge, scope: Scope
) -> None:
    verdict = judge(Complaint(status, code=code, message=message))
    assert (verdict.reason, verdict.action, verdict.charge, verdict.scope) == (reason, action, charge, scope)
    assert verdict.http_status == status
    assert verdict.congestion is (reason is Reason.RATE_LIMITED)
    assert verdict.message


@pytest.mark.parametrize(
    ("loss", "action", "charge", "scope"),
    [
        (Loss.CONNECT, RETRY, NONE, ENDPOINT),
        (Loss.CERTIFICATE, STOP, NONE, ENDPOINT),
        (Loss.UPLOAD, RETRY, NONE, JOB),
        (Loss.LOST, RETRY, UNKNOWN, JOB),
        (Loss.TIMEOUT, RETRY, UNKNOWN, JOB),
    ],
)
def test_losses(loss: Loss, action: Action, charge: Charge, scope: Scope) -> None:
    verdict = judge_loss(loss, "gone")
    assert (verdict.action, verdict.charge, verdict.scope) == (action, charge, scope)
    assert (verdict.message, verdict.http_status) == ("gone", None)


def test_a_request_that_took_too_long_to_arrive_was_not_billed() -> None:
    verdict = judge(Complaint(408, early=True))
    assert (verdict.reason, verdict.action, verdict.charge) == (Reason.SERVER_ERROR, Action.RETRY, Charge.NONE)


def test_codes_are_read_as_people_write_them() -> None:
    assert judge(Complaint(500, code=" Insufficient_User_Quota ")).reason is Reason.OUT_OF_CREDIT


def test_the_code_comes_before_the_message_and_the_message_before_the_status() -> None:
    assert judge(Complaint(502, code="rate_limit_exceeded", message="Request Moderated")).reason is Reason.RATE_LIMITED
    assert judge(Complaint(502, code="unheard_of", message="Request Moderated")).reason is Reason.MODERATED
    assert judge(Complaint(502, code="unheard_of", message="unheard of")).reason is Reason.SERVER_ERROR


def test_a_pause_is_for_what_is_tried_again() -> None:
    assert judge(Complaint(429, retry_after=7.0)).pause == 7.0
    assert judge(Complaint(503, retry_after=7.0)).pause == 7.0
    assert judge(Complaint(401, retry_after=7.0)).pause is None
    assert judge(Complaint(400, retry_after=7.0)).pause is None


KNOWN_CODES = sorted({row[1] for row in TABLE})
COMPLAINTS = st.builds(
    Complaint,
    st.integers(-1, 999) | st.sampled_from([row[0] for row in TABLE]),
    code=st.text(max_size=30) | st.sampled_from(KNOWN_CODES),
    message=st.text(max_size=80) | st.sampled_from([row[2] for row in TABLE]),
    retry_after=st.none() | st.floats(),
)


@given(COMPLAINTS)
def test_there_is_a_verdict_on_everything(complaint: Complaint) -> None:
    verdict = judge(complaint)
    assert verdict.message
    assert verdict.reason in REMEDY
    assert verdict.charge is not Charge.CHARGED, "an answer without an image is never surely billed"
    if 200 <= complaint.status < 300:
        assert verdict.charge is Charge.UNKNOWN
    if verdict.action is Action.STOP_RUN:
        assert verdict.scope in {Scope.KEY, Scope.ENDPOINT}


def test_there_is_a_remedy_for_every_reason() -> None:
    assert set(REMEDY) == set(Reason)
