"""A network of PyTorch, exported: writes line.pt2 and request.json."""

import json
from pathlib import Path

import torch

torch.manual_seed(0)
network = torch.nn.Linear(2, 1)
points = torch.rand(256, 2)
optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
for _ in range(300):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(network(points), points @ torch.tensor([[3.0], [-1.0]]) + 2)
    loss.backward()
    optimizer.step()
rows = torch.export.Dim("rows")
torch.export.save(torch.export.export(network.eval(), (points[:2],), dynamic_shapes=({0: rows},)), "line.pt2")

x = {"name": "input", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 1.0]}
Path("request.json").write_text(json.dumps({"inputs": [x]}))
