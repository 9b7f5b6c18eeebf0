"""``fluxbatch models``."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final

import click

from fluxbatch.cli.options import price_file_option

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["models"]

_HELP: Final = """Models, their limits, and what an image costs.

\b
  fluxbatch models
  fluxbatch models --json
  fluxbatch models --prices mine.toml      with a price list of your own, as `run --prices` takes it

\b
  # mine.toml
  as_of = "2026-12"
  [usd]                                    # of an image; models that are not named keep their price
  flux-2-pro = 0.028
"""


@click.command(help=_HELP, short_help="models, limits, prices")
@price_file_option
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def models(*, price_file: Path | None, as_json: bool) -> int:
    """List the models."""
    from fluxbatch.app.prices import Prices, read_prices
    from fluxbatch.model.flux import DEFAULT_MODEL, known_models, prices_as_of

    own = Prices({}) if price_file is None else read_prices(price_file)
    known = {name: replace(one, usd=own.usd.get(name, one.usd)) for name, one in known_models().items()}
    if as_json:
        import orjson

        facts = {
            "prices_as_of": prices_as_of(),
            "default": DEFAULT_MODEL,
            "own_prices": dict(own.usd),
            "models": [asdict(one) for one in known.values()],
        }
        click.echo(orjson.dumps(facts).decode())
        return 0
    click.echo(f"{'model':<18} {'images':>6} {'USD/image':>10}  {'within':>7}  notes")
    for one in known.values():
        notes = ["the default"] if one.id == DEFAULT_MODEL else []
        if one.steps and one.guidance:
            notes.append(f"steps {one.steps[0]}-{one.steps[1]}, guidance {one.guidance[0]:g}-{one.guidance[1]:g}")
        if one.max_total_megapixels:
            notes.append(f"{one.max_total_megapixels:g} MP for inputs and output together")
        if one.concurrency:
            notes.append(f"{one.concurrency} requests at a time")
        if one.aspect_range:
            (low_w, low_h), (high_w, high_h) = one.aspect_range
            notes.append(f"aspect ratio {low_w}:{low_h} to {high_w}:{high_h}")
        price = "?" if one.usd is None else f"{one.usd:g}"
        click.echo(f"{one.id:<18} {one.max_images:>6} {price:>10}  {one.latency_s:>5g} s  {', '.join(notes)}".rstrip())
    for name in own.usd.keys() - known.keys():
        click.echo(f"{name:<18} {'':>6} {own.usd[name]:>10g}")
    click.echo(f"\nPrices of apiyi, flat per image, as of {prices_as_of()}; for others: run --price MODEL=USD")
    if own.usd:
        click.echo(f"Of {price_file}{f', as of {own.as_of}' if own.as_of else ''}: {', '.join(own.usd)}")
    return 0
