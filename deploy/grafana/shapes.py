"""What a dashboard is made of: rows of panels, each with its queries. `dashboard.py` turns them into Grafana's JSON."""

from dataclasses import dataclass
from typing import Final

RANGE: Final = "$__rate_interval"


@dataclass(frozen=True)
class Query:
    """One PromQL expression; `legend` is Grafana's template of a series' name."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Chart:
    """Lines over time. `unit` is Grafana's name of a unit; `meaning` stands behind the panel's (i)."""

    title: str
    unit: str
    meaning: str
    queries: tuple[Query, ...]
    stacked: bool = False


@dataclass(frozen=True)
class Figure:
    """One number that is green, and red from `bad` on (upwards, or downwards when `low_is_bad`)."""

    title: str
    unit: str
    meaning: str
    query: Query
    bad: float
    low_is_bad: bool = False


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Chart | Figure, ...]


def per_second(metric: str, by: str) -> Query:
    """Growth of a counter a second, one line for each value of the labels `by`."""
    return Query(f"sum by ({by}) (rate({metric}[{RANGE}]))", " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",")))


def quantiles(metric: str, by: str = "") -> tuple[Query, Query]:
    """Median and 99th percentile of a histogram, one line for each value of the label `by`."""
    labels, named = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    return tuple(  # type: ignore[return-value]
        Query(f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket[{RANGE}])))", f"{name}{named}")
        for q, name in (("0.5", "p50"), ("0.99", "p99"))
    )
