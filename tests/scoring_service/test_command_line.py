"""`python -m scoring_service`: what a person at a terminal gets."""

import socket

import pytest

from scoring_service.settings import BadSetting, Settings
from scoring_service.store import write_version
from tests.product import free_ports
from tests.scoring_service import obedient
from tests.scoring_service.asking import run

NEEDED = {"MODEL_STORE": "/models", "SCORING_POOL": "cpu", "SCORING_PORT": "8001"}


def test_help_lists_every_command():
    outcome = run("--help")
    assert outcome.returncode == 0
    for command in ("serve", "train-faq", "evaluate-faq", "train-digits", "fetch-weights", "pack", "score", "index"):
        assert command in outcome.stdout


@pytest.mark.parametrize("command", ["serve", "train-faq", "evaluate-faq", "score", "index", "pack"])
def test_every_command_explains_itself(command):
    assert "usage:" in run(command, "--help").stdout


def test_an_unknown_command_is_refused():
    assert run("fly").returncode == 2


def test_a_pod_that_is_not_told_where_its_models_are_says_so_in_one_line():
    outcome = run("serve")
    assert outcome.returncode == 1
    assert outcome.stderr == "serve: MODEL_STORE is not set\n"


def test_a_taken_port_ends_the_pod_with_a_line_that_says_so(tmp_path):
    [port] = free_ports(1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        outcome = run("serve", MODEL_STORE=str(tmp_path), SCORING_POOL="cpu", SCORING_PORT=str(port))
    assert outcome.returncode != 0
    assert "address already in use" in outcome.stderr
    assert "listening" not in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_the_index_lists_versions_which_serves_and_what_is_wrong(tmp_path):
    obedient.write(tmp_path, title="Ours")
    obedient.write(tmp_path, champion=False)
    broken = obedient.write(tmp_path, champion=False)
    (tmp_path / "obedient" / broken.version / "manifest.json").write_text("{")
    lines = run("index", "--store", str(tmp_path)).stdout.splitlines()
    assert [line.split()[:3] for line in lines[:2]] == [["obedient", "1", "serving"], ["obedient", "2", "kept"]]
    assert "Ours" in lines[0]
    assert "unusable: manifest.json" in lines[2]


def test_the_index_tells_what_each_version_is_for(tmp_path):
    for _ in range(5):
        obedient.write(tmp_path)
    obedient.route(tmp_path, "2", challenger=("3", 12.5), standby="1", warm=["4"])
    lines = run("index", "--store", str(tmp_path)).stdout.splitlines()
    assert [line[12:27].strip() for line in lines] == ["standby", "serving", "challenger 12.5 %"[:15], "warm", "kept"]


def test_the_index_of_an_empty_store_says_so(tmp_path):
    assert run("index", "--store", str(tmp_path)).stdout == f"{tmp_path} holds no models.\n"


def test_scoring_with_a_model_that_is_not_there_says_so(tmp_path):
    outcome = run("score", "hello", "--model", "nothing", "--store", str(tmp_path))
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("score: nothing/routing.json: ")
    assert "Traceback" not in outcome.stderr


def test_scoring_with_a_model_of_which_no_version_serves_yet_says_so(tmp_path):
    obedient.write(tmp_path)
    obedient.route(tmp_path, "", warm=["1"])
    outcome = run("score", "hello", "--model", "obedient", "--store", str(tmp_path))
    assert outcome.stderr == "score: no version of obedient serves yet; say which with --version\n"


def test_scoring_with_a_version_whose_runtime_is_unknown_says_so(tmp_path):
    write_version(tmp_path, "m", lambda folder: {"kind": "faq", "runtime": "magic", "pool": "cpu", "title": "M"})
    outcome = run("score", "hello", "--model", "m", "--version", "1", "--store", str(tmp_path))
    assert outcome.stderr == "score: this program has no runtime 'magic'\n"


# Settings -------------------------------------------------------------------------------------------------------------


def test_settings_are_in_seconds_and_bytes():
    given = {"SCORING_MAX_BODY_MB": "2", "SCORING_DEFAULT_DEADLINE_MS": "1500", "SCORING_MEMORY_MB": "512"}
    settings = Settings.from_env({**NEEDED, **given})
    assert (settings.max_body, settings.default_deadline, settings.memory) == (2 * 2**20, 1.5, 2**29)
    assert settings.token == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SCORING_POOL", "tpu"),
        ("SCORING_PORT", "http"),
        ("SCORING_PORT", "-1"),
        ("SCORING_PORT", "65536"),
        ("SCORING_MAX_ROWS", "0"),
        ("SCORING_MEMORY_MB", "1 GB"),
        ("SCORING_MEMORY_MB", "0"),
        ("SCORING_QUEUE_ROWS", "1e3"),
        ("LOG_FORMAT", "xml"),
        ("MODEL_STORE", ""),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(name, value):
    with pytest.raises(BadSetting, match=name):
        Settings.from_env({**NEEDED, name: value})


def test_a_token_is_read_from_a_mounted_file(tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    assert Settings.from_env({**NEEDED, "SCORING_TOKEN_FILE": str(tmp_path / "token")}).token == "s3cret"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff"])
def test_a_token_file_without_a_token_does_not_open_the_pod(tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(BadSetting, match="SCORING_TOKEN_FILE"):
        Settings.from_env({**NEEDED, "SCORING_TOKEN_FILE": str(tmp_path / "token")})


def test_a_token_file_that_is_not_there_is_named():
    with pytest.raises(BadSetting, match="SCORING_TOKEN_FILE: /nowhere"):
        Settings.from_env({**NEEDED, "SCORING_TOKEN_FILE": "/nowhere"})


def test_settings_do_not_print_the_token():
    assert "s3cret" not in repr(Settings.from_env({**NEEDED, "SCORING_TOKEN": "s3cret"}))
