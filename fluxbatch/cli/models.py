"""``fluxbatch models``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

import click

__all__ = ["models"]

_HELP: Final = """Models, their limits, and what an image costs.

\b
  fluxbatch models
  fluxbatch models --json
"""


@click.command(help=_HELP, short_help="models, limits, prices")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def models(*, as_json: bool) -> int:
    """List the models."""
    from fluxbatch.model.flux import DEFAULT_MODEL, known_models, prices_as_of

    known = known_models()
    if as_json:
        import orjson

        facts = {
            "prices_as_of": prices_as_of(),
            "default": DEFAULT_MODEL,
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
    click.echo(f"\nPrices of apiyi, flat per image, as of {prices_as_of()}; for others: run --price MODEL=USD")
    return 0
