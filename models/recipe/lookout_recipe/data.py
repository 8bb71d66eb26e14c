"""Reading the data sets: a `.tar` of JPEG files beside a `.jsonl` with one row an image."""

import gzip
import io
import json
import tarfile

import numpy as np
from PIL import Image

from .paths import DATA


def rows(name: str) -> list[dict]:
    """Rows of a set such as `flickr8k/train`."""
    with open(DATA / f"{name}.jsonl") as lines:
        return [json.loads(line) for line in lines]


def images(name: str) -> list[str]:
    """File names of a set's pictures, each once, in the order of its rows."""
    return list(dict.fromkeys(row["image"] for row in rows(name)))


def questions() -> list[tuple[int, dict]]:
    """The rows of the questions about rooms, each with the place of its picture among `images`."""
    place = {image: i for i, image in enumerate(images("daquar/train"))}
    return [(place[row["image"]], row) for row in rows("daquar/train")]


def pictures(name: str, size: int, wanted: list[str]):
    """Yields `[size, size, 3]` uint8 arrays in the order of `wanted`, stretched as the runtime does."""
    with tarfile.open(DATA / f"{name}.tar") as tar:
        members = {m.name.removeprefix("./").split("/")[-1]: m for m in tar.getmembers() if m.isfile()}
        for image in wanted:
            picture = Image.open(io.BytesIO(tar.extractfile(members[image]).read())).convert("RGB")
            yield np.asarray(picture.resize((size, size), Image.BICUBIC))


def class_names() -> dict[str, str]:
    """ImageNet-1k names by WordNet id."""
    with open(DATA / "imagenet-sample" / "labels.jsonl") as lines:
        return {row["image"].removesuffix(".jpg"): row["label"] for row in map(json.loads, lines)}


def sentences() -> list[str]:
    with gzip.open(DATA / "text" / "flickr30k-sentences.txt.gz", "rt") as lines:
        return [line.strip() for line in lines if line.strip()]
