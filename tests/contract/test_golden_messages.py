"""Messages as they travel: the service and the site both read them, and write what they wrote before."""

from pathlib import Path

import httpx2 as httpx
import msgspec
import pytest

from scoring_service import store as service_store
from scoring_service.contract import (
    LOW_PRIORITY,
    InferResponse,
    PodState,
    Tensor,
    bytes_of,
    decode_json,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    row_errors_parameter,
)
from webapp.errors import ScoringRefused
from webapp.scoring import store as site_store
from webapp.scoring.answers import FaqScore, ImageAnswer, Prediction, Terms
from webapp.scoring.client import BatchOptions, ScoringClient

GOLDEN = Path(__file__).parent / "golden"
LENGTH = "Inference-Header-Content-Length"
QUESTION = "Wie heißt „push“ rückwärts?"
BATCH = ["", QUESTION, "?!"]
EMPTY = "The question is empty."
WORDLESS = "The question has no letters or digits, so there is nothing to compare."
PICTURE = bytes.fromhex("89504e470d0a1a0a") + b"not a picture, but bytes that are no text: \xff\x00"


def golden(pattern: str) -> tuple[bytes, dict[str, str]]:
    """A message and the headers that belong to it."""
    [path] = GOLDEN.glob(pattern)
    _, *length, _ = path.name.split(".")
    return path.read_bytes(), {LENGTH: length[0]} if length else {}


def same_json(one: bytes, other: bytes) -> bool:
    return msgspec.json.decode(one) == msgspec.json.decode(other)


# The service ----------------------------------------------------------------------------------------------------------


def test_the_service_reads_a_question():
    body, headers = golden("faq-request.json")
    request = decode_request(body, headers.get(LENGTH))
    assert request.inputs[0].data == [QUESTION]
    assert request.parameters == {"top_k": 2}
    assert [output.name for output in request.outputs] == ["faq_id", "probability", "answer_id", "terms"]


@pytest.mark.parametrize("message", ["image-request.json", "image-request.*.bin"])
def test_the_service_reads_a_picture(message):
    body, headers = golden(message)
    request = decode_request(body, headers.get(LENGTH))
    assert [bytes_of(each) for each in request.inputs[0].data] == [PICTURE]
    assert [request.wants_binary(name) for name in ("probability", "label", "label_id")] == [True, False, False]


def test_the_service_writes_the_answers_it_wrote():
    answer = InferResponse(
        model_name="resnet152",
        model_version="1",
        parameters={"precision": "bfloat16", "queue_ms": 0.0, "model_ms": 120.5},
        outputs=[
            Tensor(name="probability", datatype="FP32", shape=[1, 2], data=[0.9375, 0.03125]),
            Tensor(name="label", datatype="BYTES", shape=[1, 2], data=["Samoyed", "white wolf"]),
            Tensor(name="label_id", datatype="BYTES", shape=[1, 2], data=["n02111889", "n02114548"]),
        ],
    )
    body, headers = encode_response(answer, binary=["probability", "label", "label_id"])
    expected, expected_headers = golden("image-answer.*.bin")
    split, expected_split = int(headers[LENGTH]), int(expected_headers[LENGTH])
    assert same_json(body[:split], expected[:expected_split])
    assert body[split:] == expected[expected_split:]
    assert same_json(*(encode_response(decode_response(golden("faq-answer.json")[0]))[0], golden("faq-answer.json")[0]))


def test_requests_are_written_as_they_were():
    body, headers = golden("image-request.*.bin")
    rewritten, new_headers = encode_request(decode_request(body, headers[LENGTH]), binary=True)
    assert same_json(rewritten[: int(new_headers[LENGTH])], body[: int(headers[LENGTH])])
    assert rewritten[int(new_headers[LENGTH]) :] == body[int(headers[LENGTH]) :]


def test_the_service_reads_the_rows_of_a_batch():
    body, headers = golden("faq-batch-request.json")
    request = decode_request(body, headers.get(LENGTH))
    assert request.inputs[0].data == BATCH
    assert request.parameters == {"top_k": 2, "priority": 2, "row_errors": True}
    assert request.parameters["priority"] >= LOW_PRIORITY
    assert same_json(encode_request(request)[0], body)


@pytest.mark.parametrize(
    ("message", "reasons"),
    [
        ("faq-batch-answer.*.bin", {0: EMPTY, 2: WORDLESS}),
        ("faq-batch-refused.*.bin", {0: EMPTY, 1: WORDLESS, 2: WORDLESS}),
    ],
)
def test_the_service_writes_which_rows_have_no_answer(message, reasons):
    body, headers = golden(message)
    answer = decode_response(body, headers[LENGTH])
    assert answer.row_errors == reasons
    assert answer.parameters["row_errors"] == row_errors_parameter(reasons)
    assert encode_response(answer_without_sizes(answer), binary=["probability"])[0] == body


def answer_without_sizes(answer: InferResponse) -> InferResponse:
    """As the pod makes it, before its tensors travel."""
    outputs = [msgspec.structs.replace(tensor, parameters={}) for tensor in answer.outputs]
    return msgspec.structs.replace(answer, outputs=outputs)


@pytest.fixture
def root(tmp_path, settings):
    """A model store with the golden files in their places, the site's own."""
    settings.MODEL_STORE = tmp_path
    for name, place in (("routing.json", "resnet152/routing.json"), ("manifest.json", "resnet152/7/manifest.json")):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(golden(name)[0])
    return tmp_path


def test_the_service_writes_what_it_wrote_of_itself():
    body, _ = golden("pod.json")
    assert same_json(msgspec.json.encode(decode_json(body, PodState)), body)


