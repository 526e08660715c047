"""Clients of others, Triton's and the reference's, against the running product's pods with the sample models."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.pods import CLIENT
from tests.product import ROOT
from tests.scoring_service.asking import answers, run

QUESTION = "How do I copy an array?"
SAMPLES = ROOT / "frontend" / "img" / "samples"


@dataclass(frozen=True)
class Served:
    """A sample model and how to reach it, with inputs that it can score."""

    model: str
    input: str
    elements: list[bytes]
    outputs: list[str]
    id_output: str
    url: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def picture(digit: int) -> Path:
    [path] = SAMPLES.rglob(f"{digit}.png")
    return path


@pytest.fixture(scope="module")
def token(product):
    return {"Authorization": f"Bearer {product.secrets['SCORING_TOKEN']}"}


@pytest.fixture(scope="module", params=["faq", "image"])
def served(request, product):
    token = product.secrets["SCORING_TOKEN"]
    if request.param == "faq":
        questions = [QUESTION.encode(), "Was ist „this“?".encode()]
        outputs = ["faq_id", "probability"]
        return Served("faq-javascript", "question", questions, outputs, "faq_id", product.cpu_url, token)
    pictures = [picture(digit).read_bytes() for digit in (3, 7)]
    outputs = ["label", "label_id", "probability"]
    return Served("digits", "image", pictures, outputs, "label_id", product.gpu_url, token)


@pytest.fixture(scope="module")
def client(served):
    with triton.InferenceServerClient(served.url.removeprefix("http://")) as client:
        yield client


def infer(client, served, *, binary: bool, outputs: list[str] | None = None, **options) -> triton.InferResult:
    """The answer to all the model's inputs in one request. In JSON, bytes that are no text travel as base64."""
    as_json = [base64.b64encode(each) for each in served.elements] if served.input == "image" else served.elements
    tensor = triton.InferInput(served.input, [len(served.elements)], "BYTES")
    tensor.set_data_from_numpy(np.array(served.elements if binary else as_json, dtype=object), binary_data=binary)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in outputs or served.outputs]
    return client.infer(served.model, [tensor], outputs=wanted, headers=served.headers, **options)


def test_server_and_model_say_that_they_are_there(client, served):
    assert client.is_server_live(headers=served.headers)
    assert client.is_server_ready(headers=served.headers)
    assert client.is_model_ready(served.model, headers=served.headers)
    assert not client.is_model_ready("unknown", headers=served.headers)
    assert "binary_tensor_data" in client.get_server_metadata(headers=served.headers)["extensions"]


def test_metadata_describe_the_tensors_and_the_model(client, served):
    metadata = client.get_model_metadata(served.model, headers=served.headers)
    assert metadata["name"] == served.model
    assert metadata["versions"] == ["1"]
    assert [tensor["name"] for tensor in metadata["inputs"]] == [served.input]
    assert set(served.outputs) <= {tensor["name"] for tensor in metadata["outputs"]}
    assert metadata["parameters"]["sample"] is True
    assert metadata["parameters"]["title"]
    assert client.get_model_metadata(served.model, "1", headers=served.headers) == metadata


def test_the_repository_index_names_the_version_that_serves(client, served):
    index = client.get_model_repository_index(headers=served.headers)
    assert {"name": served.model, "version": "1", "state": "READY", "reason": ""} in index


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_rows_are_scored_best_first(client, served, binary):
    result = infer(client, served, binary=binary, request_id="from triton")
    assert result.get_response()["id"] == "from triton"
    assert result.get_response()["model_version"] == "1"
    probabilities = result.as_numpy("probability")
    assert probabilities.dtype == np.float32
    assert probabilities.shape[0] == len(served.elements)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert (np.diff(probabilities, axis=1) <= 0).all()
    assert result.as_numpy(served.id_output).shape == probabilities.shape


def test_json_and_binary_give_the_same_answer(client, served):
    in_json, in_bytes = (infer(client, served, binary=binary) for binary in (False, True))
    np.testing.assert_allclose(in_json.as_numpy("probability"), in_bytes.as_numpy("probability"), atol=1e-6)
    as_text = np.array(in_json.as_numpy(served.id_output).tolist(), dtype=str)
    as_bytes = np.char.decode(np.array(in_bytes.as_numpy(served.id_output).tolist(), dtype=bytes))
    assert (as_text == as_bytes).all()


def test_top_k_says_how_many(client, served):
    assert infer(client, served, binary=True, parameters={"top_k": 2}).as_numpy("probability").shape == (2, 2)
    every = infer(client, served, binary=True, parameters={"top_k": 0}).as_numpy("probability").shape[1]
    assert every >= 10


def test_rows_of_low_priority_are_scored_as_any_others(client, served):
    low, normal = (infer(client, served, binary=True, priority=priority) for priority in (2, 0))
    np.testing.assert_allclose(low.as_numpy("probability"), normal.as_numpy("probability"), atol=1e-6)


def test_bad_rows_are_told_apart_from_good_ones(client, served):
    tensor = triton.InferInput(served.input, [2], "BYTES")
    tensor.set_data_from_numpy(np.array([b"", served.elements[0]], dtype=object), binary_data=True)
    wanted = [triton.InferRequestedOutput(name, binary_data=True) for name in served.outputs]
    result = client.infer(
        served.model, [tensor], outputs=wanted, headers=served.headers, priority=2, parameters={"row_errors": True}
    )
    assert list(json.loads(result.get_response()["parameters"]["row_errors"])) == ["0"]
    assert result.as_numpy("probability").shape[0] == 1


