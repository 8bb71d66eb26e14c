"""Stage `agree`: does the int8 bundle on the runtime answer as the float networks do? And if not, which part costs it?

The first 200 pictures of Flickr8k dev, stretched by Pillow, go to both as the same pixels. Compared are the best of
fixed labels and "none of these", the greedy caption, the embedding and the patch tokens; then the same with the float
networks rounded one part at a time (see `rounding`). Needs the release binary: `cargo build --release`, or another
one in LOOKOUT_BINARY.
"""

import copy
import hashlib
import io
import json
import os
import subprocess
import tarfile
import tomllib
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer

from . import data, trunk
from .align import embed_texts, encode, recall
from .export import BUNDLE, SIZE, trained
from .model import GRID, PATCH
from .patch import said
from .paths import REPOSITORY, WORK, record
from .rounding import fold, round_activations, round_weights, rounded
from .words import ANSWER, END, QUESTION, START, clean

PICTURES, EVERY = 200, 5
OUT = WORK / "agree"
SET = "flickr8k/dev"
LABELS = """a dog, a cat, a horse, a bird, a cow, a man, a woman, a boy, a girl, a baby, a crowd of people, a football player,
a bicycle, a motorcycle, a car, a bus, a train, a boat, a skateboard, a surfboard, a ball, a swing, a slide, a swimming pool,
a beach, a lake, a river, a waterfall, a mountain, snow, a forest, a grass field, a street, a building, a kitchen,
a living room, a bedroom, a sofa, a chair, a table, a bed, a lamp, a window, a television, a computer, a book, a guitar,
food, a cup, a flower"""
NONE = "none of these"
FORMS = ("float", "weights", "activations", "int8")
# What the runtime never says, and the run of tokens that it never says twice.
NEVER, RUN = ["[PAD]", "[UNK]", "[MASK]", START, QUESTION, ANSWER], 3


