"""What `make audit` says of a repository and of what it depends on."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOLE = {
    "id": "GHSA-xxxx-test",
    "summary": "A hole",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "leaky", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
            "versions": ["1.0"],
        }
    ],
}


@pytest.fixture
def service() -> Iterator[str]:
    """The address of a service that knows of one hole, in a package called leaky."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            leaky = asked["package"]["name"] == "leaky"
            body = json.dumps({"vulns": [HOLE]} if leaky else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_line: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def repository(tmp_path) -> Path:
    """One with a file, a pinned requirement, and nothing to complain about."""
    (tmp_path / "settings.py").write_text("DEBUG = False\n")
    (tmp_path / "requirements.txt").write_text("solid==1.0\n")
    (tmp_path / ".secrets.baseline").write_text((ROOT / ".secrets.baseline").read_text())
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    return tmp_path


def git(where: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True)


def audit(repository: Path, service: str, *more: str) -> subprocess.CompletedProcess[str]:
    requirement = str(repository / "requirements.txt")
    command = [sys.executable, str(ROOT / ".ci" / "audit.py"), "--root", str(repository), "--osv-url", service]
    return subprocess.run(
        [*command, "--requirement", requirement, *more], capture_output=True, text=True, check=False, timeout=120
    )


def test_a_repository_without_faults_passes(repository, service):
    done = audit(repository, service)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No known vulnerabilities found" in done.stdout
    assert "NOT CHECKED" not in done.stdout


def test_a_vulnerable_requirement_is_named(repository, service):
    (repository / "requirements.txt").write_text("solid==1.0\nleaky==1.0\n")
    done = audit(repository, service)
    assert done.returncode == 1
    assert "leaky" in done.stdout
    assert "GHSA-xxxx-test" in done.stdout


def test_a_secret_in_a_file_is_found_with_its_place(repository, service):
    (repository / "settings.py").write_text('DEBUG = False\nAWS_KEY = "AKIA' + "QWERTYUIOPASDFGH" + '"\n')
    done = audit(repository, service)
    assert done.returncode == 1
    assert "settings.py:2" in done.stdout


def test_a_service_that_is_away_is_a_failure_and_said_loudly(repository):
    done = audit(repository, "http://127.0.0.1:9/v1/query")
    assert done.returncode == 2
    assert "!!! NOT CHECKED" in done.stdout


def test_where_it_may_be_away_that_is_still_said_loudly(repository):
    done = audit(repository, "http://127.0.0.1:9/v1/query", "--unreachable", "tell")
    assert done.returncode == 0
    assert "!!! NOT CHECKED" in done.stdout


def test_an_audit_that_breaks_is_no_service_that_is_away(repository, service):
    (repository / "requirements.txt").write_text("no such line\n")
    done = audit(repository, service, "--unreachable", "tell")
    assert done.returncode == 1
    assert "NOT CHECKED" not in done.stdout


def test_the_security_page_names_tests_that_exist():
    page = (ROOT / "docs" / "security.md").read_text()
    shown = [line.rsplit("|", 2)[1] for line in page.splitlines() if line.endswith("` |")]
    names = {name for cell in shown for name in cell.replace("`", "").replace(" ", "").split(",")}
    places = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")]
    assert {name for name in names if not any(place.endswith(f"/{name}") for place in places)} == set()
    assert len(names) > 20
