"""The examples: what each script writes is added by the command of docs/runtimes.md, and asked by Triton's client."""

import io
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from scoring_service import packaging
from scoring_service.errors import VersionUnusable
from tests.pods import start_pod
from tests.product import ROOT
from tests.scoring_service.asking import run
from tests.scoring_service.runtimes.asking import infer, spec, texts
from tests.sharing import made_once

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # archives of it are about all the same
IRISES = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3], [5.7, 2.8, 4.1, 1.3]], dtype=np.float32)


def made(folder, script: str, name: str) -> None:
    """Runs the example in a folder and adds what it wrote to the store there, as the model `name`."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    subprocess.run([sys.executable, ROOT / "docs" / "examples" / script], cwd=folder, env=environment, check=True)
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


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    """A pod of the other pool with what the examples for it make."""
    with made_once(tmp_path_factory, "gpu examples") as folder:
        if not folder.exists():
            folder.mkdir()
            made(folder / "line", "line_torch.py", "line")
            made(folder / "digits", "digits_keras.py", "digits")
            scripted = torch.jit.script(Both())
            scripted.save(folder / "both.pt")
            sides = {
                "inputs": [spec("a", "FP32", -1, -1), spec("b", "INT64", -1)],
                "outputs": [spec("scaled", "FP32", -1, -1), spec("positive", "BOOL", -1)],
            }
            source = folder / "both.pt"
            packaging.add(folder / "store", "both", source, runtime="torch", title="Both", parameters=sides)
    with start_pod(folder / "store", "gpu") as pod:
        yield pod


class Both(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a * b[:, None], b > 0


@pytest.mark.parametrize("binary", [True, False])
def test_an_exported_network_tells_its_tensors_itself(gpu, binary):
    points = np.array([[1, 1], [0, 0], [0.5, 1]], dtype=np.float32)
    answer = infer(gpu, "line", binary=binary, outputs=["output"], input=("FP32", points))
    assert answer.as_numpy("output").tolist() == [[pytest.approx(each, abs=0.1)] for each in (4, 2, 2.5)]


def test_a_torchscript_takes_and_gives_several_tensors(gpu):
    answer = infer(gpu, "both", a=("FP32", np.ones((2, 3), np.float32)), b=("INT64", np.array([2, -1])))
    assert answer.as_numpy("scaled").tolist() == [[2, 2, 2], [-1, -1, -1]]
    assert answer.as_numpy("positive").tolist() == [True, False]


def test_keras_reads_digits(gpu):
    pixels, digits = load_digits(return_X_y=True)
    shown = (pixels[:100] / 16).astype(np.float32)
    answer = infer(gpu, "digits", pixels=("FP32", shown)).as_numpy("output")
    assert answer.shape == (100, 10)
    assert (answer.argmax(1) == digits[:100]).mean() > 0.9


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


@pytest.mark.parametrize("name", ["model.onnx", "model.skops", "model.pt2", "model.pt", "model.keras"])
def test_what_is_no_model_is_refused(tmp_path, name):
    assert refused(tmp_path, name, b"nothing of the kind").startswith((f"{name} cannot be loaded", f"{name} is no"))


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


def exported(tmp_path, network: torch.nn.Module) -> bytes:
    program = torch.export.export(network, (torch.ones(2, 2),), dynamic_shapes=({0: torch.export.Dim("rows")},))
    torch.export.save(program, tmp_path / "exported.pt2")
    return (tmp_path / "exported.pt2").read_bytes()


def test_an_export_that_would_do_more_than_compute_is_refused(tmp_path):
    """What torch's own loader would do: call any function of its own, evaluate text, unpickle, run compiled code."""
    good = exported(tmp_path, torch.nn.ReLU())

    def changed(old: bytes, new: bytes, extra: str = "") -> bytes:
        with zipfile.ZipFile(io.BytesIO(good)) as archive, zipfile.ZipFile(tmp_path / "changed", "w") as other:
            for name in archive.namelist():
                other.writestr(name, archive.read(name).replace(old, new))
            if extra:
                other.writestr(f"{archive.namelist()[0].split('/')[0]}/{extra}", b"")
        return (tmp_path / "changed").read_bytes()

    for told, file in {
        "which is no operator that is taken": changed(b"torch.ops.aten.relu.default", b"torch.os.system"),
        "an expression that is not understood": changed(b"Symbol('s", b"__import__('os').system('s"),
        "guards, which are code": changed(b'"guards_code": []', b'"guards_code": ["1 < 2"]'),
        "the archive holds 'data/aotinductor/model/model.so'": changed(b"", b"", "data/aotinductor/model/model.so"),
        "inputs or outputs are a collections.defaultdict": changed(b"builtins.tuple", b"collections.defaultdict"),
    }.items():
        assert told in refused(tmp_path, "model.pt2", file)


def test_a_torchscript_that_writes_files_is_refused(tmp_path):
    class Writes(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.save(x, "/tmp/written")
            return x

    torch.jit.script(Writes()).save(tmp_path / "writes.pt")
    assert "calls torch.save" in refused(tmp_path, "model.pt", (tmp_path / "writes.pt").read_bytes())


def test_keras_code_in_a_layer_is_refused(tmp_path):
    import keras

    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)]).save(tmp_path / "lambda.keras")
    said = refused(tmp_path, "model.keras", (tmp_path / "lambda.keras").read_bytes())
    assert "model.keras cannot be loaded" in said
    assert "ambda" in said
