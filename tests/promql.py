"""What a PromQL expression names, as far as our own rules and panels need it."""

import re
from collections.abc import Mapping

from shared.contracts.metrics import Metric, MetricKind

_METRIC = re.compile(r"\brapport_[a-z0-9_]+")
_SERIES = re.compile(r"\b(rapport_[a-z0-9_]+)\{([^}]*)\}")
_GROUPED = re.compile(r"\bby \(([^)]*)\)")
FROM_THE_SCRAPE = frozenset({"job", "instance", "service", "le"})


def unknown_names(expr: str, metrics: Mapping[str, Metric]) -> set[str]:
    """Metrics and labels that the expression uses and no table has; a label counts as known if any metric used has it."""
    used = {name: _metric(name, metrics) for name in _METRIC.findall(expr)}
    wrong = {name for name, metric in used.items() if metric is None}
    known = FROM_THE_SCRAPE.union(*(metric.labels for metric in used.values() if metric))
    labels = {label.strip() for group in _GROUPED.findall(expr) for label in group.split(",")}
    for _, matchers in _SERIES.findall(expr):
        labels |= {re.split(r"=|!", matcher)[0].strip() for matcher in matchers.split(",") if matcher}
    if any(name.startswith("rapport_") for name in used):
        wrong |= labels - known
    return wrong


def _metric(name: str, metrics: Mapping[str, Metric]) -> Metric | None:
    for suffix in ("_bucket", "_sum", "_count"):
        found = metrics.get(name.removesuffix(suffix))
        if name.endswith(suffix) and found and found.kind is MetricKind.HISTOGRAM:
            return found
    return metrics.get(name)
