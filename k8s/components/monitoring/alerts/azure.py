"""Writes the rules of this folder as Azure Monitor takes them, which does not read PrometheusRule:

    .venv/bin/python k8s/components/monitoring/alerts/azure.py \\
        --workspace ID --cluster NAME [--action-group ID] > rules.json
    az deployment group create --resource-group GROUP --template-file rules.json

workspace: resource id of the Azure Monitor workspace; cluster: name of the AKS cluster; action group: resource id of
those who are told. What was deployed before is replaced.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

FILES = ("service-levels.yaml", "alerts.yaml")
SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
SEVERITY = {"critical": 1, "warning": 3}  # Azure's, from 0 to 4


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes an ARM template of our rules to standard output.")
    parser.add_argument("--workspace", required=True, help="resource id of the Azure Monitor workspace")
    parser.add_argument("--cluster", required=True, help="name of the AKS cluster")
    parser.add_argument("--action-group", help="resource id of the action group that is told")
    options = parser.parse_args()
    groups = [
        group
        for name in FILES
        for group in yaml.safe_load((Path(__file__).parent / name).read_text())["spec"]["groups"]
    ]
    resources = [resource_of(group, options) for group in groups]
    json.dump({"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": resources}, sys.stdout, indent=2)
    sys.stdout.write("\n")


def resource_of(group: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    return {
        "type": "Microsoft.AlertsManagement/prometheusRuleGroups",
        "apiVersion": "2023-03-01",
        "name": group["name"],
        "location": "[resourceGroup().location]",
        "properties": {
            "enabled": True,
            "clusterName": options.cluster,
            "scopes": [options.workspace],
            "interval": "PT1M",
            "rules": [rule_of(rule, options.action_group) for rule in group["rules"]],
        },
    }


def rule_of(rule: dict[str, Any], action_group: str | None) -> dict[str, Any]:
    expression = " ".join(rule["expr"].split())
    if "record" in rule:
        return {"record": rule["record"], "expression": expression}
    return {
        "alert": rule["alert"],
        "enabled": True,
        "expression": expression,
        "for": f"PT{rule.get('for', '0m').upper()}",
        "severity": SEVERITY[rule["labels"]["severity"]],
        "labels": rule["labels"],
        "annotations": rule["annotations"],
        "resolveConfiguration": {"autoResolved": True, "timeToResolve": "PT10M"},
        "actions": [{"actionGroupId": action_group}] if action_group else [],
    }


if __name__ == "__main__":
    main()
