"""Stage `text`: the static key text tower learns the sentence teacher's embeddings.

Sentences: Flickr captions, phrases, and templates filled with every whole word of the vocabulary and the
1,000 ImageNet class names, so that labels outside the captions keep a meaning. Resumes after every pass.
"""

import argparse
import json
import os
import random
import time

import numpy as np
import torch
import torch.nn.functional as F

from . import data
from .device import load, mixed, tensor
from .minilm import MiniLM, tokenizer
from .model import CONTEXT, TextTower
from .paths import SEED, WORK, record

TEMPLATES = ["{}", "a photo of a {}.", "a picture of {}.", "there is a {} in the scene."]
# How a label is put into words when it is asked for; it may have its article or not.
PROMPTS = ["{}", "a photo of {}.", "a picture of {}.", "there is {} in the scene."]
CAPTIONS, PASSES, BATCH, HELD = 70_000, 6, 192, 1_000
SENTENCES = int(os.environ.get("LOOKOUT_SENTENCES", 1_000_000))  # at most so many, for a miniature


def corpus() -> list[str]:
    dice = random.Random(SEED)
    captions = data.sentences()
    dice.shuffle(captions)
    train = data.rows("flickr8k/train")
    phrases = sorted({p["phrase"].lower() for row in train for p in row["phrases"]})
    own = [caption for row in train for caption in row["captions"]]
    words = [w for w in tokenizer().get_vocab() if w.isalpha() and w.isascii() and len(w) > 2]
    classes = data.class_names().values()
    made = [dice.choice(TEMPLATES).format(w) for w in sorted(words)] + [t.format(c) for c in classes for t in TEMPLATES[:2]]
    rest = phrases + own + made
    dice.shuffle(rest)
    return (captions[: CAPTIONS + HELD] + rest)[:SENTENCES]


def kept_back(ids: list) -> int:
    """How many of the first sentences are only measured on."""
    return min(HELD, len(ids) // 10)


def batches(ids: list[list[int]], size: int, dice: random.Random | None):
    """Indices in groups of near equal length, so that little is spent on filling."""
    order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), dice.random() if dice else i))
    groups = [order[i : i + size] for i in range(0, len(order), size)]
    if dice:
        dice.shuffle(groups)
    return groups


def padded(ids: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, ids))
    table = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    return table, table != 0


def clip(ids: list[int]) -> list[int]:
    return ids if len(ids) <= CONTEXT else ids[: CONTEXT - 1] + ids[-1:]


def encode(sentences: list[str]) -> list[list[int]]:
    return [clip(e.ids) for e in tokenizer().encode_batch(sentences)]


def teach(sentences: list[str]) -> tuple[list[list[int]], np.ndarray]:
    ids = encode(sentences)
    path, progress = WORK / "text" / "teacher.f16", WORK / "text" / "teacher.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if progress.exists() and json.loads(progress.read_text())["done"] == len(ids):
        return ids, np.memmap(path, np.float16, "r", shape=(len(ids), 384))
    target, teacher = np.memmap(path, np.float16, "w+", shape=(len(ids), 384)), MiniLM()
    for group in batches(ids, 256, None):
        target[group] = teacher.embed(*padded([ids[i] for i in group])).half().cpu().numpy()
    target.flush()
    progress.write_text(json.dumps({"done": len(ids)}))
    return ids, target


def start_from_teacher(tower: TextTower) -> None:
    """The teacher's word table, its 192 strongest directions kept."""
    table = MiniLM(torch.float32).table
    centred = table - table.mean(0)
    _, _, directions = torch.linalg.svd(centred[:: 7], full_matrices=False)
    tower.table.weight.data.copy_(centred @ directions[:192].t() * 4)


def train(tower: TextTower, path, passes: int) -> dict:
    """Teaches `tower`, keeps it in `path` and tells how near it came."""
    began = time.time()
    ids, target = teach(corpus())
    print("teacher ready", len(ids), round(time.time() - began), "s", flush=True)
    start_from_teacher(tower)
    decay = [p for n, p in tower.named_parameters() if p.ndim > 1 and "table" not in n]
    rest = [p for n, p in tower.named_parameters() if p.ndim <= 1 or "table" in n]
    optimiser = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}], 1e-3, betas=(0.9, 0.98))
    back = kept_back(ids)
    steps = passes * -(-(len(ids) - back) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-3, steps, pct_start=0.06)
    first = 0
    if path.exists():
        state = load(path)
        tower.load_state_dict(state["tower"]), optimiser.load_state_dict(state["optimiser"]), schedule.load_state_dict(state["schedule"])
        first = state["pass"]
    for epoch in range(first, passes):
        tower.train()
        for step, group in enumerate(batches(ids[back:], BATCH, random.Random(SEED + epoch))):
            group = [i + back for i in group]
            with mixed():
                out = tower(*padded([ids[i] for i in group]))
            want = tensor(target[group], np.float32)
            out = F.normalize(out.float(), dim=-1)
            near = out @ out.t() - want @ want.t()
            loss = (1 - (out * want).sum(-1)).mean() + 2 * near.square().mean()
            optimiser.zero_grad(), loss.backward()
            torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
            optimiser.step(), schedule.step()
            if step % 50 == 0:
                print(epoch, step, round(loss.item(), 4), round(time.time() - began), "s", flush=True)
        torch.save({"tower": tower.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "pass": epoch + 1}, path)
        print("held cosine", held(tower, ids, target), flush=True)
    return {"sentences": len(ids) - back, "passes": passes, "held_cosine": held(tower, ids, target), "seconds": round(time.time() - began)}


def main(passes: int) -> None:
    torch.manual_seed(SEED)
    record("text", **train(TextTower(), WORK / "text" / "tower.pt", passes))


@torch.inference_mode()
def held(tower: TextTower, ids, target) -> float:
    tower.eval()
    total = 0.0
    back = kept_back(ids)
    for group in batches(ids[:back], 200, None):
        out = F.normalize(tower(*padded([ids[i] for i in group])), dim=-1)
        total += (out * tensor(target[group], np.float32)).sum().item()
    return round(total / back, 4)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="the text tower learns the sentence teacher's embeddings")
    options.add_argument("--passes", type=int, default=PASSES)
    main(**vars(options.parse_args()))
