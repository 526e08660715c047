"""How many threads, and which precision."""

import os

import pytest
import torch
from torch import nn

from scoring_service.cpus import cpu_limit
from scoring_service.images.device import NoUsableNumbers, choose_precision, has_fast_bfloat16

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "99000000 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_threads_follow_the_containers_quota_and_the_cpus_it_is_bound_to(tmp_path, files, limit):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert cpu_limit(tmp_path) == (limit or len(os.sched_getaffinity(0)))


class Scorer(nn.Module):
    """Two outputs that differ by `margin` of the picture's sum: bfloat16 cannot tell a small one."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0], [1.0 + margin]]))

    def forward(self, pictures):
        return pictures.sum(dim=(1, 2, 3)).unsqueeze(1) @ self.weight.T


def test_float32_stays_where_bfloat16_would_name_a_picture_differently():
    network = Scorer(margin=1e-4)
    chosen, choice = choose_precision(network, torch.ones(3, 3, 4, 4))
    assert chosen is network
    assert choice.dtype is torch.float32
    if has_fast_bfloat16(CPU):
        assert choice.reason == "bfloat16 agrees with float32 on the best label of 0 of 3 smoke pictures"


def test_without_smoke_pictures_nothing_vouches_for_bfloat16():
    _, choice = choose_precision(Scorer(margin=1), torch.empty(0, 3, 4, 4))
    assert (choice.name, choice.reason) == ("float32", "there are no smoke pictures to compare on")


def test_bfloat16_is_taken_only_when_it_agrees_and_says_how_much_faster_it_is():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 256, 3), nn.Conv2d(256, 256, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    chosen, choice = choose_precision(network, torch.ones(2, 3, 64, 64))
    assert next(chosen.parameters()).dtype is choice.dtype
    if has_fast_bfloat16(CPU):
        assert "ms in bfloat16" in choice.reason
    else:
        assert choice.reason == "this processor has no bfloat16 instructions"


def test_weights_that_give_no_numbers_are_refused():
    with pytest.raises(NoUsableNumbers, match="NaN or infinity"):
        choose_precision(Scorer(margin=float("nan")), torch.ones(1, 3, 4, 4))
