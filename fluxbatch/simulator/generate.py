"""`POST /v1/images/generations`: admit, check, make the picture, bill, answer. In that order."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from aiohttp import web

from . import montage, rules
from .billing import Call, out_of_credit
from .errors import ApiError, HtmlError
from .faults import draw_fraction
from .inputs import decode_inputs, output_size
from .wire import read_json, reset
from .world import World, is_gone, stall

if TYPE_CHECKING:
    from .catalog import Model
    from .config import SimulatorConfig
    from .rules import Order
    from .store import Result

SWEEP_EVERY_S = 60


@dataclass(slots=True)
class Arrival:
    """One request with the right key."""

    number: int
    request_id: str
    started: float
    """Seconds of the loop's clock."""
    fault: str | None
    model: str = ""
    images: int = 0
    usd: float = 0.0


async def handle_generation(world: World, request: web.Request, request_id: str) -> web.StreamResponse:
    """Answer one request.

    :raises ApiError, HtmlError: for what is refused; the caller turns it into an answer.
    """
    world.posts += 1
    arrival = Arrival(world.posts, request_id, anyio.current_time(), world.faults.on_generate(world.posts))
    outcome = "error"
    try:
        response = await _answer(world, request, arrival)
        outcome = "gone" if is_gone(request) else str(response.status)
    except (ApiError, HtmlError) as error:
        outcome = f"{error.status} {error.code or ''}".strip() if isinstance(error, ApiError) else str(error.status)
        raise
    finally:
        _report(world, arrival, outcome)
    return response


def _report(world: World, arrival: Arrival, outcome: str) -> None:
    world.tell(
        event="generate",
        request_id=arrival.request_id,
        number=arrival.number,
        model=arrival.model,
        images=arrival.images,
        outcome=outcome,
        fault=arrival.fault,
        usd=arrival.usd,
        seconds=round(anyio.current_time() - arrival.started, 3),
    )


async def _answer(world: World, request: web.Request, arrival: Arrival) -> web.StreamResponse:
    if arrival.fault == "reset-before-body":
        return reset(request)
    body = await read_json(world, request)
    _early_fault(world, arrival)
    model = rules.find_model(body)
    arrival.model = model.name
    price = world.config.prices[model.name]
    with world.limits.slot(model.name, monotonic=anyio.current_time(), now=world.clock()):
        world.account.reserve(price)
        try:
            call, result, picture = await _make(world, request, arrival, body, model)
        finally:
            world.account.release(price)
    if arrival.fault == "error-in-200":
        return web.json_response(ApiError(200, "do_request_failed", "upstream error").body(arrival.request_id))
    arrival.usd = call.usd
    return await _deliver_answer(world, request, arrival, result, picture)


def _early_fault(world: World, arrival: Arrival) -> None:
    """Refusals that the gateway makes before anything is generated; none is billed."""
    now = anyio.current_time()
    if arrival.fault == "502":
        world.bad_until = now + world.faults.window_s
    if now < world.bad_until:
        raise HtmlError(502, "Bad Gateway", "nginx")
    match arrival.fault:
        case "429":
            raise world.limits.too_many("rate_limit_exceeded", "当前分组上游负载已饱和，请稍后再试", world.clock())
        case "500":
            raise ApiError(500, "do_request_failed", "do request failed")
        case "503":
            raise HtmlError(503, "Service Temporarily Unavailable", "nginx")
        case "503-no-channel":
            raise ApiError(503, "model_not_found", "当前分组 default 下对于该模型无可用渠道", kind="new_api_error")
        case "moderation":
            raise ApiError(400, "content_policy_violation", "Request Moderated")
        case "quota":
            raise out_of_credit(0.0, 0.0)
        case _:
            return


