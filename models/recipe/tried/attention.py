"""`python attention.py [--passes N]`: static keys, convolutional static keys and full attention, trained alike.

Four blocks of width 256 on the 8 x 8 map of the aligned tower (stage `align`), whose convolutions and text tower stay as
they are; from the same seed, for the same passes over the same views of the train pictures, against captions and the
image teacher's classes. Prints parameters, multiply-adds, milliseconds of the blocks in onnxruntime, and what the
embedding is worth on the dev part. Resumes: what was trained is kept in `LOOKOUT_WORK/attention`.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lookout_recipe import data, features, pool  # noqa: E402
from lookout_recipe.align import class_loss, embed_texts, recall, with_others  # noqa: E402
from lookout_recipe.device import mixed  # noqa: E402
from lookout_recipe.model import EMBEDDING, Block, StaticKeyAttention  # noqa: E402
from lookout_recipe.patch import tower  # noqa: E402
from lookout_recipe.paths import SEED, WORK, record  # noqa: E402
from lookout_recipe.teaching import ALIKE, said_by_teachers, ways_to_say  # noqa: E402
from lookout_recipe.text import encode  # noqa: E402
from kinds import ConvolutionalStaticKeys, FullAttention  # noqa: E402

WIDTH, LAYERS, HEADS, SIDE, BATCH, CLASSES, VIEWS = 256, 4, 4, 8, 256, 64, 2
TOKENS = SIDE * SIDE
OUT = WORK / "attention"


KINDS = {"static keys": StaticKeyAttention, "convolutional static keys": ConvolutionalStaticKeys, "full": FullAttention}


class Blocks(nn.Module):
    """`[B, 64, 1280]` to an embedding `[B, 384]`: nothing but the blocks sees one token beside another."""

    def __init__(self, kind: str):
        super().__init__()
        self.narrow, self.position = nn.Linear(1280, WIDTH), nn.Parameter(torch.randn(TOKENS, WIDTH) * 0.02)
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS, TOKENS, 2, 0.1) for _ in range(LAYERS))
        for block in self.blocks:
            block.attention = KINDS[kind](WIDTH, HEADS, TOKENS)
        self.norm, self.project = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, EMBEDDING)

    def through(self, x):
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, x):
        return self.project(self.norm(self.through(self.narrow(x) + self.position)).mean(1))


def multiply_adds(kind: str) -> int:
    linear = TOKENS * WIDTH * WIDTH
    mixing = TOKENS * TOKENS * WIDTH
    # query, value, out and feed-forward of ratio 2; the weighted sum of values; then what is the kind's own
    common = 3 * linear + 4 * linear + mixing
    own = {"static keys": TOKENS * WIDTH * TOKENS, "convolutional static keys": 9 * TOKENS * WIDTH * TOKENS, "full": linear + mixing}
    return LAYERS * (common + own[kind])


def milliseconds(model: Blocks, repeats: int = 200) -> float:
    """Median of the blocks alone in onnxruntime, float32, one thread. Static keys unfolded."""
    import onnxruntime

    path = OUT / "blocks.onnx"
    wrapped = nn.Module()
    wrapped.blocks, wrapped.forward = model.blocks, model.through
    torch.onnx.export(wrapped.eval(), (torch.zeros(1, TOKENS, WIDTH),), str(path), dynamo=False, input_names=["x"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session, x = onnxruntime.InferenceSession(str(path), options), np.random.default_rng(0).normal(size=(1, TOKENS, WIDTH)).astype(np.float32)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        session.run(None, {"x": x})
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times[20:]))


class Lesson:
    """What all three learn from, computed once: convolutional features, sentences, names, the teacher's classes."""

    def __init__(self):
        head, text = tower()
        self.rows = data.rows("flickr8k/train")
        through = lambda fine: self.convolved(head, fine)
        self.train = [through(features.arrays("flickr8k/train", v)[0]) for v in range(VIEWS)]
        self.dev, held = through(features.arrays("flickr8k/dev", 0)[0]), pool.held()
        self.held, self.truth = through(held[0]), torch.tensor(held[1])
        captions = [encode(row["captions"]) for row in self.rows]
        self.alike, classes = said_by_teachers(captions, None)
        self.classes = classes[:VIEWS]
        self.captions = embed_texts(text, [c for five in captions for c in five]).view(-1, 5, EMBEDDING)
        self.dev_captions = embed_texts(text, encode([c for row in data.rows("flickr8k/dev") for c in row["captions"]]))
        say = lambda name: F.normalize(embed_texts(text, ways_to_say(name)).mean(0), dim=0)
        self.names = torch.stack([say(name) for _, name in sorted(data.class_names().items())])
        self.held_names = torch.stack([say(name) for name in held[2]])

    @staticmethod
    @torch.inference_mode()
    def convolved(head, fine) -> torch.Tensor:
        out = []
        for at in range(0, len(fine), 100):
            with mixed():
                out.append(head.coarse(torch.from_numpy(np.asarray(fine[at : at + 100], np.float32)))[1].half())
        return torch.cat(out).clone()


