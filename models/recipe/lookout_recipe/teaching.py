"""What `align` learns from: the train pictures with their captions, phrases and boxes; the pool with its names; sentences."""

import numpy as np
import torch

from . import data, features, pool, trunk
from .device import load, mixed, tensor
from .minilm import MiniLM
from .paths import WORK, keep
from .text import PROMPTS, batches, corpus, encode, kept_back, padded, teach

SIDE, REGIONS, ALIKE = 8, 256, 0.08
# Names of one set in a step, and sentences whose meaning is kept.
SET_NAMES, MEANT = 48, 192


def ways_to_say(name: str, countable: bool = True) -> list[list[int]]:
    """A name in every template, bare and with its article where it has one."""
    bare = name.removeprefix("an ").removeprefix("a ").removeprefix("the ")
    said = [bare] if bare == name and (name.endswith("s") or not countable) else [bare, name if bare != name else pool.article(name)]
    return encode([t.format(s) for s in said for t in PROMPTS])


def sentence_teacher(ids: list[list[int]]) -> torch.Tensor:
    out, teacher = torch.empty(len(ids), 384), MiniLM()
    for group in batches(ids, 256, None):
        out[group] = teacher.embed(*padded([ids[i] for i in group])).float()
    return out


def class_logits(teacher: trunk.Trunk, coarse) -> torch.Tensor:
    """What the untouched teacher says of one view of every picture."""
    parts = []
    with torch.inference_mode(), mixed():
        for at in range(0, len(coarse), 100):
            x = tensor(coarse[at : at + 100], np.float32)
            parts.append(teacher.classes(x.transpose(1, 2).unflatten(2, (SIDE, SIDE))).half())
    return torch.cat(parts).clone()


def said_by_teachers(captions, maps) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Embeddings `[pictures, 5, 384]` of the captions, and the class logits of every view; cached."""
    path = WORK / "align" / "teachers.pt"
    alike, classes = load(path) if path.exists() else (None, [])
    if alike is None:
        alike = sentence_teacher([c for five in captions for c in five]).view(len(captions), 5, 384)
    if len(classes) < len(maps):
        teacher = trunk.pretrained()
        classes = classes + [class_logits(teacher, coarse) for coarse in maps[len(classes) :]]
        path.parent.mkdir(parents=True, exist_ok=True)
        keep(path, (alike, classes))
    return alike, classes


def in_view(box, window) -> list[float] | None:
    """A box `[x, y, width, height]` as corners `[x0, y0, x1, y1]` of a view; None where the view cuts most of it off."""
    x, y, width, height, mirrored = window
    low = [(box[0] - x) / width, (box[1] - y) / height]
    high = [(box[0] + box[2] - x) / width, (box[1] + box[3] - y) / height]
    if mirrored:
        low[0], high[0] = 1 - high[0], 1 - low[0]
    (x0, x1), (y0, y1) = [(max(a, 0.0), min(b, 1.0)) for a, b in zip(low, high)]
    area = (high[0] - low[0]) * (high[1] - low[1])
    if area <= 0 or max(x1 - x0, 0) * max(y1 - y0, 0) < 0.6 * area:
        return None
    return [x0, y0, x1, y1]


def share_of_tokens(box, window) -> torch.Tensor | None:
    """How much of each of the 8 x 8 tokens of a view lies in a box, summing to 1; None where the view cuts most of it."""
    corners = in_view(box, window)
    if corners is None:
        return None
    edges = torch.arange(SIDE + 1) / SIDE
    along = [(edges[1:].clamp(max=corners[2 + axis]) - edges[:-1].clamp(min=corners[axis])).clamp(min=0) for axis in (0, 1)]
    share = (along[1][:, None] * along[0][None]).flatten()
    return share / share.sum()


class Teaching:
    def __init__(self):
        self.rows = data.rows("flickr8k/train")
        self.captions = [encode(row["captions"]) for row in self.rows]
        loaded = [features.arrays("flickr8k/train", v) for v in range(features.VARIANTS)]
        self.fine = [torch.from_numpy(np.array(fine)) for fine, _, _ in loaded]
        self.windows = [features.windows(len(self.rows), v) for v in range(features.VARIANTS)]
        self.alike, self.classes = said_by_teachers(self.captions, [coarse for _, coarse, _ in loaded])
        phrases = [[(p["phrase"].lower(), p["boxes"][0]) for p in row["phrases"] if len(p["boxes"]) == 1] for row in self.rows]
        unique = sorted({p for row in phrases for p, _ in row})
        self.phrase_ids, place = encode(unique), {p: i for i, p in enumerate(unique)}
        self.boxed = [[(place[p], box) for p, box in row] for row in phrases]
        self.names = [ways_to_say(name) for _, name in sorted(data.class_names().items())]

    def regions(self, group, which, dice):
        """`REGIONS` boxes of the views with their phrases: picture `[R]`, share of its tokens `[R, 64]`, phrase ids."""
        made = []
        places = [(n, i, v) for n, (i, v) in enumerate(zip(group, which)) if self.boxed[i]]
        while len(made) < REGIONS:
            n, i, v = dice.choice(places)
            phrase, box = dice.choice(self.boxed[i])
            share = share_of_tokens(box, self.windows[v][i])
            if share is not None:
                made.append((n, share, phrase))
        pictures, shares, phrases = zip(*made)
        return torch.tensor(pictures), torch.stack(shares), list(phrases)


class Pool:
    """The pool's maps, its teachers' class logits, and the names that its sets give."""

    def __init__(self):
        items = pool.listed()
        self.fine, self.classes = pool.arrays(len(items))
        self.set = [item["set"] for item in items]
        named = {}
        for item in items:
            if item["name"]:
                named.setdefault(item["set"], {}).setdefault(item["name"], len(named.get(item["set"], {})))
        self.name = [named[item["set"]][item["name"]] if item["name"] else None for item in items]
        self.ways = {kind: [ways_to_say(name, kind not in pool.BARE) for name in names] for kind, names in named.items()}

    def guess(self, group, teachers: int = 3) -> torch.Tensor:
        """What the first of the teachers think of these pictures together: the mean of their logits `[B, 1000]`."""
        return tensor(self.classes[group, :teachers], np.float32).mean(1)

    def named(self, group, dice):
        """Of each set in the group: rows of its named pictures, the place of each one's name among `ways`, the ways."""
        rows = {}
        for n, i in enumerate(group):
            if self.name[i] is not None:
                rows.setdefault(self.set[i], []).append(n)
        for kind, places in rows.items():
            right = sorted({self.name[group[n]] for n in places})
            others = sorted({*range(len(self.ways[kind]))} - {*right})
            names = right + dice.sample(others, min(len(others), max(SET_NAMES - len(right), 0)))
            yield places, [names.index(self.name[group[n]]) for n in places], [dice.choice(self.ways[kind][c]) for c in names]


class Meaning:
    """Sentences and the teacher's embeddings of them."""

    def __init__(self):
        self.ids, self.teacher = teach(corpus())

    def take(self, dice):
        at = dice.sample(range(kept_back(self.ids), len(self.ids)), min(MEANT, len(self.ids) // 2))
        return [self.ids[i] for i in at], tensor(self.teacher[at], np.float32)