async def _make(
    world: World, request: web.Request, arrival: Arrival, body: dict[str, Any], model: Model
) -> tuple[Call, Result, bytes]:
    """Check the rest, generate, and bill at the end, whether the client is still there or not."""
    begun = anyio.current_time()
    order = rules.read_order(body, model, world.config)
    arrival.images = len(order.images)
    body.clear()
    records, picture = await anyio.to_thread.run_sync(_draw, order, world.config, limiter=world.threads)
    # many wait here at once: the pictures they came with are not kept
    order = replace(order, images=())
    elapsed = anyio.current_time() - begun
    await anyio.sleep(max(_latency(world, model, arrival.number) - elapsed, 0))
    result = await _store(world, arrival, order, picture)
    call = Call(
        request_id=arrival.request_id,
        at=world.clock(),
        model=model.name,
        usd=0.0 if arrival.fault == "error-in-200" else world.config.prices[model.name],
        prompt_sha256=hashlib.sha256(order.prompt.encode("utf-8", "surrogatepass")).hexdigest(),
        inputs=records,
        client_gone=is_gone(request),
        result=result.name,
        seconds=round(anyio.current_time() - begun, 3),
        fault=arrival.fault,
        fields=order.fields,
    )
    if call.usd:
        world.account.bill(call)
        async with world.file_lock:
            await anyio.to_thread.run_sync(world.account.append, call)
    return call, result, picture


def _draw(order: Order, config: SimulatorConfig) -> tuple[list[dict[str, Any]], bytes]:
    """Decode the inputs and render the result; blocking."""
    inputs = decode_inputs(order, strict_dimensions=config.strict_dimensions)
    size = output_size(order, inputs)
    picture = montage.render_plain(order, size) if config.render == "plain" else montage.render(order, inputs, size)
    return [image.record() for image in inputs], picture


def _latency(world: World, model: Model, number: int) -> float:
    if world.config.latency_s is not None:
        return world.config.latency_s
    least, most = model.latency_s
    return (least + (most - least) * draw_fraction(f"latency:{world.config.seed}:{number}")) * world.config.latency


async def _store(world: World, arrival: Arrival, order: Order, picture: bytes) -> Result:
    identity = hashlib.sha256(f"{arrival.request_id}:{arrival.number}".encode()).hexdigest()[:32]
    created = int(world.clock())
    async with world.file_lock:
        result = await anyio.to_thread.run_sync(
            lambda: world.folder.save(
                f"{identity}/sample.{order.output_format}",
                picture,
                mime=f"image/{order.output_format}",
                created=created,
                deadline=created + round(world.config.url_life),
            )
        )
        if anyio.current_time() - world.swept > SWEEP_EVERY_S:
            world.swept = anyio.current_time()
            await anyio.to_thread.run_sync(world.folder.sweep, world.clock())
    return result


async def _deliver_answer(
    world: World, request: web.Request, arrival: Arrival, result: Result, picture: bytes
) -> web.StreamResponse:
    """The answer, or what a fault makes of it; the call is billed by now."""
    item: dict[str, str]
    if world.config.answer == "b64_json":
        item = {"b64_json": base64.b64encode(picture).decode()}
    else:
        target = world.signer.sign(f"/results/{result.name}", result.mime, result.deadline)
        item = {"url": world.delivery_base + target}
    answer = {"created": result.created, "data": [item]}
    match arrival.fault:
        case "500-billed":
            raise ApiError(500, "write_response_body_failed", "write response body failed")
        case "504":
            raise HtmlError(504, "Gateway Time-out", "nginx")
        case "524":
            raise HtmlError(524, "A timeout occurred", "cloudflare")
        case "reset":
            return reset(request)
        case "empty-data":
            return web.json_response({"created": result.created, "data": []})
        case "truncated-json":
            text = web.json_response(answer).text or ""
            return web.Response(text=text[: len(text) * 2 // 3], content_type="application/json")
        case "tail-stall":
            return await _tail_stall(world, request, web.json_response(answer), arrival.request_id)
        case _:
            return web.json_response(answer)


async def _tail_stall(world: World, request: web.Request, whole: web.Response, request_id: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Date": world.date()})
    response.headers["X-Oneapi-Request-Id"] = request_id
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write((whole.text or "").encode())
    await stall(world, request, world.faults.stall_s)
    return response
