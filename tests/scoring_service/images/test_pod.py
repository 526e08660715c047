"""Image models over HTTP: a real pod, asked by clients of the protocol that are not ours."""

import base64
import json

import numpy as np
import pytest
import tritonclient.http as triton

from scoring_service.images import digits
from tests.pods import CLIENT, Pod, start_pod
from tests.product import ROOT

SAMPLES = ROOT / "frontend" / "img" / "samples"
DIGITS = {path.stem: path.read_bytes() for path in sorted((SAMPLES / "digits").glob("*.png"))}


@pytest.fixture(scope="module")
def pod(digits_store):
    with start_pod(digits_store, "gpu") as pod:
        yield pod


@pytest.fixture(scope="module")
def client(pod):
    client = triton.InferenceServerClient(pod.url.removeprefix("http://"))
    yield client
    client.close()


def image_input(files: list[bytes], *, binary: bool) -> triton.InferInput:
    tensor = triton.InferInput("image", [len(files)], "BYTES")
    elements = files if binary else [base64.b64encode(file) for file in files]
    tensor.set_data_from_numpy(np.array(elements, dtype=object), binary_data=binary)
    return tensor


@pytest.mark.parametrize("binary_input", [True, False], ids=["binary in", "JSON in"])
@pytest.mark.parametrize("binary_output", [True, False], ids=["binary out", "JSON out"])
def test_tritonclient_gets_the_digits_read(client, binary_input, binary_output):
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_output) for name in ("label", "probability")]
    answer = client.infer(
        "digits",
        [image_input(list(DIGITS.values()), binary=binary_input)],
        outputs=outputs,
        parameters={"top_k": 3},
    )
    labels, probabilities = answer.as_numpy("label"), answer.as_numpy("probability")
    assert labels.shape == probabilities.shape == (len(DIGITS), 3)
    assert probabilities.dtype == np.float32
    best = [label.decode() if isinstance(label, bytes) else label for label in labels[:, 0]]  # str when it came as JSON
    assert best == [digits.LABELS[int(shown)] for shown in DIGITS]
    assert (np.diff(probabilities, axis=1) <= 0).all()
    response = answer.get_response()
    assert response["model_version"] == "1"
    assert response["parameters"]["precision"] in {"float32", "bfloat16"}


def test_tritonclient_reads_what_the_model_takes_and_gives(client):
    assert client.is_model_ready("digits")
    metadata = client.get_model_metadata("digits")
    assert [(tensor["name"], tensor["datatype"]) for tensor in metadata["inputs"]] == [("image", "BYTES")]
    assert [tensor["name"] for tensor in metadata["outputs"]] == ["label", "label_id", "probability", "heatmap"]
    assert metadata["parameters"]["metrics"]["accuracy@1"] >= 0.97


def test_tritonclient_learns_which_picture_is_bad_and_why(client):
    with pytest.raises(triton.InferenceServerException, match=r"not a picture we can read.*SVG") as refusal:
        client.infer("digits", [image_input([DIGITS["7"], b"<svg/>"], binary=True)])
    assert refusal.value.status() == "400"


@pytest.mark.parametrize("data", ["not base64!", 7, None])
def test_what_is_no_base64_is_a_bad_request(pod: Pod, data):
    body = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [data]}]}
    answer = CLIENT.post(f"{pod.url}/v2/models/digits/infer", content=json.dumps(body))
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}


def test_the_reference_client_gets_three_labels_a_picture(pod: Pod):
    files = {"first": ("7.png", DIGITS["7"], "image/png"), "second": ("odd", DIGITS["3"], "application/octet-stream")}
    answer = CLIENT.post(f"{pod.url}/score", files=files)
    assert answer.status_code == 200, answer.text
    labels, timing = answer.json()
    assert {field: rows[0][1] for field, rows in labels.items()} == {
        "first": "seven",
        "second": "three",
    }
    assert [[len(row) for row in rows] for rows in labels.values()] == [[3, 3, 3]] * 2
    assert timing.startswith("Computed in ")


def test_the_pod_logs_which_precision_it_chose_and_why_and_no_picture(pod: Pod):
    [line] = [line for line in pod.log.splitlines() if "precision chosen" in line]
    event = json.loads(line)
    assert event["precision"] in {"float32", "bfloat16"}
    assert event["reason"]
    assert "PNG" not in pod.log


def test_photos_of_anything_else_are_answered_too(pod: Pod):
    for path in (SAMPLES / "photos").glob("*.jpg"):
        body = {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "BYTES",
                    "shape": [1],
                    "data": [base64.b64encode(path.read_bytes()).decode()],
                }
            ]
        }
        answer = CLIENT.post(f"{pod.url}/v2/models/digits/infer", content=json.dumps(body))
        assert answer.status_code == 200, answer.text
