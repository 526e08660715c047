"""What a network was trained to look at: size, crop and colour statistics, as stored with a version."""

from typing import Annotated, Literal

import torch
from msgspec import Meta, Struct
from PIL import Image

from scoring_service.contract import studied
from scoring_service.images.vision import InterpolationMode, transform

_LONGEST_TO_SHORTEST = 8


@studied
class Preprocessing(Struct, frozen=True, kw_only=True):
    """The steps from a decoded picture to a network's input, as torchvision's and timm's weights state them.

    resize: pixels; one number is the shorter side, two are height and width exactly (the picture is stretched).
    crop: pixels, height and width cut from the middle.
    mean, std: one number a channel, of values from 0 to 1.
    """

    resize: Annotated[tuple[int, ...], Meta(min_length=1, max_length=2)]
    crop: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"

    @property
    def enough(self) -> int:
        """Pixels a side beyond which a decoder may save itself work: twice what is looked at, so that resizing still
        averages."""
        return 2 * max(*self.resize, *self.crop)

    def pixels(self, picture: Image.Image) -> torch.Tensor:
        """The part of the picture the network sees: uint8 (3, height, width).

        Resized by Pillow, so always antialiased, and equal to what the weights' own transforms give.
        """
        resized = transform.resize(
            _without_far_ends(picture), list(self.resize), InterpolationMode(self.interpolation), antialias=True
        )
        cut = transform.center_crop(resized, list(self.crop))
        pixels: torch.Tensor = transform.pil_to_tensor(cut)
        return pixels

    def seen(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Which part of a picture of that size `pixels` shows: left, top, right and bottom, in shares of its sides.

        Below 0 and above 1 where the network sees an empty margin.
        """
        within_width, within_height = _middle(width, height)
        if len(self.resize) == 1:
            scale = self.resize[0] / min(within_width, within_height)
            resized_width, resized_height = scale * within_width, scale * within_height
        else:
            resized_height, resized_width = self.resize
        across = self.crop[1] / resized_width * within_width / width
        down = self.crop[0] / resized_height * within_height / height
        return (1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 (n, 3, height, width), in units of `std` from `mean`, from uint8 of the same shape."""
        mean = torch.tensor(self.mean, device=pixels.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, 3, 1, 1)
        return pixels.float().div_(255).sub_(mean).div_(std)


def _without_far_ends(picture: Image.Image) -> Image.Image:
    """The middle of a picture that is very long and thin, any other as it is.

    Resizing the shorter side of 1 × 50,000,000 pixels to 232 would fill the memory, for a crop that only sees the
    middle.
    """
    width, height = picture.size
    within_width, within_height = _middle(width, height)
    if (within_width, within_height) == (width, height):
        return picture
    left, top = (width - within_width) // 2, (height - within_height) // 2
    return picture.crop((left, top, left + within_width, top + within_height))


def _middle(width: int, height: int) -> tuple[int, int]:
    """Width and height of what is looked at, of a picture of that size."""
    longest = _LONGEST_TO_SHORTEST * min(width, height)
    return min(width, longest), min(height, longest)
