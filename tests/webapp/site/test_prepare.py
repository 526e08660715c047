"""`manage.py prepare` in an environment of its own, as `make run` and containers call it."""

import os
import socket
import subprocess
import sys

import pytest

from tests.product import ROOT, free_ports


def prepare(*arguments, **env):
    return subprocess.Popen(
        [sys.executable, "manage.py", "prepare", *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("no_static", [False, True])
def test_addresses_come_from_files_and_an_image_keeps_its_static_files(tmp_path, no_static):
    (tmp_path / "url").write_text(f"sqlite:///{tmp_path / 'site.sqlite3'}\n")
    env = {"DATABASE_URL_FILE": str(tmp_path / "url"), "STATIC_ROOT": str(tmp_path / "static")}
    process = prepare(*["--no-static"] * no_static, **env)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert (tmp_path / "site.sqlite3").exists()
    assert (tmp_path / "static" / "staticfiles.json").exists() is not no_static


def refusing(listener, times):
    """Hangs up on so many clients."""
    for _ in range(times):
        connection, _address = listener.accept()
        connection.close()


def test_it_waits_for_a_database_that_is_not_there_yet():
    """It asks again, as long as it was told to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        url = f"postgres://somebody@127.0.0.1:{listener.getsockname()[1]}/site"
        process = prepare("--wait", "600", DATABASE_URL=url)
        try:
            refusing(listener, 6)  # one attempt makes two connections: the first asks for TLS
            assert process.poll() is None
        finally:
            process.kill()
            process.communicate()


def test_a_database_that_is_away_ends_it_at_once_without_wait():
    [port] = free_ports(1)
    process = prepare(DATABASE_URL=f"postgres://somebody@127.0.0.1:{port}/site")
    said, _ = process.communicate()
    assert process.returncode != 0
    assert "OperationalError" in said
