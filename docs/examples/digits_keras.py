"""A network of Keras: writes digits.keras and request.json. Set KERAS_BACKEND to torch or tensorflow."""

import json
from pathlib import Path

import keras
from sklearn.datasets import load_digits

keras.utils.set_random_seed(0)
pixels, digits = load_digits(return_X_y=True)
pixels = pixels.astype("float32") / 16
network = keras.Sequential(
    [keras.Input((64,), name="pixels"), keras.layers.Dense(32, "relu"), keras.layers.Dense(10, "softmax")]
)
network.compile("adam", "sparse_categorical_crossentropy")
network.fit(pixels, digits, epochs=15, verbose=0)
network.save("digits.keras")

x = {"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": pixels[0].tolist()}
Path("request.json").write_text(json.dumps({"inputs": [x]}))
