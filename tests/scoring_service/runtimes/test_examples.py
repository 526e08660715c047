"""The examples: what each script writes is added by the command of docs/runtimes.md, and asked by Triton's client."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from scoring_service import packaging
from scoring_service.errors import VersionUnusable
from tests.pods import start_pod
from tests.product import ROOT
from tests.scoring_service.asking import run
from tests.scoring_service.runtimes.asking import infer, texts
from tests.sharing import made_once

IRISES = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3], [5.7, 2.8, 4.1, 1.3]], dtype=np.float32)


def made(folder, script: str, name: str) -> None:
    """Runs the example in a folder and adds what it wrote to the store there, as the model `name`."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    subprocess.run([sys.executable, ROOT / "examples" / script], cwd=folder, env=environment, check=True)
    stem = script.removesuffix(".py").partition("_")[0]
    [file] = [path for path in folder.iterdir() if path.stem == stem and path.suffix != ".json"]
    added = run(
        "add-model", name, str(file), "--smoke", str(folder / "request.json"), "--store", str(folder.parent / "store")
    )
    assert added.returncode == 0, added.stderr


@pytest.fixture(scope="module")
def cpu(tmp_path_factory):
    """A CPU pod with what the examples for it make."""
    with made_once(tmp_path_factory, "cpu examples") as folder:
        if not folder.exists():
            folder.mkdir()
            made(folder / "iris", "iris_onnx.py", "iris")
            made(folder / "tickets", "tickets_skops.py", "tickets")
    with start_pod(folder / "store", "cpu") as pod:
        yield pod


@pytest.mark.parametrize("binary", [True, False])
def test_onnx_tells_classes_and_probabilities(cpu, binary):
    answer = infer(cpu, "iris", binary=binary, outputs=["label", "probabilities"], X=("FP32", IRISES))
    assert answer.as_numpy("label").tolist() == [0, 2, 1]
    probabilities = answer.as_numpy("probabilities")
    assert probabilities.shape == (3, 3)
    assert probabilities.argmax(1).tolist() == [0, 2, 1]
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-5)


def test_skops_takes_texts_and_tells_labels(cpu):
    answer = infer(cpu, "tickets", x=texts("the payment is wrong", "password forgotten"))
    assert answer.as_numpy("predict").tolist() == [b"billing", b"access"]
    assert answer.as_numpy("predict_proba").shape == (2, 2)


def refused(tmp_path, name: str, content: bytes, **options) -> str:
    """Why a file does not become a version."""
    (tmp_path / name).write_bytes(content)
    source = tmp_path / name
    with pytest.raises(VersionUnusable) as error:
        packaging.add(tmp_path / "store", "model", source, runtime=packaging.runtime_for(source), title="", **options)
    shutil.rmtree(tmp_path / "store")
    return str(error.value)


@pytest.mark.parametrize("name", ["model.onnx", "model.skops"])
def test_what_is_no_model_is_refused(tmp_path, name):
    assert f"{name} cannot be loaded" in refused(tmp_path, name, b"nothing of the kind")


def test_an_onnx_model_without_room_for_rows_is_refused(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Abs", ["a"], ["b"])], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    assert "its input 'a' has shape [1, 2]; the first dimension must be free" in refused(
        tmp_path, "model.onnx", onnx.ModelProto.SerializeToString(model)
    )


def dumped(estimator) -> bytes:
    import skops.io

    return skops.io.dumps(estimator)


def test_a_type_that_may_do_harm_is_refused_by_name(tmp_path):
    from sklearn.preprocessing import FunctionTransformer

    file = dumped(FunctionTransformer(os.system))
    assert "types that are not known to be harmless: posix.system" in refused(tmp_path, "model.skops", file)


@pytest.mark.parametrize("estimator", ["forest", "boosting"])
def test_a_forest_is_taken_unless_its_trees_lead_astray(tmp_path, estimator):
    from sklearn.datasets import load_iris
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    features, species = load_iris(return_X_y=True)
    if estimator == "forest":
        model = RandomForestClassifier(3).fit(features, species)
        nodes = model.estimators_[1].tree_.children_left
    else:
        model = HistGradientBoostingClassifier(max_iter=3).fit(features, species)
        nodes = model._predictors[1][1].nodes["left"]
    (tmp_path / "model.skops").write_bytes(dumped(model))
    smoke = b'{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 4], "data": [5, 3, 1, 0]}]}'
    packaging.add(tmp_path / "store", "model", tmp_path / "model.skops", runtime="skops", title="", smoke=[smoke])
    nodes[0] = 10**6
    assert "whose nodes make no sense" in refused(tmp_path, "model.skops", dumped(model))


def test_an_estimator_of_whatever_outputs_tells_their_datatypes(tmp_path):
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LinearRegression

    from scoring_service.loading import load_version

    told = {}
    points = np.random.default_rng(0).random((20, 3))
    for model in (LinearRegression().fit(points, points[:, 0]), KMeans(2).fit(points), PCA(2).fit(points)):
        name = type(model).__name__
        (tmp_path / "model.skops").write_bytes(dumped(model))
        packaging.add(tmp_path / "store", name, tmp_path / "model.skops", runtime="skops", title="")
        _, runtime = load_version(tmp_path / "store" / name / "1")
        told[name] = [(spec.name, spec.datatype) for spec in runtime.signature.outputs]
    assert told == {
        "LinearRegression": [("predict", "FP64")],
        "KMeans": [("predict", "INT64")],
        "PCA": [("transform", "FP64")],
    }
