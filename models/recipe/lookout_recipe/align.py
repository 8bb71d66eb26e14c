"""Stage `align`: pictures and sentences meet in one space.

Learned at once over cached maps, from stride 16 upwards:
captions  contrastive; captions that the sentence teacher finds alike share the target, so that another picture's
          fitting caption is not pushed away
regions   what lies in a box of the picture against the phrases of the batch
classes   the image teacher's probabilities, read against the class names' text embeddings, so that labels outside
          the captions work: of the train pictures, and of the pool's
names     the pool's own names, each against the other names of its set
meaning   sentences stay as near to one another as the sentence teacher has them, so that words which no picture
          shows keep their place
The weights that are kept are a running mean over the last steps. Resumes after every pass. `--from PATH` starts from
the towers of an earlier alignment.
"""

import argparse
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import data, features, pool, trunk
from .device import DEVICE, load, mixed, tensor
from .model import ImageHead, TextTower
from .paths import SEED, WORK, keep, record
from .teaching import ALIKE, Meaning, Pool, Teaching, ways_to_say
from .text import encode, padded

PASSES, BATCH, CLASSES = 30, 256, 64
# Of the pool: pictures and class names in a step.
POOLED, POOL_CLASSES = 160, 256
LABEL_WEIGHT, REGION_WEIGHT, POOL_WEIGHT, NAME_WEIGHT, MEANING_WEIGHT = 0.5, 0.3, 0.7, 0.3, 2.0
KEEP = 0.995


def load_text(path) -> TextTower:
    tower = TextTower()
    tower.load_state_dict(load(path)["tower"])
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
    parts = [tensor(fine[at : at + 100], np.float32) for at in range(0, len(fine), 100)]
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
    held, truth, names = pool.held()
    named = [embed_texts(tower, ways_to_say(name)).mean(0) for name in names]
    right = (embed_pictures(head, held) @ torch.stack(named).t()).argmax(1) == torch.tensor(truth)
    return recall(embed_pictures(head, fine), embed_texts(tower, captions)) | {"imagenette": round(right.float().mean().item() * 100, 1)}


def class_loss(sharp, picture, names, guess, picked):
    """Pictures `[B, 384]` against the names `[C, 384]` of the classes `picked`, of which the teacher has `guess` `[B, 1000]`."""
    soft = (guess[:, picked] / 1.5).softmax(1)
    return F.kl_div((sharp * picture @ names.t()).log_softmax(1), soft, reduction="batchmean")


def with_others(classes: list[int], count: int, others: int, dice) -> list[int]:
    """At most `count` of the classes, `others` of which were drawn from the rest."""
    dice.shuffle(classes)
    kept = classes[: count - others]
    return kept + dice.sample(sorted({*range(1000)} - {*classes}), others)


def step_loss(head, tower, scale, teaching, pooled, meaning, group, extra, dice):
    which = [dice.randrange(features.VARIANTS) for _ in group]
    fine = torch.stack([teaching.fine[v][i] for v, i in zip(which, group)]).to(DEVICE).float()
    fine = torch.cat([fine, tensor(pooled.fine[extra], np.float32)])
    guess = torch.stack([teaching.classes[v][i] for v, i in zip(which, group)]).float()
    pool_guess = pooled.guess(extra)
    said = [dice.randrange(5) for _ in group]
    picked = with_others(sorted({*guess.argmax(1).tolist()}), CLASSES, 16, dice)
    pool_picked = with_others(sorted({*pool_guess.topk(3, 1).indices.flatten().tolist()}), POOL_CLASSES, 48, dice)
    owner, share, phrases = teaching.regions(group, which, dice)
    distinct = sorted({*phrases})
    meant = torch.tensor([distinct.index(p) for p in phrases])
    sets = list(pooled.named(extra, dice))
    sentences, near = meaning.take(dice)
    way = lambda classes: [dice.choice(teaching.names[c]) for c in classes]
    # everything that is said goes through the text tower at once
    spoken = [[teaching.captions[i][c] for i, c in zip(group, said)], way(picked), way(pool_picked), [teaching.phrase_ids[p] for p in distinct], sentences]
    spoken += [names for _, _, names in sets]
    flat = [ids for ids in spoken for ids in ids]
    order = sorted(range(len(flat)), key=lambda i: len(flat[i]))
    parts = []
    with mixed():
        tokens, convolved = head.coarse(fine)
        picture = head.embed(tokens, convolved)
        region = head.embed(tokens, convolved, (owner, share.to(tokens.dtype)))
        for at in range(0, len(order), 256):
            parts.append(tower(*padded([flat[i] for i in order[at : at + 256]])))
    out = F.normalize(torch.cat(parts).float(), dim=-1)[torch.tensor(order).argsort()]
    sentence, name, pool_name, phrase, kept, *set_names = out.split([len(ids) for ids in spoken])
    picture, region = F.normalize(picture.float(), dim=-1), F.normalize(region.float(), dim=-1)
    picture, pool_picture = picture[: len(group)], picture[len(group) :]
    sharp = scale.exp().clamp(max=100)
    alike = torch.stack([teaching.alike[i, c] for i, c in zip(group, said)])
    target = (alike @ alike.t() / ALIKE).softmax(1)
    match = sharp * picture @ sentence.t()
    contrast = (F.cross_entropy(match, target) + F.cross_entropy(match.t(), target)) / 2
    place = F.cross_entropy(sharp * region @ phrase.t(), meant, label_smoothing=0.1)
    label = class_loss(sharp, picture, name, guess, picked)
    pool_label = class_loss(sharp, pool_picture, pool_name, pool_guess, pool_picked)
    own = [F.cross_entropy(sharp * pool_picture[rows] @ names.t(), torch.tensor(right), label_smoothing=0.1, reduction="sum") for (rows, right, _), names in zip(sets, set_names)]
    own = sum(own) / max(sum(len(rows) for rows, _, _ in sets), 1)
    drift = (kept @ kept.t() - near @ near.t()).square().mean()
    loss = contrast + REGION_WEIGHT * place + LABEL_WEIGHT * label + POOL_WEIGHT * pool_label + NAME_WEIGHT * own + MEANING_WEIGHT * drift
    return loss, contrast, place, label, pool_label, own, drift


