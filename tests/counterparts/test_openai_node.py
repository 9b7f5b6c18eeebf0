"""The OpenAI SDK for Node as a client of the simulator."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.simulator import Faults
from tests.app.stage import KEY, PHOTOS, Api, serving, sha256
from tests.counterparts.programs import HOW
from tests.counterparts.set_up import HERE, NODE

if TYPE_CHECKING:
    from pathlib import Path

SDK = NODE.folder / "node_modules" / "openai" / "index.mjs"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (NODE.ready and shutil.which("node")), reason=f"the OpenAI SDK for Node is not there: {HOW}"
    ),
]


def ask(api: Api, body: dict[str, Any], *photos: str, **options: Any) -> dict[str, Any]:
    """What a script of a few lines gets to see."""
    order = {
        "sdk": SDK.as_uri(),
        "options": {"baseURL": api.sim.base_url, "apiKey": KEY, **options},
        "body": {"model": "flux-2-klein-4b", **body},
        "photos": {
            f"input_image_{number}" if number > 1 else "input_image": {
                "path": str(PHOTOS / photo),
                "mime": "image/jpeg",
            }
            for number, photo in enumerate(photos, start=1)
        },
    }
    done = subprocess.run(
        ["node", str(HERE / "client.mjs")],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_photos_are_fused(tmp_path: Path) -> None:
    body = {"prompt": "自然融合这两个图片", "seed": 42, "output_format": "png"}
    with serving(tmp_path / "api", render="montage") as api:
        answer = ask(api, body, "person.jpg", "grass.jpg")
        call = api.sim.calls[0]
        assert (answer["status"], answer["requestId"]) == (200, call.request_id)
        assert answer["sha256"] == sha256(api.served(call.result))
        assert call.fields["seed"] == 42
        assert [one["sha256"] for one in call.inputs] == [sha256(PHOTOS / "person.jpg"), sha256(PHOTOS / "grass.jpg")]
        assert answer["models"][0] == "flux-2-pro"
        assert api.sim.leaked_keys == 0


@pytest.mark.parametrize(
    ("fault", "body", "options", "said"),
    [
        (None, {"n": 2}, {}, ("BadRequestError", 400, "invalid_request", "n")),
        (None, {}, {"apiKey": "sk-wrong"}, ("AuthenticationError", 401, "invalid_api_key", "")),
        ("429", {}, {}, ("RateLimitError", 429, "rate_limit_exceeded", "")),
        ("moderation", {}, {}, ("BadRequestError", 400, "content_policy_violation", "")),
        ("quota", {}, {}, ("PermissionDeniedError", 403, "insufficient_user_quota", "")),
        ("503", {}, {}, ("InternalServerError", 503, None, None)),
        ("reset", {}, {}, ("APIConnectionError", None, None, None)),
    ],
)
def test_it_understands_the_errors(
    tmp_path: Path, fault: str | None, body: dict[str, Any], options: dict[str, Any], said: tuple[object, ...]
) -> None:
    faults = Faults(schedule={fault: frozenset({1})}) if fault else None
    with serving(tmp_path / "api", faults=faults) as api:
        answer = ask(api, {"prompt": "x", **body}, maxRetries=0, **options)
    assert tuple(answer.get(name) for name in ("error", "status", "code", "param")) == said


def test_it_pays_for_a_lost_answer_again_by_itself(tmp_path: Path) -> None:
    """As it comes, it sends up to three times, and tells nobody."""
    with serving(tmp_path / "api", faults=Faults(schedule={"reset": frozenset({1, 2})})) as api:
        assert ask(api, {"prompt": "x"})["status"] == 200
        assert len(api.sim.calls) == 3
