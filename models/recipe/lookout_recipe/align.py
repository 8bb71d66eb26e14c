"""Stage `align`: pictures and sentences meet in one space.

Three things are learned at once over cached views of the train pictures, from stride 16 upwards:
captions  contrastive; captions that the sentence teacher finds alike share the target, so that another picture's
          fitting caption is not pushed away
regions   what lies in a box of the picture against the phrases of the batch
classes   the image teacher's probabilities, read against the class names' text embeddings, so that labels outside
          the captions work
The weights that are kept are a running mean over the last steps. Resumes after every pass.
"""

import json
import math
import random
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

from . import data, features, trunk
from .minilm import MiniLM, tokenizer
from .model import ImageHead, TextTower
from .paths import SEED, WORK, record
from .text import batches, clip, padded

PASSES, BATCH, CLASSES, REGIONS = 30, 256, 64, 256
LABEL_WEIGHT, REGION_WEIGHT, ALIKE, KEEP = 0.5, 0.3, 0.08, 0.995
SIDE = 8


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
def embed_pictures(head: ImageHead, fine) -> torch.Tensor:
    parts = [torch.from_numpy(np.asarray(fine[at : at + 100], np.float32)) for at in range(0, len(fine), 100)]
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
    fine, _, _ = features.arrays("flickr8k/dev", 0)
    captions = encode([c for row in data.rows("flickr8k/dev") for c in row["captions"]])
    return recall(embed_pictures(head, fine), embed_texts(tower, captions))


def sentence_teacher(ids: list[list[int]]) -> torch.Tensor:
    out, teacher = torch.empty(len(ids), 384), MiniLM()
    for group in batches(ids, 256, None):
        out[group] = teacher.embed(*padded([ids[i] for i in group])).float()
    return out


def class_logits(teacher: trunk.Trunk, coarse) -> torch.Tensor:
    """What the untouched teacher says of one view of every picture."""
    parts = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for at in range(0, len(coarse), 100):
            x = torch.from_numpy(np.asarray(coarse[at : at + 100], np.float32))
            pooled = F.relu6(F.linear(x, teacher.head.conv.weight.flatten(1), teacher.head.conv.bias)).mean(1)
            parts.append(teacher.classifier(pooled).half())
    return torch.cat(parts).clone()


def share_of_tokens(box, window) -> torch.Tensor | None:
    """How much of each of the 8 x 8 tokens of a view lies in a box, summing to 1; None where the view cuts most of it."""
    x, y, width, height, mirrored = window
    low = [(box[0] - x) / width, (box[1] - y) / height]
    high = [(box[0] + box[2] - x) / width, (box[1] + box[3] - y) / height]
    if mirrored:
        low[0], high[0] = 1 - high[0], 1 - low[0]
    kept = [(max(a, 0.0), min(b, 1.0)) for a, b in zip(low, high)]
    area = (high[0] - low[0]) * (high[1] - low[1])
    if area <= 0 or max(kept[0][1] - kept[0][0], 0) * max(kept[1][1] - kept[1][0], 0) < 0.6 * area:
        return None
    edges = torch.arange(SIDE + 1) / SIDE
    along = [(torch.minimum(edges[1:], torch.tensor(b)) - torch.maximum(edges[:-1], torch.tensor(a))).clamp(min=0) for a, b in kept]
    share = (along[1][:, None] * along[0][None]).flatten()
    return share / share.sum()


class Teaching:
    def __init__(self):
        self.rows = data.rows("flickr8k/train")
        self.captions = [encode(row["captions"]) for row in self.rows]
        self.alike = sentence_teacher([c for five in self.captions for c in five]).view(len(self.rows), 5, 384)
        loaded = [features.arrays("flickr8k/train", v) for v in range(features.VARIANTS)]
        self.fine = [torch.from_numpy(np.array(fine)) for fine, _, _ in loaded]
        self.windows = [features.windows(len(self.rows), v) for v in range(features.VARIANTS)]
        teacher = trunk.pretrained()
        self.classes = [class_logits(teacher, coarse) for _, coarse, _ in loaded]
        phrases = [[(p["phrase"].lower(), p["boxes"][0]) for p in row["phrases"] if len(p["boxes"]) == 1] for row in self.rows]
        unique = sorted({p for row in phrases for p, _ in row})
        self.phrase_ids, place = encode(unique), {p: i for i, p in enumerate(unique)}
        self.boxed = [[(place[p], box) for p, box in row] for row in phrases]
        self.names = encode([f"a photo of a {name}." for name in class_names()])

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


