"""The two models that every server answers with, and what they are asked: generated from seeds, the same everywhere.

Scoring scripts and the other servers' environments import this file by itself, so it needs nothing of ours.
"""

import io
import itertools
import os
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# --- Questions: the ten most similar of 2,000 stored ones, by TF-IDF -------------------------------------------------

STORED = 2_000
ASKED = 200
WORDS = 8_000
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is")]
TOP_FAQ = 10


def stored_questions() -> list[str]:
    """12 to 40 made-up words each, few of them frequent and most rare, as in a language."""
    drawn = random.Random("stored")
    words: dict[str, None] = {}
    while len(words) < WORDS:
        words["".join(drawn.choices(SYLLABLES, k=drawn.choice((1, 2, 2, 3, 3, 3, 4))))] = None
    shares = list(itertools.accumulate(1 / (place + 3) for place in range(WORDS)))
    vocabulary = list(words)
    return [" ".join(drawn.choices(vocabulary, cum_weights=shares, k=drawn.randint(12, 40))) for _ in range(STORED)]


def asked_questions() -> list[str]:
    """Stored questions, put differently: of their words one in six is left out and one in five replaced."""
    drawn = random.Random("asked")
    stored = stored_questions()
    asked = []
    for question in drawn.sample(stored, ASKED):
        others = drawn.choice(stored).split()
        words = [word for word in question.split() if drawn.random() > 1 / 6]
        asked.append(" ".join(drawn.choice(others) if drawn.random() < 1 / 5 else word for word in words) + "?")
    return asked


class Faq:
    """As one writes it with scikit-learn."""

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.vectorizer = TfidfVectorizer(ngram_range=(1, 2))
        self.matrix_t = self.vectorizer.fit_transform(stored_questions()).T.tocsr()

    def score_batch(self, questions: list[str]) -> list[list[tuple[int, float]]]:
        """Of each question the places of the ten most similar, best first, with their cosines."""
        import numpy as np

        cosines = (self.vectorizer.transform(questions) @ self.matrix_t).toarray()
        best = np.argpartition(-cosines, TOP_FAQ, axis=1)[:, :TOP_FAQ]
        values = np.take_along_axis(cosines, best, axis=1)
        order = np.lexsort((best, -values), axis=1)
        places = np.take_along_axis(best, order, axis=1).tolist()
        return [
            list(zip(*row, strict=True))
            for row in zip(places, np.take_along_axis(values, order, axis=1).tolist(), strict=True)
        ]


# --- Pictures: ResNet-152 with random weights, three best classes ----------------------------------------------------

TOP_IMAGE = 3
RESIZED, CROPPED = 232, 224  # pixels, as torchvision's own weights have it
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SPREAD = 20  # of the last layer's weights: as drawn, all classes would be about as probable


def random_resnet152() -> "torch.nn.Module":
    """The network, in evaluation mode; activations stay within range although nothing was trained."""
    import torch
    from torchvision.models import resnet152

    torch.manual_seed(7)
    network = resnet152(weights=None)
    for name, parameter in network.named_parameters():
        if name.endswith("bn3.weight"):
            torch.nn.init.constant_(parameter, 0.2)
    with torch.no_grad():
        network.fc.weight.mul_(SPREAD)
    return network.eval()


class Image:
    """As one writes it with torchvision: Pillow decodes, the network runs in float32, channels last."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self.network = random_resnet152().to(memory_format=torch.channels_last)

    def prepared(self, file: bytes) -> "torch.Tensor":
        """float32 (3, 224, 224), in units of the deviation from the mean."""
        import numpy as np
        import torch
        from PIL import Image as Pillow

        picture = Pillow.open(io.BytesIO(file)).convert("RGB")
        scale = RESIZED / min(picture.size)
        width, height = (int(side * scale) for side in picture.size)
        picture = picture.resize((width, height), Pillow.Resampling.BILINEAR)
        left, top = round((width - CROPPED) / 2), round((height - CROPPED) / 2)
        pixels = np.array(picture.crop((left, top, left + CROPPED, top + CROPPED)), dtype=np.float32)
        pixels = (pixels / 255 - np.array(MEAN, dtype=np.float32)) / np.array(DEVIATION, dtype=np.float32)
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def score_batch(self, files: list[bytes]) -> list[list[tuple[int, float]]]:
        """Of each picture the three most probable classes, best first, with their probabilities."""
        import torch

        batch = torch.stack([self.prepared(file) for file in files]).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            best = self.network(batch).softmax(1).topk(TOP_IMAGE)
        return [list(zip(*row, strict=True)) for row in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


MODELS = {"faq": Faq, "image": Image}


def as_object(best: list[tuple[int, float]]) -> dict[str, list[float]]:
    """The answer as servers give it that have no form of their own."""
    return {"id": [place for place, _ in best], "score": [score for _, score in best]}
