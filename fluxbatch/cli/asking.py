"""The options that say what is asked for: the same for run, plan, adopt and prune."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fluxbatch.cli.options import base_url_option, price_file_option, prices_of
from fluxbatch.errors import UsageError
from fluxbatch.model.state import Reason
from fluxbatch.settings import Settings
from fluxbatch.telemetry.redact import is_clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fluxbatch.app.request import RunRequest
    from fluxbatch.planning.sources import SourceSpec

__all__ = ["asking", "command_line", "request_of", "settings_of", "shown"]

_MANIFESTS: Final = {".yaml", ".yml", ".json", ".toml", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".xlsx"}
_PHOTOS: Final = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp"}
_ALTERED: Final = "altered"

F = TypeVar("F", bound="Callable[..., Any]")

_WHAT: Final = (
    click.argument("what", nargs=-1, required=True, metavar="MANIFEST… | PHOTOS…", type=click.Path(path_type=Path)),
    click.option("-p", "--prompt", help="Prompt for photos given without a manifest."),
    click.option(
        "--with", "with_images", multiple=True, metavar="IMG", help="Image 2, 3 … of every photo; path or URL."
    ),
    click.option("--model", metavar="MODEL", help="Model for photos given without a manifest.  [default: flux-2-pro]"),
    click.option(
        "-o",
        "--out",
        metavar="DIR|URL",
        help="Where images land; s3:// oss:// gs:// az:// want --state.  [default: beside the manifest, NAME-out]",
    ),
    click.option(
        "--state",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Where the ledger lives, if not in the output folder.",
    ),
    click.option("--simulate", is_flag=True, help="Use the embedded simulator, and an output folder of its own."),
    base_url_option,
)
_MONEY: Final = (
    click.option(
        "--price", multiple=True, metavar="MODEL=USD", help="Price of an image, over the list of `fluxbatch models`."
    ),
    price_file_option,
)
_WHICH: Final = (
    click.option(
        "--if-unsure",
        type=click.Choice(["resend", "hold"]),
        default="resend",
        show_default=True,
        help="A request whose outcome is unknown is sent once more, or held.",
    ),
    click.option(
        "--retry",
        metavar="REASON,…",
        default="",
        help="Try failures again that would stay: error codes, or `altered` for edited outputs.",
    ),
    click.option(
        "--remake",
        type=click.Choice(["rejected"]),
        help="Make images again that were rejected (`fluxbatch review`), with another seed or the prompt asked for.",
    ),
    click.option(
        "--max-rounds",
        type=click.IntRange(1),
        default=3,
        show_default=True,
        metavar="N",
        help="With --remake: how often one job is, at most.",
    ),
    click.option(
        "--on-invalid",
        type=click.Choice(["error", "skip"]),
        default="error",
        show_default=True,
        help="Refuse to start over an invalid job, or leave it out.",
    ),
    click.option("--only", multiple=True, metavar="GLOB", help="Only jobs whose id matches, and what they need."),
    click.option(
        "--sample", type=click.IntRange(1), metavar="N", help="Only N jobs, chosen by chance, and what they need."
    ),
    click.option(
        "--sample-seed", type=int, default=0, show_default=True, metavar="SEED", help="Another seed, another sample."
    ),
    click.option(
        "--limit", type=click.IntRange(0), metavar="N", help="Make N images at most; 0 only fetches what is paid for."
    ),
)
_RATE: Final = (
    click.option(
        "--concurrency",
        type=click.IntRange(1),
        default=Settings().concurrency,
        show_default=True,
        help="Requests in flight at most, over all models; it starts low and finds the API's own limits.",
    ),
    click.option(
        "--rpm",
        type=click.IntRange(1),
        metavar="N",
        help="Start at most N requests in any minute, if you know your account's quota.",
    ),
)
_GROUPS: Final = {"what": _WHAT, "rate": _RATE, "money": _MONEY, "which": _WHICH}


def asking(*groups: str) -> Callable[[F], F]:
    """Give a command these groups of options, in this order: ``what``, ``rate``, ``money``, ``which``."""

    def decorate(function: F) -> F:
        for group in reversed(groups):
            for option in reversed(_GROUPS[group]):
                function = option(function)
        return function

    return decorate


def request_of(options: dict[str, Any], **more: Any) -> RunRequest:
    """What a command was asked for; ``more``: of the request, beside what these options say.

    Raises:
        UsageError: options contradict each other.
    """
    from fluxbatch.app.request import RunRequest

    context = click.get_current_context()
    if options["simulate"] and context.get_parameter_source("base_url") is click.core.ParameterSource.COMMANDLINE:
        raise UsageError("--simulate and --base-url name two places", remedy="leave one of them out")
    return RunRequest(
        sources=_sources(options["what"], options["prompt"], options["with_images"], options["model"]),
        out=options["out"],
        state=options["state"],
        base_url=options["base_url"],
        simulate=options["simulate"],
        on_invalid=options.get("on_invalid", "error"),
        prices=prices_of(options.get("price", ()), options.get("price_file")),
        **more,
    )


def settings_of(options: dict[str, Any], **more: Any) -> Settings:
    """The settings that these options make; ``more`` beside them.

    Raises:
        UsageError: there is no such reason to retry.
    """
    reasons = [word.strip() for word in options.get("retry", "").split(",") if word.strip()]
    for word in reasons:
        if word != _ALTERED and word not in list(Reason):
            known = ", ".join([*Reason, _ALTERED])
            raise UsageError(f"--retry {word}: there is no such reason", remedy=f"there are: {known}")
    same = ("if_unsure", "concurrency", "rpm", "limit", "sample", "sample_seed", "max_rounds")
    said = {name: options[name] for name in same if name in options}
    return Settings(
        retry=frozenset(Reason(word) for word in reasons if word != _ALTERED),
        retry_altered=_ALTERED in reasons,
        remake_rejected=options.get("remake") == "rejected",
        only=tuple(options.get("only", ())),
        **said,
        **more,
    )


def command_line(*, without: Sequence[str] = (), flags: Sequence[str] = (), name: str = "") -> str:
    """What was typed, to be typed again without some options; empty if it holds a secret or is of several lines.

    Args:
        without: options that take a value.
        flags: options that take none.
        name: of another command to be given the same way.
    """
    said = iter(sys.argv[1:])
    kept: list[str] = []
    for word in said:
        if word in without:
            next(said, None)
        elif word not in flags and not word.startswith(tuple(f"{option}=" for option in without)):
            kept.append(word)
    if name and kept:
        kept[0] = name
    command = shlex.join(["fluxbatch", *kept])
    return command if is_clean(command) else ""


def shown(path: Path | str) -> Path | str:
    """As short as it can be written from here; an address as it is."""
    if isinstance(path, str):
        return path
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _sources(
    what: Sequence[Path], prompt: str | None, with_images: Sequence[str], model: str | None
) -> list[SourceSpec]:
    from fluxbatch.planning.sources import ManifestFile, PhotoSet

    if prompt is not None:
        manifests = [path for path in what if path.suffix.lower() in _MANIFESTS and not path.is_dir()]
        if manifests:
            raise UsageError(f"-p is for photos, and {manifests[0]} is a manifest", remedy="leave one of them out")
        return [PhotoSet(tuple(what), prompt, with_images=tuple(with_images), model=model)]
    for name, value in (("--with", with_images), ("--model", model)):
        if value:
            raise UsageError(f"{name} is for photos with -p", remedy="in a manifest, it is a field of the job")
    for path in what:
        if path.is_dir() or path.suffix.lower() in _PHOTOS:
            raise UsageError(
                f"{path} is no manifest", remedy=f'for photos, say what to do: fluxbatch run {path} -p "…"'
            )
    return [ManifestFile(path) for path in what]
