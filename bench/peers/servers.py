"""The servers that are measured: how each is started, asked and read, and with which settings.

The settings are what each project's own documentation recommends, on a machine of few CPUs: workers, batches, no log of
requests. Batches wait a little where a server knows no other way to fill them.
"""

import base64
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.pods import MODELS, POD_COMMAND, ROOT, free_port
from scoring_service.contract import InferRequest, RequestedOutput, Tensor, encode_request
from scoring_service.cpus import cpu_limit
from scoring_service.images.labels import read_labels

HERE = Path(__file__).resolve().parent
CPUS = cpu_limit()

Asked = tuple[bytes, dict[str, str]]  # a request's body and its headers
Best = tuple[list[int], list[float]]  # an answer: places or classes, best first, and their scores


@dataclass(frozen=True)
class Place:
    """Where a server runs. environment: a peer's own. folder: for its files."""

    environment: Path
    folder: Path
    port: int

    def program(self, name: str) -> str:
        return str(self.environment / "bin" / name)


@dataclass(frozen=True)
class Way:
    """How a server has the workload.

    settings: in words. command: starts it in the foreground, in the place's folder. env: besides PORT and WORKLOAD.
    prepare: what comes before and is no part of a start. exact: whether all of an answer must be the model's own; else
    its first, since the numbers are others.
    """

    settings: str
    command: Callable[[Place], Sequence[str]]
    path: str
    ask: Callable[[Any], Asked]
    read: Callable[[Any], Best]
    env: Callable[[Place], Mapping[str, str]] = field(default=lambda place: {})
    prepare: Callable[[Place], None] = field(default=lambda place: None)
    exact: bool = True


@dataclass(frozen=True)
class Server:
    """package: whose environment it needs and whose version is told; our own has none."""

    name: str
    way: Way
    package: str | None = None


# How they are asked and read ------------------------------------------------------------------------------------------


def as_json(document: object) -> Asked:
    return json.dumps(document).encode(), {"Content-Type": "application/json"}


def as_question(question: str) -> Asked:
    return as_json({"question": question})


def as_file(picture: bytes) -> Asked:
    return picture, {"Content-Type": "image/jpeg"}