class Networks:
    """Image tower, text tower and speaker in one form: float, or rounded in weights, activations or both."""

    def __init__(self, networks, form: str):
        self.body, self.head, self.text, self.speaker = copy.deepcopy(networks)
        if form in ("weights", "int8"):
            for part in (self.body, self.head, self.text, self.speaker):
                round_weights(part)
        if form in ("activations", "int8"):
            # The stem and the first three blocks keep float activations: see `export.image_graph`.
            for part in (self.body.blocks[3:], self.head, self.text, self.speaker):
                round_activations(part)
            self.speaker.norm.register_forward_hook(lambda _, __, out: rounded(out))

    def see(self, pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """`[B, 256, 256, 3]` uint8 to unit embeddings `[B, 384]` and patches `[B, 256, 256]`."""
        embeddings, patches = [], []
        for part in torch.from_numpy(pixels).split(25):
            x = self.body.stem((part.permute(0, 3, 1, 2).float() / 255 - trunk.MEAN) / trunk.STD)
            for block in self.body.blocks[: trunk.LAST_FINE_BLOCK + 1]:
                x = block(x)
            fine = x.flatten(2).transpose(1, 2)
            tokens, features = self.head.coarse(fine)
            embeddings.append(F.normalize(self.head.embed(tokens, features), dim=-1))
            patches.append(self.head.patches(fine, tokens))
        return torch.cat(embeddings), torch.cat(patches)

    def name(self, labels: list[str], templates: list[str]) -> torch.Tensor:
        return F.normalize(sum(embed_texts(self.text, encode([t.replace("{}", n) for n in labels])) for t in templates), dim=-1)

    def caption(self, patches: torch.Tensor, tokenizer: Tokenizer, most: int):
        """Greedy captions, and for each the lead in log-probability of every word over the next best one."""
        start, end = (tokenizer.token_to_id(t) for t in (START, END))
        banned = [tokenizer.token_to_id(t) for t in NEVER]
        words, leads, open_ = [[] for _ in patches], [[] for _ in patches], list(range(len(patches)))
        for _ in range(most):
            if not open_:
                break
            logits = self.speaker(torch.tensor([[start, *words[i]] for i in open_]), patches[open_])[:, -1].log_softmax(-1)
            logits[:, banned] = -torch.inf
            for row, i in enumerate(open_):
                logits[row, closing(words[i])] = -torch.inf
            best = logits.topk(2)
            for i, tokens, scores in zip(open_, best.indices, best.values):
                words[i].append(tokens[0].item()), leads[i].append((scores[0] - scores[1]).item())
            open_ = [i for i in open_ if words[i][-1] != end]
        return [[t for t in w if t != end] for w in words], leads

    def surprise(self, patches: torch.Tensor, captions: list[list[list[int]]]) -> float:
        """Mean negative log-probability of a token of people's captions."""
        lost, count = 0.0, 0
        for at in range(0, len(captions), 20):
            ids, want = said([([c[0]], c[1:]) for five in captions[at : at + 20] for c in five])
            logits = self.speaker(ids, patches[at : at + 20])
            lost += F.cross_entropy(logits.flatten(0, 1), want.flatten(), ignore_index=-100, reduction="sum").item()
            count += (want >= 0).sum().item()
        return lost / count


def closing(words: list[int]) -> list[int]:
    """The tokens that would complete a run that was said before."""
    tail = words[len(words) - RUN + 1 :]
    return [words[i + RUN - 1] for i in range(len(words) - RUN + 1) if words[i : i + RUN - 1] == tail] if len(words) >= RUN - 1 else []


class Runtime:
    """The lookout binary with a bundle."""

    def __init__(self, bundle: Path):
        self.binary, self.bundle = os.environ.get("LOOKOUT_BINARY", REPOSITORY / "target" / "release" / "lookout"), bundle

    def __call__(self, *words) -> dict:
        done = subprocess.run([self.binary, *words, "--bundle", self.bundle, "--json", "--quiet"], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"lookout {' '.join(map(str, words))}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def label(self, picture: Path, labels: list[str]) -> str:
        answer = self("label", picture, "--labels", ",".join(labels))
        best = answer["labels"][0]
        return NONE if answer["none"] > best["score"] else best["label"]

    def embed(self, picture: Path) -> list[float]:
        return self("embed", picture)["embedding"]


def patches_as_embedding(folder: Path) -> Path:
    """A bundle of the committed image tower that gives every fifth patch token for an embedding (16,384 values are the
    most that one may have), so that `lookout embed` prints them."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load(str(BUNDLE / "image.onnx"))
    patches = next(n.input[0] for n in model.graph.node if n.output[0] == "patches")
    kept = [n for n in model.graph.node if n.output[0] not in ("patches", "embedding")]
    chosen = list(range(0, GRID * GRID, EVERY))
    for name, values in {"chosen": chosen, "flat": [1, len(chosen) * PATCH]}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
    kept.append(onnx.helper.make_node("Gather", [patches, "chosen"], ["some"], name="some", axis=1))
    kept.append(onnx.helper.make_node("Reshape", ["some", "flat"], ["embedding"], name="flatten"))
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(kept)
    model.graph.output.append(onnx.helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, [1, len(chosen) * PATCH]))
    content = model.SerializeToString()
    (folder / "image.onnx").write_bytes(content)
    picture = next(part for part in (BUNDLE / "lookout.toml").read_text().split("\n\n") if part.startswith("[picture]"))
    file = f'path = "image.onnx"\nsha256 = "{hashlib.sha256(content).hexdigest()}"\nbytes = {len(content)}\nquantisation = "int8"'
    head = 'format = 1\nname = "patches"\nversion = "1"\nlicence = "as the default bundle"'
    parts = [head, picture, f"[embedding]\nwidth = {len(chosen) * PATCH}", f"[files.image]\n{file}"]
    (folder / "lookout.toml").write_text("\n\n".join(parts) + "\n")
    return folder


def main() -> None:
    print(patches_as_embedding(OUT / "patches-bundle"))


if __name__ == "__main__":
    main()
