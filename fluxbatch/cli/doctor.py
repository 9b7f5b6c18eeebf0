"""``fluxbatch doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fluxbatch.cli.options import (
    base_url_option,
    ca_file_option,
    download_proxy_option,
    find_key,
    key_file_option,
    key_place,
)
from fluxbatch.errors import UsageError
from fluxbatch.model.address import is_store_address
from fluxbatch.settings import Settings

if TYPE_CHECKING:
    from fluxbatch.app.doctor import CheckupRequest
    from fluxbatch.policy.checkup import Check

__all__ = ["doctor"]

_HELP: Final = """Is everything there that a run needs? Each check says what to do if not; nothing is sent that costs.

\b
  fluxbatch doctor
  fluxbatch doctor --out /mnt/images --concurrency 200
  fluxbatch doctor --out s3://bucket/night        is the object store there, and does it take the credentials
  fluxbatch doctor --download-proxy http://proxy:3128    does it let results through
  fluxbatch doctor --simulate                     without a key, against the embedded simulator
  fluxbatch doctor --json | jq '.checks[] | select(.level != "ok")'

Exit codes: 0 nothing is in the way of a run, 2 it would not start, 3 it would stop early.
"""


@click.command(help=_HELP, short_help="is everything there that a run needs")
@base_url_option
@key_file_option
@ca_file_option
@download_proxy_option
@click.option("-o", "--out", default=".", metavar="DIR|URL", help="Where images would land.")
@click.option(
    "--state", type=click.Path(path_type=Path), metavar="DIR", help="Where the ledger lives, if not in there."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=Settings().concurrency,
    show_default=True,
    help="Of the run that is planned.",
)
@click.option("--simulate", is_flag=True, help="Look at the embedded simulator instead of the API.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def doctor(*, as_json: bool, **options: Any) -> int:
    """Look at everything that a run needs."""
    import anyio

    from fluxbatch.app.doctor import check_up
    from fluxbatch.policy.checkup import exit_code_of

    checks = anyio.run(check_up, _request(options))
    code = exit_code_of(checks)
    if as_json:
        import orjson

        facts = [{"name": one.name, "level": one.level, "message": one.message, "remedy": one.remedy} for one in checks]
        click.echo(orjson.dumps({"exit_code": code, "checks": facts}).decode())
    else:
        click.echo("\n".join(line for check in checks for line in _lines(check)))
    return code


def _request(options: dict[str, Any]) -> CheckupRequest:
    from fluxbatch.app.doctor import CheckupRequest

    file, key, error = options.pop("api_key_file"), "", None
    if not options["simulate"]:
        try:
            key = find_key(file)
        except UsageError as problem:
            error = problem
    settings = Settings(concurrency=options.pop("concurrency"))
    out = options.pop("out")
    options["out"] = out if is_store_address(out) else Path(out)
    return CheckupRequest(api_key=key, key_place=key_place(file), key_error=error, settings=settings, **options)


def _lines(check: Check) -> list[str]:
    line = f"{check.level:<8} {check.name + ':':<10}{check.message}"
    return [line, f"{'':<19}{check.remedy}"] if check.remedy else [line]
