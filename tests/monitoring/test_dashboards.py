"""Dashboards as Grafana reads them, and whether all that they and the alerts ask for is there to be had."""

import json
import re

import pytest
import yaml

from tests.monitoring import manifests
from tests.monitoring.manifests import DASHBOARDS, expressions, labels_in, metrics_in

ADDED_BY_PROMETHEUS = {"job", "pod", "instance", "le"}
each = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)


@each
def test_a_dashboard_has_a_name_of_its_own_and_its_panels_have_ids_and_places_of_their_own(dashboard):
    content = json.loads(dashboard.read_text())
    assert content["uid"] == dashboard.stem
    assert len(content["uid"]) <= 40, "Grafana takes no longer one"
    panels = content["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(places)) == len(places), "two panels at one place"
    assert max(x for x, _ in places) < 24


@each
def test_each_panel_says_what_it_shows_of_which_source(dashboard):
    for panel in manifests.panels(dashboard):
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert panel["targets"], panel["title"]


@each
def test_each_variable_that_a_panel_uses_is_there(dashboard):
    content = json.loads(dashboard.read_text())
    known = {variable["name"] for variable in content["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(content["panels"])))
    assert used == known


def test_dashboards_have_names_of_their_own():
    names = [json.loads(path.read_text())["title"] for path in DASHBOARDS]
    assert len(set(names)) == len(names) >= 3


def test_all_that_rules_and_dashboards_ask_for_is_told_by_a_running_program(watched):
    wanted = {name for expression in expressions() for name in metrics_in(expression)} - {"up"}
    # No certificate is looked at where the site speaks plain HTTP; tests/webapp/site/test_standing.py does.
    wanted -= {"scorepod_certificate_ends_timestamp_seconds", "scorepod_certificate_valid"}
    assert len(wanted) > 40
    assert wanted - watched.scrape.names == set()


def test_all_labels_that_rules_and_dashboards_select_by_are_there(watched):
    scrape = watched.scrape
    wanted = {each for expression in expressions() for each in labels_in(expression)}
    without_samples = {"scoring_device_memory_bytes", "scoring_version_unusable"}  # no GPU here, and nothing is wrong
    missing = {
        (metric, label)
        for metric, label in wanted
        if metric not in without_samples and label not in scrape.labels_of(metric) | ADDED_BY_PROMETHEUS
    }
    assert missing == set()


def test_all_service_levels_that_are_asked_for_are_recorded():
    recorded = {rule["record"] for rule in manifests.records()}
    asked = {name for text in expressions() for name in re.findall(r"scorepod:\w+:\w+", text)}
    assert asked == recorded


def test_both_kinds_of_monitors_ask_the_same_of_the_same_pods():
    def read(folder: str) -> list[dict]:
        return list(yaml.safe_load_all((manifests.FOLDER / folder / "monitors.yaml").read_text()))

    operator, azure = read("operator"), read("azure")
    assert {each.pop("apiVersion") for each in operator} == {"monitoring.coreos.com/v1"}
    assert {each.pop("apiVersion") for each in azure} == {"azmonitoring.coreos.com/v1"}
    assert operator == azure
