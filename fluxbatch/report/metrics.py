"""Figures of a run in the text format of Prometheus, for a file that an exporter reads (``metrics`` extra)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import ModuleType

__all__ = ["URL_AGES_S", "Ages", "Measures", "load", "metrics_text"]

URL_AGES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 240.0, 360.0, 480.0, 540.0, 600.0)
"""upper bounds of the histogram; a URL lives for ten minutes"""


@dataclass(slots=True)
class Ages:
    """A histogram of seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(URL_AGES_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(URL_AGES_S, seconds)] += 1
        self.total_s += seconds


@dataclass(slots=True, kw_only=True)
class Measures:
    """A run in figures. Amounts are USD, moments epoch seconds.

    Attributes:
        requests: sent, by model.
        verdicts: how requests ended: ``image``, or an error code.
        charges: requests by ``charged``, ``unknown`` and ``none``.
        usd: ``charged``, and ``unknown`` for what was maybe billed.
        failed: jobs by error code.
        stored, stored_bytes, lost: images on disk, what they weigh, and images paid for in vain.
        retries: downloads that were begun again.
        url_ages: of images that were fetched.
        in_flight, limit: requests under way, and how many may be.
        leases: images paid for that are not on disk yet; ``oldest_lease_s``: the age of the URL that dies first.
        to_make: images that the plan asked for.
        begun_at, ended_at, exit_code: the last two are None while it lives.
        info: facts of the run that are no figures.
    """

    requests: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    charges: Counter[str] = field(default_factory=lambda: Counter(charged=0, unknown=0, none=0))
    usd: Mapping[str, float] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    stored: int = 0
    stored_bytes: int = 0
    lost: int = 0
    retries: int = 0
    url_ages: Ages = field(default_factory=Ages)
    in_flight: int = 0
    limit: int = 0
    leases: int = 0
    oldest_lease_s: float = 0.0
    to_make: int = 0
    begun_at: float = 0.0
    ended_at: float | None = None
    exit_code: int | None = None
    info: Mapping[str, str] = field(default_factory=dict)


def load() -> ModuleType:
    """The library that writes the format.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import prometheus_client.core
    except ImportError as error:
        raise UsageError(
            "--metrics-file needs a library that is not installed", remedy="pip install 'fluxbatch[metrics]'"
        ) from error
    return prometheus_client


def metrics_text(measures: Measures) -> bytes:
    """All figures, each with its help and type. Counters begin anew with each run."""
    prometheus: Any = load()
    registry = prometheus.CollectorRegistry()
    registry.register(_Collector(prometheus.core, measures))
    text: bytes = prometheus.generate_latest(registry)
    return text


class _Collector:
    def __init__(self, core: Any, measures: Measures) -> None:
        self._core = core
        self._measures = measures

    def collect(self) -> Iterator[Any]:
        yield from self._counters(self._measures)
        yield from self._gauges(self._measures)
        yield self._ages(self._measures.url_ages)

    def _counters(self, its: Measures) -> Iterator[Any]:
        yield self._counter("requests", "Requests sent.", "model", its.requests)
        yield self._counter("verdicts", "Requests by how they ended: image, or an error code.", "verdict", its.verdicts)
        yield self._counter("charges", "Requests by what is known of their charge.", "charge", its.charges)
        yield self._counter("spent_usd", "USD billed (charged) and maybe billed (unknown).", "charge", its.usd)
        yield self._counter("failed_jobs", "Jobs that failed or are held, by error code.", "code", its.failed)
        yield self._counter("stored_images", "Images on disk, verified.", "", {"": its.stored})
        yield self._counter("stored_bytes", "Bytes of the images on disk.", "", {"": its.stored_bytes})
        yield self._counter("lost_images", "Images paid for that could not be fetched.", "", {"": its.lost})
        yield self._counter("download_retries", "Downloads that were begun again.", "", {"": its.retries})

    def _gauges(self, its: Measures) -> Iterator[Any]:
        yield self._gauge("requests_in_flight", "Requests under way.", its.in_flight)
        yield self._gauge("requests_limit", "Requests that may be under way.", its.limit)
        yield self._gauge("leases", "Images paid for that are not on disk yet.", its.leases)
        yield self._gauge("oldest_lease_age_seconds", "Age of the URL that dies first.", its.oldest_lease_s)
        yield self._gauge("images_to_make", "Images that the plan asks for.", its.to_make)
        yield self._gauge("run_start_timestamp_seconds", "When the run began.", its.begun_at)
        if its.ended_at is not None:
            yield self._gauge("run_end_timestamp_seconds", "When the run ended.", its.ended_at)
        if its.exit_code is not None:
            yield self._gauge("run_exit_code", "What the run ended with.", its.exit_code)
        info = self._core.InfoMetricFamily("fluxbatch_run", "The run.", labels=())
        info.add_metric((), dict(its.info))
        yield info

    def _ages(self, ages: Ages) -> Any:
        family = self._core.HistogramMetricFamily(
            "fluxbatch_url_age_seconds", "Age of a result URL when its last byte came.", labels=()
        )
        bounds = [*map(str, URL_AGES_S), "+Inf"]
        family.add_metric((), list(zip(bounds, accumulate(ages.counts), strict=True)), ages.total_s)
        return family

    def _counter(self, name: str, words: str, label: str, values: Mapping[str, float]) -> Any:
        family = self._core.CounterMetricFamily(f"fluxbatch_{name}", words, labels=_labels(label))
        for value, number in sorted(values.items()):
            family.add_metric([value] if label else [], number)
        return family

    def _gauge(self, name: str, words: str, value: float) -> Any:
        return self._core.GaugeMetricFamily(f"fluxbatch_{name}", words, value=value)


def _labels(label: str) -> Iterable[str]:
    return [label] if label else []
