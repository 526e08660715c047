"""MLServer's custom runtime, asked by version 2 of the protocol."""

import base64
import os

import numpy as np
import workloads
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Scorer(MLModel):
    async def load(self) -> bool:
        self.model = workloads.MODELS[os.environ["WORKLOAD"]]()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        items = StringCodec.decode_input(payload.inputs[0])
        if os.environ["WORKLOAD"] == "image":
            items = [base64.b64decode(item) for item in items]
        results = np.array(self.model.score_batch(items))  # (n, k, 2)
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output("id", results[:, :, 0].astype(np.int64)),
                NumpyCodec.encode_output("score", results[:, :, 1]),
            ],
        )
