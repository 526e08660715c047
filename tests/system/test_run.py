"""`make run` on one machine: what it prints, what it keeps, how it stops, and what it does when a process dies."""

import os
import shutil
import signal
import socket
import sqlite3
import stat
import time
from contextlib import closing, suppress
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.product import READY_WITHIN, free_ports, running, started
from tests.system.site_client import sign_in
from tests.worker import wait_until
from webapp import embedded


def test_it_prints_the_address_and_two_users_who_can_sign_in(product):
    secrets = product.secrets
    assert product.url in product.log
    for email, password in (
        ("demo@example.com", secrets["DEMO_PASSWORD"]),
        ("admin@example.com", secrets["ADMIN_PASSWORD"]),
    ):
        assert f"{email} " in product.log
        assert password in product.log
        with httpx.Client(base_url=product.url) as client:
            assert sign_in(client, email, password).url.path == "/faq/"


def test_what_the_environment_says_of_the_users_is_what_it_prints(monkeypatch, tmp_path):
    monkeypatch.setenv("DEMO_PASSWORD", "chosen-by-hand")
    monkeypatch.setenv("ADMIN_EMAIL", "ada@example.org")
    made_up = {"DEMO_PASSWORD": "made-up", "ADMIN_PASSWORD": "made-up-too"}
    ports = {"PORT": 9000, "SCORING_CPU_PORT": 9001, "SCORING_GPU_PORT": 9002}
    printed = embedded.announcement(embedded.environment(tmp_path, ports, made_up), tmp_path / "secrets.env")
    assert "demo@example.com   chosen-by-hand" in printed
    assert "ada@example.org  made-up-too" in printed


def test_the_admin_user_may_open_the_admin_and_the_demo_user_may_not(product):
    statuses = {}
    for who in ("DEMO", "ADMIN"):
        with httpx.Client(base_url=product.url) as client:
            sign_in(client, f"{who.lower()}@example.com", product.secrets[f"{who}_PASSWORD"])
            statuses[who] = client.get("/admin/", follow_redirects=True).status_code
    assert statuses == {"DEMO": 403, "ADMIN": 200}


def test_only_the_owner_can_read_the_secrets(product):
    assert stat.S_IMODE((product.var / "secrets.env").stat().st_mode) == 0o600


def test_a_taken_port_is_one_line_that_says_what_to_do(tmp_path):
    port, *others = free_ports(3)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        ports = dict(zip(("PORT", "SCORING_CPU_PORT", "SCORING_GPU_PORT"), (port, *others), strict=True))
        with started(tmp_path / "var", ports) as product:
            assert product.process.wait(timeout=60) == 1
            time.sleep(0.2)
    [line] = product.lines
    assert f"port {port} cannot be used" in line
    assert "PORT=" in line


NAMES = ("web", "scoring-cpu", "scoring-gpu", "worker")


@pytest.fixture
def var(product, tmp_path) -> Path:
    """A folder for another product, with the models that were trained for the first."""
    var = tmp_path / "var"
    shutil.copytree(product.var / "models", var / "models")
    return var


def test_a_second_start_keeps_users_models_and_secrets_and_ctrl_c_stops_everything(var):
    with running(var) as first:
        secrets = first.secrets
        assert "Training" not in first.log, "the models are there already"
        assert first.interrupt() == 0
    with running(var) as second:
        assert second.secrets == secrets
        with httpx.Client(base_url=second.url) as client:
            assert sign_in(client, "demo@example.com", secrets["DEMO_PASSWORD"]).url.path == "/faq/"
        started_here = [pid for name in NAMES for pid in second.pids(name)]
        began = time.monotonic()
        assert second.interrupt() == 0
        assert time.monotonic() - began < 10
    assert "Traceback" not in second.log
    assert not [pid for pid in started_here if is_running(pid)]


def test_what_is_killed_as_a_whole_leaves_nothing_behind_and_starts_again(var):
    with running(var) as first:
        wait_until(lambda: last_watched(var))
        started_here = [pid for name in NAMES for pid in first.pids(name)]
        first.process.kill()
        first.process.wait()
        wait_until(lambda: not [pid for pid in started_here if is_running(pid)])
    killed = last_watched(var)
    with running(var, first.ports) as second:
        wait_until(lambda: last_watched(var) > killed)
        assert second.interrupt() == 0


def test_it_goes_on_though_nobody_reads_what_it_prints_and_stops_when_told(var):
    with started(var, read=1) as product:
        wait_until(lambda: ready(product.url, "/health/ready"), within=READY_WITHIN)
        wait_until(lambda: last_watched(var))
        product.process.send_signal(signal.SIGTERM)
        assert product.process.wait(timeout=30) == 0
        assert not ready(product.url, "/health/ready")
        assert not ready(product.cpu_url)


def test_the_worker_looks_after_the_registry_and_is_started_again_when_killed(product):
    wait_until(lambda: last_watched(product.var))
    restarts = product.log.count("worker      | ended by itself; starting it again")
    os.kill(product.pids("worker")[-1], signal.SIGKILL)
    killed = last_watched(product.var)
    assert httpx.get(f"{product.url}/health/ready").status_code == 200
    product.wait_for("worker      | ended by itself; starting it again", times=restarts + 1)
    wait_until(lambda: last_watched(product.var) > killed)


def test_a_killed_pod_is_started_again_and_the_site_stays_up(product):
    os.kill(product.pids("scoring-cpu")[-1], signal.SIGKILL)
    assert httpx.get(f"{product.url}/health/ready").status_code == 200
    product.wait_for("ended by itself; starting it again")
    until = time.monotonic() + 60
    while not ready(product.cpu_url):
        assert time.monotonic() < until, product.log[-4000:]
        time.sleep(0.1)


def test_a_killed_site_takes_in_callers_again_though_old_ones_keep_its_process_busy(product):
    with httpx.Client(base_url=product.url) as old:
        assert old.get("/health/ready").status_code == 200
        os.kill(product.pids("web")[-1], signal.SIGKILL)
        until = time.monotonic() + 20  # its orphans would linger for 30 s
        while not ready(product.url, "/health/ready"):
            assert time.monotonic() < until, product.log[-4000:]
            with suppress(httpx.TransportError):
                old.get("/health/ready")
            time.sleep(0.1)
    product.wait_for("web         | ended by itself; starting it again")


def last_watched(var: Path) -> str:
    """When the worker last looked after the registry; empty before the first time."""
    with closing(sqlite3.connect(f"file:{var / 'db.sqlite3'}?mode=ro", uri=True, timeout=10)) as database:
        found = database.execute("SELECT at FROM registry_pulse WHERE name = 'watch'").fetchone()
    return found[0] if found else ""


def ready(url: str, path: str = "/v2/health/ready") -> bool:
    try:
        return httpx.get(f"{url}{path}").status_code == 200
    except httpx.TransportError:
        return False


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
