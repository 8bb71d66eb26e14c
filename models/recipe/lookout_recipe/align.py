"""Stage `align`: pictures and sentences meet in one space.

Contrastive on the captions over cached trunk features; beside it the image teacher's class probabilities,
read against the class names' text embeddings, so that labels outside the captions work. Resumes after every pass.
"""

import json
import random
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

from . import data, features, trunk
from .minilm import tokenizer
from .model import ImageHead, TextTower
from .paths import SEED, WORK, record
from .text import clip, padded

PASSES, BATCH, CLASSES, LABEL_WEIGHT = 24, 256, 64, 0.5


def class_names() -> list[str]:
    """ImageNet-1k names in the classifier's order (the sorted WordNet ids)."""
    with open(data.DATA / "imagenet-sample" / "labels.jsonl") as lines:
        return [r["label"] for r in sorted(map(json.loads, lines), key=lambda r: r["image"])]


def encode(sentences: list[str]) -> list[list[int]]:
    return [clip(e.ids) for e in tokenizer().encode_batch(sentences)]


def load_text(path) -> TextTower:
    tower = TextTower()
    tower.load_state_dict(torch.load(path, weights_only=False)["tower"])
    return tower


@torch.inference_mode()
def embed_texts(tower: TextTower, ids: list[list[int]]) -> torch.Tensor:
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    out = torch.empty(len(ids), 384)
    for at in range(0, len(order), 256):
        part = order[at : at + 256]
        out[part] = F.normalize(tower(*padded([ids[i] for i in part])), dim=-1)
    return out


@torch.inference_mode()
def embed_pictures(head: ImageHead, coarse) -> torch.Tensor:
    parts = [torch.from_numpy(np.asarray(coarse[at : at + 100], np.float32)) for at in range(0, len(coarse), 100)]
    return torch.cat([F.normalize(head.embed(*head.coarse(part)), dim=-1) for part in parts])


def recall(pictures: torch.Tensor, texts: torch.Tensor) -> dict:
    """Flickr8k recall: five captions a picture, in order."""
    similar = pictures @ texts.t()
    owner = torch.arange(texts.shape[0]) // 5
    result = {}
    order = similar.argsort(1, descending=True)
    hit = (owner[order] == torch.arange(len(pictures))[:, None]).int()
    rank = hit.argmax(1)
    for k in (1, 5, 10):
        result[f"i2t_r{k}"] = round((rank < k).float().mean().item() * 100, 1)
    right = similar[owner, torch.arange(len(texts))]
    rank = (similar > right[None]).sum(0)
    for k in (1, 5, 10):
        result[f"t2i_r{k}"] = round((rank < k).float().mean().item() * 100, 1)
    return result


def evaluate(head: ImageHead, tower: TextTower) -> dict:
    head.eval(), tower.eval()
    _, coarse, _ = features.arrays("flickr8k/dev", 0)
    captions = encode([c for row in data.rows("flickr8k/dev") for c in row["captions"]])
    return recall(embed_pictures(head, coarse), embed_texts(tower, captions))


def main(passes: int = PASSES) -> None:
    torch.manual_seed(SEED)
    began, path = time.time(), WORK / "align" / "towers.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = data.rows("flickr8k/train")
    captions = [encode(row["captions"]) for row in rows]
    views = [torch.from_numpy(np.asarray(features.arrays("flickr8k/train", v)[1])) for v in range(features.VARIANTS)]
    teacher, head, tower = trunk.pretrained(), ImageHead(), load_text(WORK / "text" / "tower.pt")
    head.head.weight.data.copy_(teacher.head.conv.weight.flatten(1)), head.head.bias.data.copy_(teacher.head.conv.bias)
    head.head.requires_grad_(False), tower.table.requires_grad_(False)
    names = encode([f"a photo of a {name}." for name in class_names()])
    scale = torch.nn.Parameter(torch.tensor(2.9))
    trained = [p for p in head.parameters() if p.requires_grad]
    texts = [p for p in tower.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW([{"params": trained, "weight_decay": 0.05, "lr": 1e-3}, {"params": texts, "weight_decay": 0.01, "lr": 2.5e-4}, {"params": [scale], "weight_decay": 0.0, "lr": 1e-3}], betas=(0.9, 0.98))
    steps = passes * (len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [g["lr"] for g in optimiser.param_groups], steps, pct_start=0.1)
    first = 0
    if path.exists():
        state = torch.load(path, weights_only=False)
        head.load_state_dict(state["head"]), tower.load_state_dict(state["tower"]), optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"]), scale.data.copy_(state["scale"])
        first = state["pass"]
    for epoch in range(first, passes):
        dice = random.Random(SEED + epoch)
        order = list(range(len(rows)))
        dice.shuffle(order)
        head.train(), tower.train()
        for step in range(len(rows) // BATCH):
            group = order[step * BATCH : (step + 1) * BATCH]
            which = torch.tensor([dice.randrange(len(views)) for _ in group])
            coarse = torch.stack([views[v][i] for v, i in zip(which.tolist(), group)]).float()
            spoken = [dice.choice(captions[i]) for i in group]
            with torch.autocast("cpu", torch.bfloat16):
                tokens, pooled = head.coarse(coarse)
                picture = head.embed(tokens, pooled)
                with torch.no_grad():
                    guess = teacher.classifier(pooled).float()
                picked = list({*guess.argmax(1).tolist()})
                dice.shuffle(picked)
                picked = picked[: CLASSES - 16] + dice.sample(range(1000), 16)
                text = tower(*padded(spoken + [names[c] for c in picked]))
            picture, text = F.normalize(picture.float(), dim=-1), F.normalize(text.float(), dim=-1)
            logits = scale.exp().clamp(max=100) * picture @ text.t()
            match, labels = logits[:, :BATCH], logits[:, BATCH:]
            same = torch.arange(BATCH)
            contrast = (F.cross_entropy(match, same, label_smoothing=0.05) + F.cross_entropy(match.t(), same, label_smoothing=0.05)) / 2
            soft = (guess[:, picked] / 1.5).softmax(1)
            loss = contrast + LABEL_WEIGHT * F.kl_div(labels.log_softmax(1), soft, reduction="batchmean")
            optimiser.zero_grad(), loss.backward()
            torch.nn.utils.clip_grad_norm_(trained + texts, 1.0)
            optimiser.step(), schedule.step()
        print(epoch, round(loss.item(), 3), round(contrast.item(), 3), round(scale.exp().item(), 1), round(time.time() - began), "s", flush=True)
        if epoch % 4 == 3 or epoch == passes - 1:
            print(evaluate(head, tower), flush=True)
        torch.save({"head": head.state_dict(), "tower": tower.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "scale": scale.data, "pass": epoch + 1}, path)
    record("align", passes=passes, seconds=round(time.time() - began), **evaluate(head, tower))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
