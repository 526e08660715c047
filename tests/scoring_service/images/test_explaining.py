"""Where in a picture its label was seen: heatmaps of the pod, for networks whose answer is known to lie somewhere."""

import io
import math

import numpy as np
import pytest
import torch
import tritonclient.http as triton
from msgspec.structs import replace
from PIL import Image

from scoring_service.contract import TrainingData
from scoring_service.images import digits
from scoring_service.images.architectures import build, fit, fold_batch_norms, read_weights
from scoring_service.images.explaining import explainer_of
from scoring_service.images.labels import Label
from scoring_service.images.preprocessing import Preprocessing
from scoring_service.images.registration import register
from tests.pods import start_pod

SIDE = 128
BLUE = (0, 0, 200)
CORNERS = [(35, 5), (165, 5), (35, 135), (165, 135)]  # of a patch in a picture of 240 × 180, of which 180 × 180 is seen
PATCH = 40


def red_detector() -> torch.nn.Module:
    """Says "red" for a picture with something red in it: its first channel is redness, from end to end."""
    network = build("torchvision", "resnet10", classes=2)
    with torch.no_grad():
        for weights in network.parameters():
            weights.zero_()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(1)
        network.conv1.weight[0, :, 3, 3] = torch.tensor([1.0, -1.0, -1.0])
        for block in (network.layer2[0], network.layer3[0], network.layer4[0]):
            block.conv1.weight[0, 0] = 1 / 9
            block.conv2.weight[0, 0, 1, 1] = 1
        network.fc.weight[0, 0] = 10
        network.fc.bias[1] = 0.1
    return network