@torch.inference_mode()
def worth(model: Blocks, lesson: Lesson) -> dict:
    model.eval()
    embed = lambda maps: torch.cat([F.normalize(model(maps[at : at + 100].float()), dim=-1) for at in range(0, len(maps), 100)])
    right = (embed(lesson.held) @ lesson.held_names.t()).argmax(1) == lesson.truth
    return recall(embed(lesson.dev), lesson.dev_captions) | {"imagenette": round(right.float().mean().item() * 100, 1)}


def train(kind: str, lesson: Lesson, passes: int) -> Blocks:
    torch.manual_seed(SEED)
    model, path = Blocks(kind), OUT / f"{kind.replace(' ', '-')}.pt"
    if path.exists():
        model.load_state_dict(torch.load(path))
        return model
    scale = nn.Parameter(torch.tensor(3.0))
    optimiser = torch.optim.AdamW([*model.parameters(), scale], 1e-3, betas=(0.9, 0.98), weight_decay=0.05)
    each = len(lesson.rows) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, passes * each, pct_start=0.1)
    for epoch in range(passes):
        dice, began, total = random.Random(SEED + epoch), time.time(), 0.0
        order = dice.sample(range(len(lesson.rows)), len(lesson.rows))
        model.train()
        for step in range(each):
            group = order[step * BATCH : (step + 1) * BATCH]
            view, said = dice.randrange(VIEWS), [dice.randrange(5) for _ in group]
            guess = lesson.classes[view][group].float()
            picked = with_others(sorted({*guess.argmax(1).tolist()}), CLASSES, 16, dice)
            with mixed():
                picture = model(lesson.train[view][group].float())
            picture, sharp = F.normalize(picture.float(), dim=-1), scale.exp().clamp(max=100)
            alike = lesson.alike[group, said]
            match, target = sharp * picture @ lesson.captions[group, said].t(), (alike @ alike.t() / ALIKE).softmax(1)
            loss = (F.cross_entropy(match, target) + F.cross_entropy(match.t(), target)) / 2 + 0.5 * class_loss(sharp, picture, lesson.names[picked], guess, picked)
            optimiser.zero_grad(), loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step(), schedule.step()
            total += loss.item()
        print(kind, epoch, round(total / each, 3), round(time.time() - began), "s", flush=True)
    torch.save(model.state_dict(), path)
    return model


def main(passes: int) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    lesson, made = Lesson(), []
    for kind in KINDS:
        model = train(kind, lesson, passes)
        parameters = sum(p.numel() for p in model.blocks.parameters())
        made.append({"kind": kind, "parameters": parameters, "multiply_adds": multiply_adds(kind), "ms": round(milliseconds(model), 2), **worth(model, lesson)})
        print(json.dumps(made[-1]), flush=True)
    record("attention", passes=passes, blocks=LAYERS, width=WIDTH, tokens=TOKENS, results=made)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="three kinds of attention, trained alike")
    options.add_argument("--passes", type=int, default=8)
    main(**vars(options.parse_args()))
