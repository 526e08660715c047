"""What image models import."""

import subprocess
import sys

SCRIPT = """
import sys
import torch
from scoring_service.runtimes import torchvision
assert not {"sympy", "torch._dynamo"} & set(sys.modules), "the compiler was imported"
print(torch.compile(lambda number: number + 1, backend="eager")(torch.ones(1)).item())
"""


def test_image_models_start_without_the_compiler_and_it_works_for_who_wants_it():
    outcome = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (outcome.stdout, outcome.returncode) == ("2.0\n", 0), outcome.stderr