def picture(corner: tuple[int, int] | None) -> bytes:
    """A blue picture, with a red patch whose upper left corner lies there."""
    drawn = Image.new("RGB", (240, 180), BLUE)
    if corner:
        drawn.paste((255, 0, 0), (*corner, corner[0] + PATCH, corner[1] + PATCH))
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Of a pod with the red detector, and a transformer, which has no map of the picture."""
    store = tmp_path_factory.mktemp("store")
    for model, library, architecture, network, side in (
        ("red", "torchvision", "resnet10", red_detector(), SIDE),
        ("tokens", "timm", "vit_tiny_patch16_224", build("timm", "vit_tiny_patch16_224", classes=2), 224),
    ):
        register(
            store,
            model,
            library=library,
            architecture=architecture,
            weights=network.state_dict(),
            labels=[Label("r", "red"), Label("n", "nothing")],
            preprocessing=Preprocessing(resize=(side,), crop=(side, side), mean=(0.5,) * 3, std=(0.5,) * 3),
            smoke=[("patch.png", picture(CORNERS[0]))],
            title=model,
            description="",
            sample=True,
            metrics={},
            data=TrainingData("nothing: the weights are set by hand, or random"),
        )
    with start_pod(store, "gpu") as pod:
        client = triton.InferenceServerClient(pod.url.removeprefix("http://"))
        yield client
        client.close()


def explained(client, files: list[bytes], model: str = "red", *, binary: bool = True) -> list[tuple[str, Image.Image]]:
    """The best label of each picture, and its heatmap."""
    tensor = triton.InferInput("image", [len(files)], "BYTES")
    tensor.set_data_from_numpy(np.array(files, dtype=object))
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "heatmap")]
    answer = client.infer(model, [tensor], outputs=outputs, parameters={"top_k": 1})
    heatmaps = answer.as_numpy("heatmap")
    assert heatmaps.shape == (len(files),)
    labels = [label.decode() for label in answer.as_numpy("label")[:, 0]]
    return [(label, Image.open(io.BytesIO(png))) for label, png in zip(labels, heatmaps, strict=True)]


def heat_of(overlay: Image.Image) -> np.ndarray:
    """0 to 1 for each pixel: how opaque it is."""
    return np.asarray(overlay.convert("RGBA"), dtype=float)[..., 3] / 255


def test_the_heat_of_each_picture_of_a_batch_lies_where_its_label_was_seen(client):
    answers = explained(client, [picture(corner) for corner in CORNERS])
    for (label, overlay), (left, top) in zip(answers, CORNERS, strict=True):
        assert label == "red"
        assert (overlay.format, overlay.size) == ("PNG", (320, 240))  # the picture's proportions
        heat = heat_of(overlay)
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        scale = 240 / 320
        centre = left + PATCH / 2, top + PATCH / 2
        assert math.dist((x * scale, y * scale), centre) < PATCH  # a position of the map is 45 pixels wide
        rows, columns = slice(0, 120) if top < 90 else slice(120, 240), slice(0, 160) if left < 120 else slice(160, 320)
        assert heat[rows, columns].sum() > 0.8 * heat.sum()


def test_what_the_network_does_not_see_is_clear_and_so_is_a_picture_without_reasons(client):
    (_, beside), (label, nothing) = explained(client, [picture((0, 70)), picture(None)])
    assert heat_of(beside)[:, :39].max() == 0  # 30 of 240 pixels on each side are cut off
    assert heat_of(beside).max() > 0.9
    assert label == "nothing"
    assert heat_of(nothing).max() == 0


def test_only_those_who_ask_get_a_heatmap(client):
    tensor = triton.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([picture(CORNERS[0])], dtype=object))
    assert client.infer("red", [tensor]).as_numpy("heatmap") is None
    [heatmap] = [each for each in client.get_model_metadata("red")["outputs"] if each["name"] == "heatmap"]
    assert heatmap["parameters"] == {"json": "base64", "optional": True}


def test_a_network_without_a_map_of_the_picture_says_that_it_has_no_such_output(client):
    assert "heatmap" not in [each["name"] for each in client.get_model_metadata("tokens")["outputs"]]
    with pytest.raises(triton.InferenceServerException, match="there is no output 'heatmap'") as refusal:
        explained(client, [picture(None)], "tokens")
    assert refusal.value.status() == "400"


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.12)])
@pytest.mark.parametrize("layer", ["layer2", "layer4"])
def test_folded_weights_in_either_precision_give_the_heat_of_plain_slopes(digits_store, layer, dtype, tolerance):
    """Against the definition, by autograd through the whole network as it was trained."""
    side, last = {"layer2": (digits.SIDE, False), "layer4": (128, True)}[layer]
    plain = fit(
        build("torchvision", digits.ARCHITECTURE, classes=10),
        read_weights(digits_store / "digits" / "1" / "weights.safetensors"),
    )
    preprocessing = replace(digits.PREPROCESSING, resize=(side,), crop=(side, side))
    pictures = preprocessing.normalised(
        torch.stack([preprocessing.pixels(digits.picture(ink, 64).convert("RGB")) for ink in digits.load()[1].ink[:12]])
    )
    kept = {}
    getattr(plain, layer).register_forward_hook(lambda _module, _given, output: kept.update(map=output))
    best = plain(pictures).max(1)
    slopes = torch.autograd.grad(best.values.sum(), kept["map"])[0]
    if last:
        slopes = slopes.mean((2, 3), keepdim=True)
    expected = (slopes * kept["map"]).sum(1).relu().detach()
    expected /= expected.amax((1, 2), keepdim=True)

    network = fold_batch_norms(plain).to(dtype, memory_format=torch.channels_last)
    explain = explainer_of(network, pictures[:1].to(dtype))
    logits, heat = explain(pictures.to(dtype))
    assert torch.equal(logits.argmax(1), best.indices)
    torch.testing.assert_close(heat, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("library", "architecture", "side", "positions"),
    [
        ("torchvision", "resnet152", 224, 7),
        ("torchvision", "resnet10", 32, 4),  # the digits: at its end there is a single position
        ("torchvision", "densenet121", 224, 7),
        ("torchvision", "mobilenet_v3_small", 224, 7),
        ("timm", "convnext_atto", 224, 7),
        ("timm", "vit_tiny_patch16_224", 224, None),
        ("timm", "swin_tiny_patch4_window7_224", 224, None),  # whose maps have their channels last
    ],
)
def test_the_last_map_that_tells_parts_of_the_picture_apart_is_taken(library, architecture, side, positions):
    network = fold_batch_norms(build(library, architecture, classes=3).eval())
    explain = explainer_of(network, torch.zeros(1, 3, side, side))
    if positions is None:
        assert explain is None
        return
    logits, heat = explain(torch.rand(2, 3, side, side))
    assert logits.shape == (2, 3)
    assert heat.shape == (2, positions, positions)


def test_a_network_that_cannot_be_followed_is_not_explained():
    assert explainer_of(torch.nn.Conv2d(3, 8, 3).eval(), torch.zeros(1, 3, 32, 32)) is None
