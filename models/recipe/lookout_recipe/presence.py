"""When is what a label names in the picture at all? And which of several labels is it?

A label's cosine alone says little: some pictures are near to all words. What is usual for the picture, its mean cosine
with the background prompts, is taken off: sigmoid(scale * cosine + background * usual + bias). Fitted on the even
pictures of Flickr8k dev, and on pictures far from it: rooms (DAQUAR), plain and textured surfaces made here, and named
pictures of the pool where there is one. Each of these sources weighs the same.
"""

import random
from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F

from . import data, pool, trunk
from .align import embed_pictures, embed_texts, encode
from .features import arrays
from .paths import SEED
from .swaps import words

THINGS = """a person, a man, a woman, a child, a dog, a cat, a bird, a horse, a car, a bicycle, a boat, a building, a street, a tree,
grass, water, snow, sand, a beach, a mountain, the sky, a wall, a floor, a table, a chair, food, a shirt, a ball, a toy, a machine,
a tool, a bottle, a flower, a sign, a room"""
BACKGROUND = [f"a photo of {' '.join(thing.split())}." for thing in THINGS.split(",")]
# What is seldom in a room and never on a bare surface.
OUTDOORS = """dog, dogs, man, woman, boy, girl, boys, girls, child, beach, snow, ocean, grass, field, horse, ball, bike, skateboard, player, team,
mountain, surfer, wave, river, motorcycle, crowd, street, bird, hill, lake""".replace("\n", " ").split(", ")
NAMED, SURFACES, MOST_LABELS = 800, 48, 50


def surfaces(body, size: int) -> np.ndarray:
    """The trunk's fine maps of plain, shaded, noisy and blotched pictures."""
    dice, made = np.random.default_rng(SEED), []
    ramp = np.linspace(-60, 60, size)
    for turn in range(SURFACES):
        pixels = dice.integers(20, 236, 3) * np.ones((size, size, 1))
        if turn % 4 == 1:
            pixels = pixels + (ramp[:, None] * dice.normal() + ramp[None] * dice.normal())[..., None]
        if turn % 4 == 2:
            pixels = pixels + dice.normal(0, 25, (size, size, 1))
        if turn % 4 == 3:
            blots = F.interpolate(torch.tensor(dice.normal(0, 40, (1, 3, 6, 6))), size=(size, size), mode="bicubic")
            pixels = pixels + blots[0].permute(1, 2, 0).numpy()
        made.append(pixels.clip(0, 255))
    x = trunk.normalised(torch.from_numpy(np.stack(made)))
    maps = []
    for part in x.split(12):
        y = body.stem(part)
        for block in body.blocks[: trunk.LAST_FINE_BLOCK + 1]:
            y = block(y)
        maps.append(y.flatten(2).transpose(1, 2))
    return torch.cat(maps).numpy()


def named_pool(head):
    """Embeddings and names of some pictures of the pool; nothing where there is no pool."""
    if not pool.seen():
        return torch.empty(0, 384), []
    meta = pool.listed()
    maps, _ = pool.arrays(len(meta))
    named = [i for i, row in enumerate(meta) if row["name"]]
    picked = sorted(random.Random(SEED).sample(named, min(NAMED, len(named))))
    return embed_pictures(head, np.stack([maps[i] for i in picked])), [meta[i]["name"] for i in picked]


class Questions:
    """Single labels asked of pictures, with the truth."""

    def __init__(self, head, body, size: int, dev: torch.Tensor):
        dice, rows = random.Random(SEED), data.rows("flickr8k/dev")
        self.asked = []  # source, picture, label, truth
        heads = [sorted({words(p["phrase"])[-1] for p in row["phrases"] if words(p["phrase"])}) for row in rows]
        common = sorted(w for w, n in Counter(h for row in heads for h in row).items() if n >= 4)
        self.pool, self.names = named_pool(head)
        every, self.choices = sorted({*self.names}), []
        for i in range(0, len(rows), 2):
            used = {w for c in rows[i]["captions"] for w in words(c)}
            missing = [w for w in dice.sample(common, min(6, len(common))) if w not in used and w.removesuffix("s") not in used and f"{w}s" not in used]
            self.asked += [("dev", i, h, 1) for h in dice.sample(heads[i], min(3, len(heads[i])))] + [("dev", i, w, 0) for w in missing[:3]]
            if heads[i] and missing:
                self.choices.append(("dev", i, [dice.choice(heads[i]), *missing]))
        rooms = embed_pictures(head, arrays("daquar/train", 0)[0][::4])
        self.asked += [("rooms", i, w, 0) for i in range(len(rooms)) for w in dice.sample(OUTDOORS, 3)]
        bare = embed_pictures(head, surfaces(body, size))
        self.asked += [("bare", i, w, 0) for i in range(len(bare)) for w in dice.sample(OUTDOORS, 6)]
        for i, name in enumerate(self.names):
            others = [n for n in dice.sample(every, min(MOST_LABELS, len(every))) if n != name]
            self.asked += [("pool", i, name, 1), ("pool", i, others[0], 0), ("pool", i, dice.choice(OUTDOORS), 0)]
            self.choices.append(("pool", i, [name, *others[: dice.choice((1, 4, 9, 49))]]))
        self.pictures = {"dev": dev, "rooms": rooms, "bare": bare, "pool": self.pool}


def as_labels(text, templates: list[str], labels: list[str]) -> torch.Tensor:
    """Each label's embedding over all templates."""
    return F.normalize(sum(embed_texts(text, encode([t.format(label) for label in labels])) for t in templates), dim=-1)


def ask(text, templates: list[str], questions: Questions):
    """For each question cosine and usual cosine `[Q, 2]`, truth, weight; for each choice its cosines, the right first, and the usual one."""
    labels = sorted({label for _, _, label, _ in questions.asked} | {label for _, _, several in questions.choices for label in several})
    place = {label: i for i, label in enumerate(labels)}
    embedded = as_labels(text, templates, labels)
    usual = embed_texts(text, encode(BACKGROUND)).mean(0)
    pictures = torch.stack([questions.pictures[source][i] for source, i, _, _ in questions.asked])
    cosine = (pictures * embedded[[place[label] for _, _, label, _ in questions.asked]]).sum(1)
    of = Counter(source for source, *_ in questions.asked)
    weight = torch.tensor([len(questions.asked) / of[source] / len(of) for source, *_ in questions.asked])
    truth = torch.tensor([t for *_, t in questions.asked])
    named = [c for c in questions.choices if c[0] == "pool"] or questions.choices
    shown = [(questions.pictures[source][i], several) for source, i, several in named]
    choices = [(embedded[[place[label] for label in several]] @ picture, picture @ usual) for picture, several in shown]
    return torch.stack([cosine, pictures @ usual], 1), truth, weight, choices


def likeliest_temperature(choices, w: torch.Tensor) -> float:
    """The temperature with which the best label's score says most likely whether it is right: on the named pictures
    (without a pool: on Flickr8k dev), each with a few other labels beside its own. `w`: scale, background, bias."""
    right = torch.tensor([c.argmax().item() == 0 for c, _ in choices]).double()
    there = torch.stack([(w[0] * c.max() + w[1] * usual + w[2]).sigmoid() for c, usual in choices]).double()

    def lost(t: float) -> float:
        share = torch.stack([(c / t).softmax(0).max() for c, _ in choices]).double()
        return torch.nn.functional.binary_cross_entropy((there * share).clamp(1e-4, 1 - 1e-4), right).item()

    return min((t / 1000 for t in range(10, 121)), key=lost)
