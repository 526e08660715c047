"""A text classifier of scikit-learn as a skops file: writes tickets.skops and request.json."""

import json
from pathlib import Path

import skops.io
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

billing = ["my invoice is wrong", "refund of a payment", "the invoice has no tax number", "payment by card failed"]
access = ["I forgot my password", "reset of my password", "cannot sign in", "sign in asks for a code"]
model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(billing + access, ["billing"] * 4 + ["access"] * 4)
skops.io.dump(model, "tickets.skops")

x = {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["where is my invoice?"]}
Path("request.json").write_text(json.dumps({"inputs": [x]}))
