"""Photos are made fit for the API, with Pillow."""

from fluxbatch.adapters.fitting.decoder import PillowDecoder
from fluxbatch.adapters.fitting.fitter import PillowFitter

__all__ = ["PillowDecoder", "PillowFitter"]