def main(passes: int, start: Path | None, rate: float) -> None:
    torch.manual_seed(SEED)
    began, path = time.time(), WORK / "align" / "towers.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    teaching, pooled, meaning = Teaching(), Pool(), Meaning()
    print("ready", round(time.time() - began), "s", flush=True)
    head, tower = ImageHead(), load_text(WORK / "text" / "tower.pt")
    scale = torch.nn.Parameter(torch.tensor(2.9))
    if start:
        state = load(start)
        head = ImageHead.like(state["head"])
        tower.load_state_dict(state["tower"]), scale.data.copy_(state["scale"])
        head.freeze_inherited()
    else:
        head.start_from(trunk.pretrained())
    head.to(memory_format=torch.channels_last)
    tower.table.requires_grad_(False), head.patch_fine.requires_grad_(False), head.patch_coarse.requires_grad_(False)
    inherited = [p for p in [*head.tail.parameters(), *head.head.parameters()] if p.requires_grad]
    own = [p for n, p in head.named_parameters() if p.requires_grad and n.split(".")[0] not in ("tail", "head")]
    texts = [p for p in tower.parameters() if p.requires_grad]
    groups = [(inherited, 1.5e-4, 0.01), (own, 1e-3, 0.05), (texts, 2.5e-4, 0.01), ([scale], 1e-3, 0.0)]
    optimiser = torch.optim.AdamW([{"params": p, "lr": rate * most, "weight_decay": decay} for p, most, decay in groups], betas=(0.9, 0.98))
    batch = min(BATCH, len(teaching.rows))
    each = len(teaching.rows) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [g["lr"] for g in optimiser.param_groups], passes * each, pct_start=0.1)
    both = torch.nn.ModuleList([head, tower])
    mean = torch.optim.swa_utils.AveragedModel(both, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(KEEP))
    first = 0
    if path.exists():
        state = load(path)
        both.load_state_dict(state["training"]), mean.load_state_dict(state["mean"]), optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"]), scale.data.copy_(state["scale"])
        first = state["pass"]
    for epoch in range(first, passes):
        dice = random.Random(SEED + epoch)
        torch.manual_seed(SEED + epoch)
        order = list(range(len(teaching.rows)))
        dice.shuffle(order)
        both.train()
        sums = torch.zeros(6)
        for step in range(each):
            extra = dice.sample(range(len(pooled.set)), min(POOLED, len(pooled.set)))
            loss, *parts = step_loss(head, tower, scale, teaching, pooled, meaning, order[step * batch : (step + 1) * batch], extra, dice)
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
        keep(path, state)
    record("align", passes=passes, seconds=round(time.time() - began), **evaluate(*mean.module))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="pictures and sentences meet in one space")
    options.add_argument("--passes", type=int, default=PASSES)
    options.add_argument("--from", dest="start", type=Path, help="towers of an earlier alignment to start from")
    options.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    main(**vars(options.parse_args()))