def step_loss(head, tower, scale, teaching, group, dice):
    which = [dice.randrange(features.VARIANTS) for _ in group]
    fine = torch.stack([teaching.fine[v][i] for v, i in zip(which, group)]).float()
    guess = torch.stack([teaching.classes[v][i] for v, i in zip(which, group)]).float()
    said = [dice.randrange(5) for _ in group]
    picked = sorted({*guess.argmax(1).tolist()})
    dice.shuffle(picked)
    picked = picked[: CLASSES - 16]
    picked += dice.sample(sorted({*range(1000)} - {*picked}), 16)
    owner, share, phrases = teaching.regions(group, which, dice)
    distinct = sorted({*phrases})
    meant = torch.tensor([distinct.index(p) for p in phrases])
    with torch.autocast("cpu", torch.bfloat16):
        tokens, convolved = head.coarse(fine)
        picture = head.embed(tokens, convolved)
        region = head.embed(tokens, convolved, (owner, share.to(tokens.dtype)))
        sentence = tower(*padded([teaching.captions[i][c] for i, c in zip(group, said)]))
        name = tower(*padded([teaching.names[c] for c in picked]))
        phrase = tower(*padded([teaching.phrase_ids[p] for p in distinct]))
    picture, region, sentence, name, phrase = (F.normalize(x.float(), dim=-1) for x in (picture, region, sentence, name, phrase))
    sharp = scale.exp().clamp(max=100)
    alike = torch.stack([teaching.alike[i, c] for i, c in zip(group, said)])
    target = (alike @ alike.t() / ALIKE).softmax(1)
    match = sharp * picture @ sentence.t()
    contrast = (F.cross_entropy(match, target) + F.cross_entropy(match.t(), target)) / 2
    place = F.cross_entropy(sharp * region @ phrase.t(), meant, label_smoothing=0.1)
    soft = (guess[:, picked] / 1.5).softmax(1)
    label = F.kl_div((sharp * picture @ name.t()).log_softmax(1), soft, reduction="batchmean")
    return contrast + REGION_WEIGHT * place + LABEL_WEIGHT * label, contrast, place, label


def main(passes: int = PASSES) -> None:
    torch.manual_seed(SEED)
    began, path = time.time(), WORK / "align" / "towers.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    teaching = Teaching()
    print("ready", round(time.time() - began), "s", flush=True)
    head, tower = ImageHead().to(memory_format=torch.channels_last), load_text(WORK / "text" / "tower.pt")
    head.start_from(trunk.pretrained())
    tower.table.requires_grad_(False), head.patch_fine.requires_grad_(False), head.patch_coarse.requires_grad_(False)
    scale = torch.nn.Parameter(torch.tensor(2.9))
    inherited = [p for p in [*head.tail.parameters(), *head.head.parameters()] if p.requires_grad]
    own = [p for n, p in head.named_parameters() if p.requires_grad and n.split(".")[0] not in ("tail", "head")]
    texts = [p for p in tower.parameters() if p.requires_grad]
    groups = [(inherited, 1.5e-4, 0.01), (own, 1e-3, 0.05), (texts, 2.5e-4, 0.01), ([scale], 1e-3, 0.0)]
    optimiser = torch.optim.AdamW([{"params": p, "lr": rate, "weight_decay": decay} for p, rate, decay in groups], betas=(0.9, 0.98))
    each = len(teaching.rows) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [g["lr"] for g in optimiser.param_groups], passes * each, pct_start=0.1)
    both = torch.nn.ModuleList([head, tower])
    mean = torch.optim.swa_utils.AveragedModel(both, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(KEEP))
    first = 0
    if path.exists():
        state = torch.load(path, weights_only=False)
        both.load_state_dict(state["training"]), mean.load_state_dict(state["mean"]), optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"]), scale.data.copy_(state["scale"])
        first = state["pass"]
    for epoch in range(first, passes):
        dice = random.Random(SEED + epoch)
        torch.manual_seed(SEED + epoch)
        order = list(range(len(teaching.rows)))
        dice.shuffle(order)
        both.train()
        sums = torch.zeros(3)
        for step in range(each):
            loss, *parts = step_loss(head, tower, scale, teaching, order[step * BATCH : (step + 1) * BATCH], dice)
            optimiser.zero_grad(), loss.backward()
            torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
            optimiser.step(), schedule.step()
            if math.isfinite(loss.item()):
                mean.update_parameters(both)
            sums += torch.stack([p.detach() for p in parts])
        print(epoch, [round(v / each, 3) for v in sums.tolist()], round(scale.exp().item(), 1), round(time.time() - began), "s", flush=True)
        kept = mean.module
        if epoch % 4 == 3 or epoch == passes - 1:
            print(evaluate(*kept), flush=True)
        state = {"head": kept[0].state_dict(), "tower": kept[1].state_dict(), "training": both.state_dict(), "mean": mean.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "scale": scale.data, "pass": epoch + 1}
        torch.save(state, path.with_suffix(".tmp")), path.with_suffix(".tmp").replace(path)
    record("align", passes=passes, seconds=round(time.time() - began), **evaluate(*mean.module))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
