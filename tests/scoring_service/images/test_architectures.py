"""Networks by name, with weights from files that cannot run code."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import safetensors.torch
import torch
from torch import fx, nn

from scoring_service.images.architectures import UnusableWeights, build, fit, fold_batch_norms, read_weights


class Trap:
    """An object whose unpickling calls a function, as malicious weights do."""

    def __reduce__(self):
        return pytest.fail, ("the pickle was run",)


def trained(network: nn.Module) -> nn.Module:
    """The network with batch norms that do something, as after training."""
    random = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.rand(module.num_features, generator=random) - 0.5)
            module.running_var.copy_(torch.rand(module.num_features, generator=random) + 0.5)
    return network.eval()


@pytest.mark.parametrize(
    ("library", "architecture"),
    [
        ("torchvision", "resnet18"),
        ("torchvision", "mobilenet_v3_small"),
        ("timm", "resnet10t.c3_in1k"),
        ("timm", "efficientnet_lite0.ra_in1k"),  # its batch norms also apply the activation
        ("timm", "convnext_atto.d2_in1k"),  # has none
    ],
)
@torch.no_grad()
def test_folding_batch_norms_changes_their_number_and_nothing_else(library, architecture):
    torch.manual_seed(0)
    network = trained(build(library, architecture, classes=7))
    pictures = torch.randn(2, 3, 96, 96)
    expected = network(pictures)
    faster = fold_batch_norms(network)
    torch.testing.assert_close(faster(pictures), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert not [module for module in faster.modules() if type(module) is nn.BatchNorm2d]


def test_a_network_that_cannot_be_traced_is_left_as_it_is():
    class Branching(nn.Module):
        def forward(self, pictures):
            return pictures if pictures.sum() > 0 else -pictures

    network = Branching().eval()
    assert fold_batch_norms(network) is network


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_weights_come_back_as_they_were_saved(tmp_path, name):
    weights = {"fc.weight": torch.rand(2, 3)}
    if name.endswith("safetensors"):
        safetensors.torch.save_file(weights, tmp_path / name)
    else:
        torch.save(weights, tmp_path / name)
    assert torch.equal(read_weights(tmp_path / name)["fc.weight"], weights["fc.weight"])


def test_a_pickle_that_would_run_code_is_refused_with_the_reason(tmp_path):
    torch.save({"fc.weight": Trap()}, tmp_path / "zipped.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    for path in tmp_path.iterdir():
        with pytest.raises(UnusableWeights, match=r"pth is refused: it holds more than tensors.*safetensors"):
            read_weights(path)


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(build("torchvision", "resnet10", classes=2), tmp_path / "network.pth")
    with pytest.raises(UnusableWeights, match="holds more than tensors"):
        read_weights(tmp_path / "network.pth")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.safetensors", b""),
        ("weights.safetensors", b"\xff" * 64),
        ("weights.pth", b""),
        ("weights.pth", b"PK\3\4 not really a zip file"),
    ],
)
def test_a_broken_file_of_weights_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnusableWeights, match=name):
        read_weights(tmp_path / name)


def test_tensors_that_are_no_state_dict_are_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(UnusableWeights, match="not a state dict"):
        read_weights(tmp_path / "list.pth")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda weights: weights.pop("conv1.weight"), "conv1.weight"),
        (lambda weights: weights.update(surplus=torch.zeros(1)), "surplus"),
        (lambda weights: weights.update({"fc.weight": torch.zeros(9, 512)}), "size mismatch for fc.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(change, reason):
    network = build("torchvision", "resnet10", classes=10)
    weights = network.state_dict()
    change(weights)
    with pytest.raises(UnusableWeights, match=reason):
        fit(network, weights)


@pytest.mark.parametrize(
    ("library", "architecture"),
    [("torchvision", "resnet10"), ("torchvision", "swin_v2_t"), ("timm", "vit_tiny_patch16_224")],
)
@torch.no_grad()
def test_a_network_whose_own_weights_were_never_drawn_answers_as_the_one_they_are_from(library, architecture):
    torch.manual_seed(0)
    original = trained(build(library, architecture, classes=3))
    pictures = torch.randn(1, 3, 224, 224)
    bare = build(library, architecture, classes=3, drawn=False)
    torch.testing.assert_close(fit(bare, original.state_dict())(pictures), original(pictures))


def test_weights_of_half_precision_score_as_float32():
    weights = {name: value.half() for name, value in build("torchvision", "resnet10", classes=3).state_dict().items()}
    network = fit(build("torchvision", "resnet10", classes=3, drawn=False), weights)
    assert network(torch.zeros(1, 3, 32, 32)).dtype is torch.float32


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_an_unknown_architecture_is_refused_by_name(library):
    with pytest.raises(UnusableWeights, match=f"{library} cannot build 'resnet153'"):
        build(library, "resnet153", classes=10)


def test_networks_at_work_in_other_threads_do_not_notice_that_one_is_folded():
    busy = build("torchvision", "resnet10", classes=3).eval()
    pictures = torch.rand(1, 3, 32, 32)
    done = threading.Event()

    def work() -> int:
        calls = 0
        while not done.is_set() or calls == 0:
            assert busy(pictures).shape == (1, 3)
            calls += 1
        return calls

    def fold() -> bool:
        return isinstance(fold_batch_norms(build("torchvision", "resnet18", classes=3).eval()), fx.GraphModule)

    with ThreadPoolExecutor(3) as threads, torch.no_grad():
        working = threads.submit(work)
        folded = [each.result() for each in [threads.submit(fold) for _ in range(8)]]
        done.set()
        assert working.result() > 0
    assert folded == [True] * 8
