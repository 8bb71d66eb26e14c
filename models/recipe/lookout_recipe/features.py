"""Stage `features`: the frozen trunk's two maps of every picture, cached once as float16.

Variants are views of the train pictures: 0 whole, 1 whole and mirrored, the rest random crops, the odd ones mirrored.
Resumable: a progress file beside each array counts the pictures done.
"""

import json
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from . import data, trunk
from .device import HALF, tensor
from .paths import SEED, WORK, record

SIZE = 256
FINE_TOKENS, COARSE_TOKENS = 256, 64
VARIANTS = 8
CHUNK = 32


def windows(count: int, variant: int) -> list[tuple[float, float, float, float, bool]]:
    """For each picture the crop `(x, y, width, height)` in fractions, and whether it is mirrored."""
    if variant < 2:
        return [(0.0, 0.0, 1.0, 1.0, variant == 1)] * count
    dice = random.Random(SEED + variant)
    made = []
    for _ in range(count):
        width, height = (dice.uniform(0.65, 1.0) for _ in range(2))
        made.append((dice.uniform(0, 1 - width), dice.uniform(0, 1 - height), width, height, variant % 2 == 1))
    return made


def view(pixels: np.ndarray, window) -> np.ndarray:
    x, y, width, height, mirrored = window
    if (width, height) != (1.0, 1.0):
        side = pixels.shape[0]
        picture = Image.fromarray(pixels)
        pixels = np.asarray(picture.resize((side, side), Image.BICUBIC, (x * side, y * side, (x + width) * side, (y + height) * side)))
    return pixels[:, ::-1] if mirrored else pixels


def arrays(name: str, variant: int, mode="r"):
    stem = WORK / "features" / f"{name.replace('/', '-')}-{variant}"
    count = len(data.images(name))
    if mode != "r" and not stem.with_suffix(".fine").exists():
        stem.parent.mkdir(parents=True, exist_ok=True)
        mode = "w+"
    fine = np.memmap(stem.with_suffix(".fine"), np.float16, mode, shape=(count, FINE_TOKENS, trunk.FINE))
    coarse = np.memmap(stem.with_suffix(".coarse"), np.float16, mode, shape=(count, COARSE_TOKENS, trunk.COARSE))
    return fine, coarse, stem.with_suffix(".json")


def through(model, batch: list[np.ndarray], side: int | None = None):
    """Both maps of a batch of pictures `[SIZE, SIZE, 3]` through `trunk.quick()`, which may take them smaller."""
    x = tensor(np.stack(batch)).permute(0, 3, 1, 2).float()
    if side:
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
    return model(((x - 127) / 128).to(HALF).contiguous(memory_format=torch.channels_last))


def tokens(maps: torch.Tensor) -> np.ndarray:
    """A map `[B, C, H, W]` as tokens `[B, H * W, C]`."""
    return maps.flatten(2).transpose(1, 2).half().cpu().numpy()


def cache(model, name: str, variant: int) -> None:
    images = data.images(name)
    fine, coarse, progress = arrays(name, variant, "r+")
    done = json.loads(progress.read_text())["done"] if progress.exists() else 0
    if done == len(images):
        return
    began, seen = time.time(), windows(len(images), variant)
    source = data.pictures(name, SIZE, images[done:])
    batch = []
    with torch.inference_mode():
        for index, pixels in enumerate(source, done):
            batch.append(view(pixels, seen[index]))
            if len(batch) == CHUNK or index == len(images) - 1:
                a, b = through(model, batch)
                at = slice(index + 1 - len(batch), index + 1)
                fine[at] = tokens(a)
                coarse[at] = tokens(b)
                batch = []
                progress.write_text(json.dumps({"done": index + 1}))
    fine.flush(), coarse.flush()
    record("features", set=name, variant=variant, pictures=len(images), seconds=round(time.time() - began))


def main() -> None:
    model = trunk.quick()
    cache(model, "flickr8k/dev", 0)
    cache(model, "daquar/train", 0)
    for variant in range(VARIANTS):
        cache(model, "flickr8k/train", variant)


if __name__ == "__main__":
    main()