def test_statistics_count_what_was_scored(client, served):
    def scored() -> int:
        [statistics] = client.get_inference_statistics(served.model, headers=served.headers)["model_stats"]
        return statistics["inference_count"]

    before = scored()
    infer(client, served, binary=True)
    assert scored() == before + len(served.elements)


def test_errors_reach_the_client_in_words(client, served):
    tensor = triton.InferInput(served.input, [1], "INT32")
    tensor.set_data_from_numpy(np.array([1], dtype=np.int32))
    with pytest.raises(InferenceServerException, match="must be BYTES, not INT32"):
        client.infer(served.model, [tensor], headers=served.headers)
    with pytest.raises(InferenceServerException, match="token"):
        client.get_server_metadata()


def test_pictures_fail_alone_where_the_caller_wants_it(product, token):
    elements = [picture(3).read_bytes(), b"text"]
    data = [*(base64.b64encode(each).decode() for each in elements), "this is no base64"]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [3], "data": data}
    parameters = {"row_errors": True, "priority": 2, "top_k": 1}
    url = f"{product.gpu_url}/v2/models/digits/infer"
    answer = CLIENT.post(url, json={"inputs": [tensor], "parameters": parameters}, headers=token)
    assert answers(answer, "label_id") == ["digit-3"]
    reasons = json.loads(answer.json()["parameters"]["row_errors"])
    assert list(reasons) == ["1", "2"]
    assert "picture" in reasons["1"]
    assert reasons["2"] == "bytes in JSON must be base64"


# The reference's clients ----------------------------------------------------------------------------------------------


def test_a_question_gets_every_original_best_first(product, token):
    answer = CLIENT.post(f"{product.cpu_url}/score", json={"input": QUESTION}, headers=token)
    assert answer.status_code == 200
    ranking = answer.json()
    assert len(ranking) >= 100
    assert all(isinstance(entry, str) and isinstance(text, str) and 0 <= p <= 1 for entry, text, p in ranking)
    assert [p for _, _, p in ranking] == sorted((p for _, _, p in ranking), reverse=True)
    assert len({entry for entry, _, _ in ranking}) == len(ranking)


@pytest.mark.parametrize("fields", [["image"], ["one", "two", "Bild Nr. 3"]], ids=["one picture", "several"])
def test_pictures_get_their_three_best_categories_under_their_fields_names(product, token, fields):
    files = {
        field: (f"{digit}.png", picture(digit).read_bytes()) for digit, field in zip((3, 7, 5), fields, strict=False)
    }
    answer = CLIENT.post(f"{product.gpu_url}/score", files=files, headers=token)
    assert answer.status_code == 200, answer.text
    by_field, computed = answer.json()
    assert list(by_field) == fields
    for best in by_field.values():
        assert len(best) == 3
        assert all(isinstance(wnid, str) and isinstance(label, str) for wnid, label, _ in best)
        assert [score for *_, score in best] == sorted((score for *_, score in best), reverse=True)
    assert by_field[fields[0]][0][0] == "digit-3"
    assert computed.startswith("Computed in ")
    assert computed.endswith(" ms")


def test_two_pictures_in_fields_of_one_name_are_both_answered(product, token):
    files = [("image", ("3.png", picture(3).read_bytes())), ("image", ("7.png", picture(7).read_bytes()))]
    answer = CLIENT.post(f"{product.gpu_url}/score", files=files, headers=token)
    best = {field: scores[0][0] for field, scores in answer.json()[0].items()}
    assert best == {"image": "digit-3", "image#2": "digit-7"}


def test_a_large_form_is_read_as_a_small_one(product, token):
    files = {"image": ("3.png", picture(3).read_bytes())}
    answer = CLIENT.post(f"{product.gpu_url}/score", files=files, data={"note": "x" * 2**19}, headers=token)
    assert answer.status_code == 200, answer.text
    assert answer.json()[0]["image"][0][0] == "digit-3"


def test_a_file_that_is_no_picture_is_400_and_named(product, token):
    files = {"good": picture(3).read_bytes(), "broken": b"this is no picture"}
    answer = CLIENT.post(f"{product.gpu_url}/score", files=files, headers=token)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("broken: ")


def test_get_score_says_who_answers(product, token):
    answer = CLIENT.get(f"{product.cpu_url}/score", headers=token)
    assert {"azEnvironment", "location", "osType", "isServer", "version", "uniqueId"} <= set(answer.json())


def test_a_pod_without_a_model_of_the_kind_is_404_in_words(product, token):
    answer = CLIENT.post(f"{product.gpu_url}/score", json={"input": QUESTION}, headers=token)
    assert answer.status_code == 404
    assert "faq" in answer.json()["error"]


def test_the_command_line_scores_without_a_server(product):
    store = ["--store", str(product.var / "models")]
    asked = run("score", QUESTION, "--model", "faq-javascript", "--top-k", "3", *store)
    assert len(asked.stdout.splitlines()) == 3, asked.stderr
    shown = run("score", str(picture(3)), "--model", "digits", "--top-k", "1", *store)
    assert shown.stdout.split()[1:] == ["three"], shown.stderr
    assert run("score", "?!", "--model", "faq-javascript", *store).returncode == 1
