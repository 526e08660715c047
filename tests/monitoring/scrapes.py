"""What programs tell Prometheus, read as it reads it."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx2 as httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


@dataclass
class Scrape:
    """The samples of each target, and the names that it describes, whether or not it has samples of them."""

    samples: dict[str, list[Sample]]
    names: set[str]

    def sum(self, name: str, *, of: str = "", **labels: str) -> float:
        """All samples of the name that have these labels, of all targets or one, added up."""
        return sum(
            sample.value
            for target, samples in self.samples.items()
            for sample in samples
            if of in {"", target} and sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels_of(self, name: str) -> set[str]:
        """The names of the labels that samples of the name have."""
        found = (sample for samples in self.samples.values() for sample in samples if sample.name == name)
        return {label for sample in found for label in sample.labels}

    def values_of(self, name: str, label: str) -> set[str]:
        found = (sample for samples in self.samples.values() for sample in samples if sample.name == name)
        return {sample.labels[label] for sample in found if label in sample.labels}


SERIES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
    "unknown": ("",),
    "info": ("_info",),
    "summary": ("", "_sum", "_count"),
}


def scrape(targets: Mapping[str, str]) -> Scrape:
    """targets: by name, the address of its metrics."""
    found = Scrape({}, set())
    for name, url in targets.items():
        families = list(text_string_to_metric_families(httpx.get(url, timeout=30).raise_for_status().text))
        found.samples[name] = [sample for family in families for sample in family.samples]
        found.names |= {family.name + ending for family in families for ending in SERIES[family.type]}
    return found
