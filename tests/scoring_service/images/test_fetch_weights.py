"""`make weights`: published weights from the network or a file, checked, converted, registered."""

import hashlib
import http.server
import re
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torchvision.models import ResNet152_Weights

from scoring_service.__main__ import main
from scoring_service.images import photos
from scoring_service.images.architectures import build
from scoring_service.runtimes.base import Row
from scoring_service.runtimes.torchvision import load
from scoring_service.store import read_manifest, read_routing, verify


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Untrained weights of the smallest ResNet with published ones, in the form PyTorch publishes them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("published") / "resnet18-f37072fd.pth"
    torch.save(build("torchvision", "resnet18", classes=1000).state_dict(), path)
    return path


class Publisher(http.server.ThreadingHTTPServer):
    """Serves one file, understands ranges when told to, and can break off."""

    def __init__(self, content: bytes, *, ranges: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.ranges = content, ranges
        self.break_after: list[int] = []  # bytes sent before each of the next answers breaks off
        self.asked: list[str | None] = []  # the Range header of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/models/resnet18-f37072fd.pth"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        if not self.server.url.endswith(self.path):
            self.send_error(404)
            return
        wanted = self.headers["Range"]
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        content = self.server.content[start:]
        if wanted and self.server.ranges and not content:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.server.break_after:
            self.wfile.write(content[: self.server.break_after.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(content)

    def log_message(self, *_args) -> None:
        pass


@pytest.fixture
def publish() -> Iterator:
    servers = []

    def start(content: bytes, **options) -> Publisher:
        server = Publisher(content, **options)
        servers.append(server)
        threading.Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def fetch(tmp_path, capsys):
    """Runs the command on a store of its own; returns its exit status and what it wrote."""

    def run(*arguments: str) -> tuple[int, str]:
        status = main(["fetch-weights", "--store", str(tmp_path / "store"), "--architecture", "resnet18", *arguments])
        return status, capsys.readouterr().err

    return run


def test_resnet_152_from_a_file_is_registered_and_serves_as_the_weights_enum_says(tmp_path, capsys):
    torch.manual_seed(0)
    file = tmp_path / "resnet152-untrained.pth"
    torch.save(build("torchvision", "resnet152", classes=1000).state_dict(), file)
    store = tmp_path / "store"
    command = ["fetch-weights", "--store", str(store), "--file", str(file), "--sha256", sha256(file)]
    assert main(command) == 0, capsys.readouterr().err

    assert read_routing(store, "resnet152").champion == "1"
    directory = store / "resnet152" / "1"
    manifest = read_manifest(directory)
    verify(directory, manifest)
    assert (manifest.title, manifest.kind, manifest.pool, manifest.sample) == (
        "ResNet-152, ImageNet-1K",
        "image",
        "gpu",
        False,
    )
    assert manifest.parameters["preprocessing"]["resize"] == [232]
    assert manifest.data.description == "1,000 categories of ImageNet; torchvision published the weights"
    assert manifest.memory > 3 * manifest.files["weights.safetensors"].size
    assert sorted(path.suffix for path in directory.iterdir() if path.is_file()) == [".json", ".json", ".safetensors"]

    classifier = load(directory, manifest)
    (result,) = classifier.score([Row((photos.jpeg(photos.photo("flower", longest=400)),), {"top_k": 0})])
    assert sorted(result["label"]) == sorted(ResNet152_Weights.IMAGENET1K_V2.meta["categories"])
    ids = dict(zip(result["label"], result["label_id"], strict=True))
    assert (ids["tench"], ids["toilet tissue"]) == ("n01440764", "n15075141")
    classifier.close()


def test_a_file_with_another_hash_is_refused_unless_its_own_is_given(fetch, weights):
    status, said = fetch("--file", str(weights))
    assert status == 1
    assert said.startswith(f"fetch-weights: {weights.name} has SHA-256 {sha256(weights)}, expected f37072fd")
    assert fetch("--file", str(weights), "--sha256", sha256(weights))[0] == 0


def test_a_hash_must_be_whole(fetch, weights):
    with pytest.raises(SystemExit):
        fetch("--file", str(weights), "--sha256", sha256(weights)[:8])


def test_a_download_shows_its_progress_and_is_registered(fetch, weights, publish, tmp_path):
    server = publish(weights.read_bytes())
    status, said = fetch("--url", server.url, "--sha256", sha256(weights))
    assert status == 0, said
    assert [int(tenth) for tenth in re.findall(r"Downloading: (\d+)\d %", said)] == list(range(1, 11))
    assert "of 47 MB" in said
    assert said.endswith("resnet18 version 1 is in the store and serves: ResNet-18, ImageNet-1K.\n")
    assert not list((tmp_path / "store" / ".downloads").iterdir())
    origin = read_manifest(tmp_path / "store" / "resnet18" / "1").parameters["origin"]
    assert origin == {"url": server.url, "sha256": sha256(weights)}


def test_a_second_run_downloads_nothing(fetch, weights, publish):
    assert fetch("--file", str(weights), "--sha256", sha256(weights))[0] == 0
    server = publish(weights.read_bytes())
    status, said = fetch("--url", server.url, "--sha256", sha256(weights))
    assert (status, said) == (0, "resnet18 version 1 has these weights already; nothing to do.\n")
    assert server.asked == []


def test_other_weights_for_a_model_that_serves_wait_for_somebody_to_promote_them(fetch, weights, tmp_path):
    assert fetch("--file", str(weights), "--sha256", sha256(weights))[0] == 0
    torch.save(build("torchvision", "resnet18", classes=1000).state_dict(), other := tmp_path / "other.pth")
    status, said = fetch("--file", str(other), "--sha256", sha256(other))
    assert status == 0
    assert "resnet18 version 2 is in the store and can be promoted; version 1 serves" in said
    assert read_routing(tmp_path / "store", "resnet18").champion == "1"
    assert "version 2 has these weights already" in fetch("--file", str(other), "--sha256", sha256(other))[1]


def test_a_broken_download_goes_on_where_it_stopped(fetch, weights, publish):
    server = publish(weights.read_bytes())
    server.break_after = [20_000_000]
    assert fetch("--url", server.url, "--sha256", sha256(weights))[0] == 0
    assert server.asked == [None, "bytes=20000000-"]


def test_a_later_run_goes_on_where_the_last_one_stopped(fetch, weights, publish):
    server = publish(weights.read_bytes())
    server.break_after = [10_000_000] * 3
    status, said = fetch("--url", server.url, "--sha256", sha256(weights))
    assert status == 1
    assert "the connection broke" in said
    assert "Run it again to go on" in said
    assert fetch("--url", server.url, "--sha256", sha256(weights))[0] == 0
    assert server.asked[-1] == "bytes=30000000-"


def test_a_server_that_cannot_continue_sends_all_again(fetch, weights, publish):
    server = publish(weights.read_bytes(), ranges=False)
    server.break_after = [20_000_000]
    assert fetch("--url", server.url, "--sha256", sha256(weights))[0] == 0


def test_a_download_with_the_wrong_hash_is_thrown_away(fetch, weights, publish, tmp_path):
    server = publish(weights.read_bytes()[:-1] + b"x")
    status, said = fetch("--url", server.url, "--sha256", sha256(weights))
    assert status == 1
    assert f"expected {sha256(weights)}" in said
    assert not list((tmp_path / "store" / ".downloads").iterdir())
    assert not (tmp_path / "store" / "resnet18").exists()


def test_without_a_network_one_line_says_to_bring_the_file(fetch):
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        status, said = fetch("--url", f"http://127.0.0.1:{taken.getsockname()[1]}/resnet18-f37072fd.pth")
    assert status == 1
    assert said.count("\n") == 1
    assert "Connection refused" in said
    assert "--file PATH" in said


@pytest.mark.parametrize(
    ("change", "reason"),
    [(("resnet18", "resnet19"), "answered 404 Not Found"), (("http://", "ftp://"), "not an http or https address")],
)
def test_an_address_without_the_file_is_named_with_the_reason(fetch, publish, change, reason):
    status, said = fetch("--url", publish(b"").url.replace(*change))
    assert status == 1
    assert reason in said


def test_a_file_that_would_run_code_is_refused_though_its_hash_is_known(fetch, tmp_path):
    file = tmp_path / "network.pth"
    torch.save(build("torchvision", "resnet10", classes=2), file)
    status, said = fetch("--file", str(file), "--sha256", sha256(file))
    assert status == 1
    assert "network.pth is refused: it holds more than tensors" in said


def test_weights_of_another_architecture_are_refused(fetch, weights):
    status, said = fetch("--file", str(weights), "--sha256", sha256(weights), "--architecture", "resnet50")
    assert status == 1
    assert "The weights do not fit the architecture" in said


def test_weights_that_give_no_numbers_are_refused(fetch, weights, tmp_path):
    broken = torch.load(weights, weights_only=True)
    broken["fc.bias"][0] = float("nan")
    torch.save(broken, tmp_path / "nan.pth")
    status, said = fetch("--file", str(tmp_path / "nan.pth"), "--sha256", sha256(tmp_path / "nan.pth"))
    assert status == 1
    assert "no usable numbers" in said


def test_a_timm_architecture_is_registered_from_safetensors(fetch, tmp_path):
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file(build("timm", "resnet10t.c3_in1k", classes=1000).state_dict(), file)
    timm = ("--library", "timm", "--architecture", "resnet10t.c3_in1k", "--model", "timm-resnet")
    status, said = fetch(*timm, "--file", str(file))
    assert (status, "say with --sha256" in said) == (1, True)
    assert fetch(*timm, "--file", str(file), "--sha256", sha256(file))[0] == 0
    assert read_manifest(tmp_path / "store" / "timm-resnet" / "1").parameters["library"] == "timm"


def test_an_architecture_nobody_knows_is_refused(fetch):
    status, said = fetch("--architecture", "resnet153")
    assert (status, "torchvision has no weights for 'resnet153'" in said) == (1, True)


def test_the_sample_photos_are_those_in_the_repository(tmp_path):
    assert main(["fetch-weights", "--samples", str(tmp_path)]) == 0
    here = Path(__file__).parents[3] / "frontend" / "img" / "samples" / "photos"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in here.iterdir()
    }
