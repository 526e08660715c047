"""A classifier of scikit-learn as ONNX: writes iris.onnx and request.json."""

import json
from pathlib import Path

from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

features, species = load_iris(return_X_y=True)
features = features.astype("float32")
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, species)
graph = to_onnx(model, features[:1], options={"zipmap": False})  # the probabilities as one tensor
Path("iris.onnx").write_bytes(graph.SerializeToString())

x = {"name": "X", "datatype": "FP32", "shape": [3, 4], "data": features[::60].tolist()}
Path("request.json").write_text(json.dumps({"inputs": [x]}))