def test_the_service_reads_and_writes_which_versions_a_model_has(root):
    routing = service_store.read_routing(root, "resnet152")
    roles = {"7": "champion", "8": "challenger", "6": "standby", "9": "warm", "10": "warm"}
    assert routing.roles() == roles
    assert routing.challenger.percent == 12.5
    assert same_json(msgspec.json.encode(routing), golden("routing.json")[0])


def test_the_service_reads_and_writes_what_a_version_is(root):
    manifest = service_store.read_manifest(root / "resnet152" / "7")
    service_store.write_manifest(root, manifest)
    assert same_json((root / "manifest.json").read_bytes(), golden("manifest.json")[0])


# The site -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(monkeypatch):
    """The site's client, before pods that answer with golden messages by path; `site.sent` is what it asked."""
    messages: dict[str, tuple[int, str]] = {}
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        status, message = messages[request.url.path]
        body, headers = golden(message)
        return httpx.Response(status, content=body, headers=headers)

    monkeypatch.setattr("webapp.scoring.pods.new_transport", lambda _limits: httpx.MockTransport(answer))
    client = ScoringClient(cpu_url="http://cpu.test", gpu_url="http://gpu.test", token="")
    client.messages, client.sent = messages, sent
    return client


@pytest.mark.parametrize("message", ["faq-answer.json", "faq-answer.*.bin"])
def test_the_site_reads_a_ranking(site, message):
    site.messages["/v2/models/faq-javascript/infer"] = 200, message
    explain = message.endswith("json")
    answer = site.match_faq(QUESTION, model="faq-javascript", top_k=2, explain=explain, timeout=5)
    terms = [Terms(["push"], ["push", "unshift"]), Terms([], [])] if explain else [None, None]
    assert answer.scores == [
        FaqScore("js-020", "js-020-a", 0.875, terms[0]),
        FaqScore("js-041", "js-041-a", 0.125, terms[1]),
    ]
    assert (answer.version, answer.threshold, answer.model_ms) == ("7", 0.4, 1.5)
    asked = decode_request(site.sent[0].content, site.sent[0].headers.get(LENGTH))
    assert asked.inputs[0].data == [QUESTION]


def test_the_site_reads_which_rows_of_a_batch_have_no_answer(site):
    site.messages["/v2/models/faq-javascript/infer"] = 200, "faq-batch-answer.*.bin"
    empty, answer, wordless = site.match_batch(BATCH, BatchOptions(model="faq-javascript", top_k=2, timeout=5))
    assert answer.scores == [FaqScore("js-020", "js-020-a", 0.875), FaqScore("js-041", "js-041-a", 0.125)]
    assert (empty.detail, wordless.detail) == (EMPTY, WORDLESS)
    [sent] = site.sent
    assert same_json(sent.content, golden("faq-batch-request.json")[0])
    site.messages["/v2/models/faq-javascript/infer"] = 200, "faq-batch-refused.*.bin"
    refused = site.match_batch(BATCH, BatchOptions(model="faq-javascript", top_k=2, timeout=5))
    assert [each.detail for each in refused] == [EMPTY, WORDLESS, WORDLESS]


def test_the_site_reads_what_a_picture_shows(site):
    site.messages["/v2/models/resnet152/infer"] = 200, "image-answer.*.bin"
    assert site.classify_image(PICTURE, model="resnet152", top_k=2, timeout=5) == ImageAnswer(
        predictions=[Prediction("Samoyed", "n02111889", 0.9375), Prediction("white wolf", "n02114548", 0.03125)],
        model="resnet152",
        version="1",
        model_ms=120.5,
    )
    [sent] = site.sent
    expected, headers = golden("image-request.*.bin")
    assert same_json(sent.content[: int(sent.headers[LENGTH])], expected[: int(headers[LENGTH])])
    assert sent.content[int(sent.headers[LENGTH]) :] == expected[int(headers[LENGTH]) :]


def test_the_site_reads_which_models_there_are(site):
    site.messages["/v2/repository/index"] = 200, "index.json"
    site.messages["/v2/models/resnet152"] = 200, "metadata.json"
    site.messages["/v2/models/digits"] = 503, "not-ready.json"
    models = {model.name: model for model in site.models().models}
    assert models["resnet152"].title == "ResNet-152, ImageNet-1K"
    assert models["resnet152"].ready
    assert models["resnet152"].metrics == {"accuracy@1": 0.823}
    assert not models["digits"].ready
    assert models["digits"].reason == "digits version 2 cannot be loaded: weights.safetensors is missing"


def test_the_site_reads_an_error(site):
    site.messages["/v2/models/faq-javascript/infer"] = 400, "error.json"
    with pytest.raises(ScoringRefused, match="no word in it"):
        site.match_faq("?!", model="faq-javascript", timeout=5)


def test_the_site_reads_and_writes_which_versions_a_model_has(root):
    routing = site_store.read_routing("resnet152")
    assert routing == site_store.Routing("7", site_store.Challenger("8", 12.5), "6", ("9", "10"))
    (root / "resnet152" / "routing.json").unlink()
    site_store.write_routing("resnet152", routing)
    assert same_json((root / "resnet152" / "routing.json").read_bytes(), golden("routing.json")[0])


def test_the_site_reads_what_a_version_is(root):
    assert site_store.read_manifest("resnet152", "7") == msgspec.json.decode(golden("manifest.json")[0])


def test_the_golden_files_are_what_this_page_reads():
    read = {"faq-request", "faq-answer", "image-request", "image-answer", "index", "metadata", "error", "pod"}
    read |= {"routing", "manifest", "not-ready", "faq-batch-request", "faq-batch-answer", "faq-batch-refused"}
    assert {path.name.partition(".")[0] for path in GOLDEN.iterdir()} == read
    assert decode_json(golden("error.json")[0], dict[str, str])
