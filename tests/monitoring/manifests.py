"""Alert rules and dashboards as they lie in k8s/, read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.product import ROOT

FOLDER = ROOT / "k8s" / "components" / "monitoring"
ALERTS, LEVELS = FOLDER / "alerts" / "alerts.yaml", FOLDER / "alerts" / "service-levels.yaml"
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
PAGE = ROOT / "docs" / "operations.md"

# Ours, and the two that every target has.
METRIC = re.compile(r"(?<![\w:])(?:scorepod_|scoring_|process_)\w+|(?<![\w:])up(?=[{\s])")
SELECTOR = re.compile(r"((?:scorepod|scoring)_\w+)\{([^}]*)\}")


def groups_of(path: Path) -> list[dict[str, Any]]:
    return yaml.safe_load(path.read_text())["spec"]["groups"]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in groups_of(ALERTS) for rule in group["rules"]]


def records() -> list[dict[str, Any]]:
    return [rule for group in groups_of(LEVELS) for rule in group["rules"]]


def panels(dashboard: Path) -> list[dict[str, Any]]:
    return json.loads(dashboard.read_text())["panels"]


def expressions() -> Iterator[str]:
    """All that rules and dashboards ask of Prometheus."""
    for rule in (*alerts(), *records()):
        yield rule["expr"]
    for dashboard in DASHBOARDS:
        for panel in panels(dashboard):
            yield from (target["expr"] for target in panel.get("targets", []))


def metrics_in(expression: str) -> set[str]:
    """The names of the metrics that an expression reads."""
    return set(METRIC.findall(expression))


def labels_in(expression: str) -> set[tuple[str, str]]:
    """The labels that an expression selects by, each with the name of its metric."""
    return {
        (metric, label)
        for metric, inside in SELECTOR.findall(expression)
        for label in re.findall(r"(\w+)\s*[=!]", inside)
    }
