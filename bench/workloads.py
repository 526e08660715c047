"""What the benchmarks ask: questions as people type them, and pictures of a camera's size. Generated from seeds."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SAMPLE_FAQ = Path(__file__).resolve().parents[1] / "webapp" / "faq" / "sample"


def questions(count: int = 200) -> list[str]:
    """Held-out phrasings of the sample FAQ: questions the model was not trained on."""
    held_out: list[str] = []
    for path in sorted(SAMPLE_FAQ.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            held_out += json.loads(line).get("test_phrasings", [])
    return held_out[:count]


def pictures(count: int = 20) -> list[bytes]:
    """JPEG files of 640×480 pixels, some 60–100 kB each: soft colours, circles, grain."""
    files = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        coarse = Image.fromarray(random.integers(0, 255, (9, 12, 3), dtype=np.uint8))
        picture = coarse.resize((640, 480), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        for x, y, radius in random.integers((0, 0, 10), (640, 480, 80), size=(30, 3)).tolist():
            colour = tuple(random.integers(0, 255, 3).tolist())
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        grainy = np.asarray(picture, dtype=np.float32) + random.normal(0, 7, (480, 640, 1))
        file = io.BytesIO()
        Image.fromarray(grainy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
        files.append(file.getvalue())
    return files
