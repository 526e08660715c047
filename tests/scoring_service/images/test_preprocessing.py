"""What a network gets to see of a picture."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision.models import ResNet152_Weights

from scoring_service.images import photos
from scoring_service.images.imagenet import timm_source, torchvision_source
from scoring_service.images.preprocessing import Preprocessing


@pytest.fixture(params=["wide", "tall", "tiny"])
def picture(request) -> Image.Image:
    wide = photos.photo("china", longest=600)
    return {"wide": wide, "tall": wide.rotate(90, expand=True), "tiny": wide.resize((30, 17))}[request.param]


def network_input(preprocessing: Preprocessing, picture: Image.Image) -> torch.Tensor:
    return preprocessing.normalised(preprocessing.pixels(picture).unsqueeze(0))[0]


def test_resnet_152_sees_exactly_what_torchvisions_weights_prescribe(picture):
    expected = ResNet152_Weights.IMAGENET1K_V2.transforms()(picture)
    torch.testing.assert_close(network_input(torchvision_source("resnet152").preprocessing, picture), expected)


@pytest.mark.parametrize("architecture", ["resnet10t.c3_in1k", "convnext_atto.d2_in1k"])
def test_a_timm_network_sees_exactly_what_timm_prescribes(architecture, picture):
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(architecture).to_dict())
    expected = timm.data.create_transform(**config)(picture)
    torch.testing.assert_close(network_input(timm_source(architecture).preprocessing, picture), expected)


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (1, 1)])
def test_a_hair_thin_picture_needs_no_more_memory_than_another(size):
    pixels = torchvision_source("resnet152").preprocessing.pixels(Image.new("RGB", size, (200, 100, 50)))
    assert pixels.shape == (3, 224, 224)
    assert np.abs(pixels.float().mean(dim=(1, 2)).numpy() - (200, 100, 50)).max() < 1
