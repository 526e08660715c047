"""docker/compose.yaml and its secrets, as far as files say it. tests/docker/images runs the stack."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_more_rights_than_it_needs(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & set(service)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_limits(name):
    assert {"mem_limit", "cpus", "pids_limit"} <= set(SERVICES[name])


def test_only_the_site_and_prometheus_can_be_reached_and_from_this_machine_alone():
    assert {name for name in SERVICES if "ports" in SERVICES[name]} == {"web", "prometheus"}
    assert SERVICES["web"]["ports"] == ["${BIND:-127.0.0.1}:${PORT:-8000}:8000"]
    assert SERVICES["prometheus"]["ports"] == ["127.0.0.1:${PROMETHEUS_PORT:-9090}:9090"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    outside = {name for name in SERVICES if "outside" in SERVICES[name].get("networks", [])}
    assert outside == {"web", "worker", "trainer", "beat", "prometheus"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_reads_every_secret_from_a_file_of_its_own(name):
    environment = SERVICES[name].get("environment", {})
    source = (ROOT / "webapp" / "settings.py").read_text()
    secret = {*re.findall(r'env_secret\("(\w+)"', source), "POSTGRES_PASSWORD"}
    assert {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"} <= secret
    assert set(environment) & secret == set()
    files = {value.removeprefix("/run/secrets/") for key, value in environment.items() if key.endswith("_FILE")}
    given = set(SERVICES[name].get("secrets", []))
    assert files <= given <= set(COMPOSE["secrets"])


def test_only_the_site_knows_its_secrets():
    knowing = {name for name in SERVICES if "secret_key" in SERVICES[name].get("secrets", [])}
    assert knowing == {"web", "worker", "trainer", "beat", "migrate"}


def test_prometheus_takes_the_rules_of_the_cluster(tmp_path):
    shell, option, script = SERVICES["prometheus"]["entrypoint"]
    script, serve = script.replace("$$", "$").split("exec ")
    assert serve.startswith("prometheus ")
    alerts = ROOT / "k8s" / "components" / "monitoring" / "alerts"
    script = script.replace('"/tmp/', f'"{tmp_path}/').replace("/etc/scorepod/alerts", str(alerts))
    subprocess.run([shell, option, script], check=True)
    config = tmp_path / "prometheus.yml"
    config.write_text((ROOT / "docker" / "prometheus.yml").read_text().replace("/tmp/", f"{tmp_path}/"))
    subprocess.run(["promtool", "check", "config", "--lint-fatal", config], check=True)


def test_prometheus_asks_whatever_tells_metrics():
    [job] = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text())["scrape_configs"]
    [static], [looked_up] = job["static_configs"], job["dns_sd_configs"]
    asked = {*static["targets"], *(f"{name}:{looked_up['port']}" for name in looked_up["names"])}
    site = {f"{name}:9100" for name in ("web", "worker", "trainer", "beat")}
    assert asked == site | {f"{name}:8001" for name in SERVICES if name.startswith("scoring-")}


def make_secrets(folder):
    outcome = subprocess.run(
        [ROOT / "docker" / "compose.sh", "secrets"],
        env={"PATH": "/usr/bin:/bin", "SECRETS": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return {path.name: path.read_text().strip() for path in folder.iterdir()}


def test_every_secret_is_made_up_once(tmp_path):
    made = make_secrets(tmp_path / "secrets")
    assert set(made) == set(COMPOSE["secrets"])
    assert len(set(made.values())) == len(made)
    assert len(made["secret_key"]) >= 48
    assert make_secrets(tmp_path / "secrets") == made
    assert made != make_secrets(tmp_path / "others")


def test_addresses_hold_the_passwords_of_their_servers(tmp_path):
    made = make_secrets(tmp_path)
    assert made["database_url"] == f"postgres://scorepod:{made['postgres_password']}@postgres/scorepod"
    assert made["redis_url"] == f"redis://:{made['redis_conf'].removeprefix('requirepass ')}@redis:6379/0"


def test_nobody_else_gets_at_the_secrets_and_containers_can_read_them(tmp_path):
    make_secrets(tmp_path)
    assert oct(tmp_path.stat().st_mode & 0o777) == "0o700"
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o444"}


def test_a_new_secret_replaces_one_that_was_removed_and_no_other(tmp_path):
    made = make_secrets(tmp_path)
    (tmp_path / "scoring_token").unlink()
    again = make_secrets(tmp_path)
    assert {name for name in made if made[name] != again[name]} == {"scoring_token"}