def as_form(picture: bytes) -> Asked:
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="picture"; filename="picture.jpg"\r\n'
    body = f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + picture + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def as_base64(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def as_tensor(element: str | bytes) -> Asked:
    """By our contract: a question in JSON, a picture's bytes as they are."""
    asked = InferRequest(inputs=[Tensor(name="q", shape=[1], datatype="BYTES", data=[element])])
    return encode_request(asked, binary=isinstance(element, bytes))


def as_image(picture: bytes) -> Asked:
    """For our image runtime."""
    asked = InferRequest(
        inputs=[Tensor(name="image", shape=[1], datatype="BYTES", data=[picture])],
        parameters={"top_k": 3},
        outputs=[RequestedOutput("label_id"), RequestedOutput("probability")],
    )
    return encode_request(asked, binary=True)


def of_object(answer: Any) -> Best:
    return answer["id"], answer["score"]


def of_tensors(answer: Any) -> Best:
    first, second = answer["outputs"]
    return first["data"], second["data"]


# Our own --------------------------------------------------------------------------------------------------------------

SCRIPTS = {"faq": ("faq", "tfidf"), "image": ("image",)}
RESNET = MODELS["images"]
FLOAT32 = f"{RESNET}-float32"


def prepare(store: Path, workload: str) -> None:
    """Writes what our pods serve, each model into a folder of its own. Other processes do it and hold its memory."""
    for name in SCRIPTS[workload]:
        run("bench.peers.pack", str(HERE / "workloads.py"), str(store / name), name)
    if workload == "image":
        run("bench.random_resnet152", str(store / RESNET))
        run("bench.random_resnet152", str(store / FLOAT32), "0")


def run(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=True)


def ours(store: Path, workload: str) -> list[Server]:
    """Our pod in each way it can serve the workload. store: as `prepare` has written it."""
    processes = f"{count(min(CPUS, 4) if workload == 'faq' else 1, 'process')}, each request in its log"
    if workload == "faq":
        return [
            Server(
                "Scorepod",
                pod(
                    store / "faq",
                    "peer-faq",
                    "cpu",
                    f"the same model code, a script; {processes}",
                ),
            ),
            Server(
                "Scorepod, matcher's way",
                pod(
                    store / "tfidf",
                    "peer-tfidf",
                    "cpu",
                    f"the matcher's way of multiplying, a script; {processes}",
                ),
            ),
        ]
    labels = {each.label_id: place for place, each in enumerate(read_labels(store / RESNET / RESNET / "1"))}

    def of_labels(answer: Any) -> Best:
        names, probabilities = of_tensors(answer)
        return [labels[name] for name in names], probabilities

    image = {"ask": as_image, "read": of_labels}
    return [
        Server(
            "Scorepod",
            pod(
                store / "image",
                "peer-image",
                "gpu",
                f"the same model code, a script; {processes}",
            ),
        ),
        Server(
            "Scorepod, image runtime, float32",
            pod(store / FLOAT32, RESNET, "gpu", f"float32; {processes}", **image),
        ),
        Server(
            "Scorepod, image runtime",
            pod(
                store / RESNET, RESNET, "gpu", f"as it comes: its fastest precision; {processes}", exact=False, **image
            ),
        ),
    ]


def pod(store: Path, model: str, pool: str, settings: str, **how: Any) -> Way:
    def env(place: Place) -> Mapping[str, str]:
        return {
            "PYTHONPATH": str(ROOT),
            "MODEL_STORE": str(store),
            "SCORING_POOL": pool,
            "SCORING_PORT": str(place.port),
            "SCORING_NOT_READY_S": "0",
            "ALLOW_SCORING_SCRIPTS": "1",
        }

    asked = {"ask": as_tensor, "read": of_tensors, **how}
    return Way(settings, lambda place: POD_COMMAND, f"/v2/models/{model}/infer", env=env, **asked)


# The others: each in an environment of its own, as README.md says -----------------------------------------------------


def fastapi(workload: str) -> Server:
    workers, batch = (CPUS, 32) if workload == "faq" else (1, 8)
    how = ["--host", "127.0.0.1", "--workers", str(workers), "--no-access-log", "--log-level", "warning"]
    return Server(
        "FastAPI",
        Way(
            f"async; {count(workers, 'process')} of uvicorn[standard]; all that wait in one call, up to {batch}",
            lambda place: [place.program("uvicorn"), "serve_fastapi:app", "--port", str(place.port), *how],
            f"/{workload}",
            as_question if workload == "faq" else as_file,
            of_object,
            env=lambda place: {"BATCH": str(batch)},
        ),
        package="fastapi",
    )


def litserve(workload: str) -> Server:
    workers, batch, wait_ms = (CPUS, 16, 0) if workload == "faq" else (1, 8, 30)
    env = {"WORKERS": workers, "API_SERVERS": workers, "BATCH": batch, "WAIT_MS": wait_ms}
    return Server(
        "LitServe",
        Way(
            f"{count(workers, 'worker')} and as many API servers; batches up to {batch}, wait {wait_ms} ms; fast queue",
            lambda place: [place.program("python"), str(HERE / "serve_litserve.py")],
            "/score",
            as_question if workload == "faq" else as_form,
            of_object,
            env=lambda place: texts(env),
        ),
        package="litserve",
    )


def torchserve(workload: str) -> Server:
    workers, batch, wait_ms = (1, 16, 1) if workload == "faq" else (1, 8, 30)

    def prepare(place: Place) -> None:
        (place.folder / "store").mkdir()
        command = [place.program("torch-model-archiver"), "--model-name", "peer", "--version", "1.0"]
        where = ["--handler", str(HERE / "serve_torchserve.py"), "--export-path", str(place.folder / "store")]
        subprocess.run([*command, *where], check=True, capture_output=True, cwd=place.folder)
        sizes = {"minWorkers": workers, "maxWorkers": workers, "batchSize": batch, "maxBatchDelay": wait_ms}
        model = {"defaultVersion": True, "marName": "peer.mar", "responseTimeout": 120, **sizes}
        lines = {
            "inference_address": f"http://127.0.0.1:{place.port}",
            "management_address": f"http://127.0.0.1:{free_port()}",
            "metrics_address": f"http://127.0.0.1:{free_port()}",
            "enable_envvars_config": "false",
            "disable_system_metrics": "true",
            "load_models": "peer.mar",
            "models": json.dumps({"peer": {"1.0": model}}),
        }
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        (place.folder / "config.properties").write_text(text)
        (place.folder / "log4j2.xml").write_text(QUIET_LOG)

    return Server(
        "TorchServe",
        Way(
            f"{count(workers, 'worker')}; batches up to {batch}, wait {wait_ms} ms; no metrics",
            lambda place: [
                place.program("torchserve"),
                *("--start", "--foreground", "--no-config-snapshots", "--disable-token-auth"),
                *("--model-store", "store", "--ts-config", "config.properties", "--log-config", "log4j2.xml"),
            ],
            "/predictions/peer",
            as_question if workload == "faq" else as_file,
            of_object,
            prepare=prepare,
        ),
        package="torchserve",
    )


QUIET_LOG = """<Configuration>
  <Appenders><Console name="console"/></Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="console"/></Root></Loggers>
</Configuration>
"""


def kserve(workload: str) -> Server:
    workers = CPUS if workload == "faq" else 1

    def ask(element: str | bytes) -> Asked:
        return as_json({"instances": [element if isinstance(element, str) else {"b64": as_base64(element)}]})

    return Server(
        "KServe",
        Way(
            f"Python server, {count(workers, 'worker')}; it has no batches",
            lambda place: [place.program("python"), str(HERE / "serve_kserve.py")],
            "/v1/models/peer:predict",
            ask,
            lambda answer: of_object(answer["predictions"][0]),
            env=lambda place: {"WORKERS": str(workers)},
        ),
        package="kserve",
    )


def mlserver(workload: str) -> Server:
    parallel, batch, wait_ms = (0, 32, 2) if workload == "faq" else (1, 8, 30)

    def ask(element: str | bytes) -> Asked:
        data = [element if isinstance(element, str) else as_base64(element)]
        return as_json({"inputs": [{"name": "q", "shape": [1, 1], "datatype": "BYTES", "data": data}]})

    def prepare(place: Place) -> None:
        ports = {"http_port": place.port, "grpc_port": free_port(), "metrics_port": free_port()}
        settings = {"host": "127.0.0.1", **ports, "parallel_workers": parallel, "debug": False}
        (place.folder / "settings.json").write_text(json.dumps(settings))
        batches = {"max_batch_size": batch, "max_batch_time": wait_ms / 1000}
        model = {"name": "peer", "implementation": "serve_mlserver.Scorer", **batches}
        (place.folder / "model-settings.json").write_text(json.dumps(model))

    return Server(
        "MLServer",
        Way(
            f"{'a worker beside' if parallel else 'in'} the server's process; batches up to {batch}, wait {wait_ms} ms",
            lambda place: [place.program("mlserver"), "start", "."],
            "/v2/models/peer/infer",
            ask,
            of_tensors,
            prepare=prepare,
        ),
        package="mlserver",
    )


def bentoml(workload: str) -> Server:
    workers, batch = (CPUS, 16) if workload == "faq" else (1, 8)
    served = f"serve_bentoml:{workload.capitalize()}"

    return Server(
        "BentoML",
        Way(
            f"{count(workers, 'worker')}; adaptive batches up to {batch}; no metrics",
            lambda place: [
                place.program("bentoml"),
                *("serve", served, "--host", "127.0.0.1", "--port", str(place.port), "--working-dir", str(HERE)),
            ],
            "/score",
            (lambda question: as_json({"question": [question]})) if workload == "faq" else as_form,
            lambda answer: of_object(answer[0]),
            env=lambda place: {"WORKERS": str(workers), "BATCH": str(batch), "BENTOML_DO_NOT_TRACK": "True"},
        ),
        package="bentoml",
    )


def count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 'es' if what.endswith('s') else 's'}"


def texts(values: Mapping[str, int]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


PEERS = (fastapi, litserve, torchserve, kserve, mlserver, bentoml)
