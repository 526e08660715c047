"""Alert rules as Prometheus's own tool reads them: what makes each fire, and the section that its link names."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring import manifests

CASES = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())
RULES = {rule["alert"]: rule for rule in manifests.alerts()}


@pytest.fixture(scope="module")
def rule_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The rules as Prometheus takes them: without what Kubernetes has around them."""
    folder = tmp_path_factory.mktemp("rules")
    for path in (manifests.LEVELS, manifests.ALERTS):
        (folder / path.name).write_text(yaml.safe_dump({"groups": manifests.groups_of(path)}))
    return sorted(folder.iterdir())


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_promtool_reads_all_rules(rule_files):
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *rule_files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout


@pytest.mark.parametrize("case", CASES, ids=[case["what"] for case in CASES])
def test_an_alert_fires_when_it_should(case, rule_files, tmp_path):
    expected = {**dict.fromkeys(case.get("quiet", [])), **case.get("fires", {})}
    test = {
        "interval": case.get("interval", "1m"),
        "input_series": [{"series": name, "values": str(values)} for name, values in case["series"].items()],
        "alert_rule_test": [
            {
                "eval_time": case["at"],
                "alertname": name,
                "exp_alerts": [] if labels is None else [as_fired(RULES[name], labels)],
            }
            for name, labels in expected.items()
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(path) for path in rule_files],
                "evaluation_interval": "10m" if case["at"].endswith("h") else "1m",  # of days, each minute takes long
                "group_eval_order": [
                    group["name"]
                    for path in (manifests.LEVELS, manifests.ALERTS)
                    for group in manifests.groups_of(path)
                ],
                "tests": [test],
            }
        )
    )
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def as_fired(rule: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    """The alert as it is sent, its labels written into its annotations."""
    filled = {
        name: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels.get(found[1], ""), text)
        for name, text in rule["annotations"].items()
    }
    return {"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": filled}


def test_each_alert_is_tried_and_each_quiet_one_exists():
    assert {name for case in CASES for name in case.get("fires", {})} == set(RULES)
    assert {name for case in CASES for name in case.get("quiet", [])} <= set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_an_alert_leads_to_its_section_of_the_operations_page(name):
    headings = re.findall(r"^#+ (.+)$", manifests.PAGE.read_text(), re.MULTILINE)
    assert RULES[name]["annotations"]["runbook_url"].endswith(f"docs/operations.md#{name.lower()}")
    assert name in headings
    assert RULES[name]["labels"]["severity"] in {"critical", "warning"}


def test_no_section_is_about_an_alert_that_is_not_there():
    described = set(re.findall(r"^#+ (Scorepod\w+)$", manifests.PAGE.read_text(), re.MULTILINE))
    assert described == set(RULES)


def test_azure_gets_the_same_rules(tmp_path):
    script = manifests.FOLDER / "alerts" / "azure.py"
    workspace = "/subscriptions/0/resourceGroups/g/providers/microsoft.monitor/accounts/w"
    arguments = ["--workspace", workspace, "--cluster", "scorepod", "--action-group", "/subscriptions/0/them"]
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=True)
    groups = json.loads(done.stdout)["resources"]
    rules = [rule for group in groups for rule in group["properties"]["rules"]]
    assert {rule["alert"] for rule in rules if "alert" in rule} == set(RULES)
    assert {rule["record"] for rule in rules if "record" in rule} == {rule["record"] for rule in manifests.records()}
    assert all(len(group["properties"]["rules"]) <= 20 for group in groups), "Azure takes no more in a group"
    assert all(group["properties"]["scopes"] == [workspace] for group in groups)
    for rule in rules:
        if "alert" in rule:
            assert re.fullmatch(r"PT\d+[MH]", rule["for"]), rule
            assert rule["actions"] == [{"actionGroupId": "/subscriptions/0/them"}]
    as_records = [{"record": f"rule_{number}", "expr": rule["expression"]} for number, rule in enumerate(rules)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": as_records}]}))
    assert promtool("check", "rules", tmp_path / "rules.yaml").returncode == 0, "written on one line they still parse"
