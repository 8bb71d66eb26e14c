"""Stage `names`: the embedding learns the names of more things; tokens, patch tokens and texts stay as they are.

`align` sees each picture of the pool less than once. Here only the last layers of the embedding learn, over what comes
before them, computed once, so that they can see the pool many times: the teachers' probabilities of all the 1,000 classes,
and the names that the sets give. Embeddings of the train pictures are held near to where they were, which keeps retrieval.
The towers in `align/towers.pt` are replaced; what was there is kept beside them.
"""

import argparse
import random
import time

import numpy as np
import torch
import torch.nn.functional as F

from . import data, features
from .align import class_loss, embed_texts, evaluate, recall
from .device import load, mixed, tensor
from .model import ImageHead
from .patch import tower
from .paths import SEED, WORK, keep, record
from .teaching import ALIKE, Pool, said_by_teachers, ways_to_say
from .text import encode

PASSES, BATCH, POOLED, RATE, KEEP = 20, 384, 768, 1e-3, 0.998
VIEWS = 4  # of the train pictures: whole, mirrored, and two crops
ALL = slice(None)  # of the classes
WIDTH = 1024  # of the way from the convolutional features to the embedding
CAPTION_WEIGHT, LABEL_WEIGHT, POOL_WEIGHT, NAME_WEIGHT, STAY_WEIGHT = 0.5, 0.2, 1.0, 0.3, 10.0


@torch.inference_mode()
def before_embedding(head: ImageHead, fine, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean convolutional features `[pictures, 1280]` and mean tokens `[pictures, 256]`, cached."""
    path, parts = WORK / "names" / f"{name}.pt", []
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        for at in range(0, len(fine), 100):
            with mixed():
                tokens, convolved = head.coarse(tensor(fine[at : at + 100], np.float32))
            parts.append((convolved.float().mean(1).half(), tokens.float().mean(1).half()))
        keep(path, tuple(torch.cat(p) for p in zip(*parts)))
    return load(path)


class Last(torch.nn.Module):
    """The last layers of the embedding."""

    def __init__(self, head: ImageHead):
        super().__init__()
        self.shortcut, self.project, self.dropout = head.shortcut, head.project, head.dropout

    def forward(self, features, tokens):
        both = torch.cat([F.gelu(self.shortcut(self.dropout(features))), tokens], 1)
        return F.normalize(self.project(self.dropout(both)), dim=-1)


def main(passes: int, rate: float, teachers: int) -> None:
    torch.manual_seed(SEED)
    began, path = time.time(), WORK / "align" / "towers.pt"
    state, (_, text) = load(path), tower()
    before = state.get("head_before", state["head"])
    head = ImageHead.like(before).eval()
    pooled, rows = Pool(), data.rows("flickr8k/train")
    print("before", start := evaluate(head, text), flush=True)
    train = [before_embedding(head, features.arrays("flickr8k/train", v)[0], f"train-{v}") for v in range(VIEWS)]
    dev, things = before_embedding(head, features.arrays("flickr8k/dev", 0)[0], "dev"), before_embedding(head, pooled.fine, "pool")
    print("ready", round(time.time() - began), "s", flush=True)
    alike, classes = said_by_teachers([encode(row["captions"]) for row in rows], [features.arrays("flickr8k/train", v)[1] for v in range(VIEWS)])
    captions = embed_texts(text, encode([c for row in rows for c in row["captions"]])).view(-1, 5, 384)
    dev_captions = embed_texts(text, encode([c for row in data.rows("flickr8k/dev") for c in row["captions"]]))
    say = lambda ways: F.normalize(embed_texts(text, ways).mean(0), dim=0)
    names = torch.stack([say(ways_to_say(name)) for _, name in sorted(data.class_names().items())])
    own = {kind: torch.stack([say(way) for way in ways]) for kind, ways in pooled.ways.items()}
    head.widen(WIDTH)
    last = Last(head)
    with torch.no_grad():
        last.eval()
        stay = [last(*(part.float() for part in view)) for view in train]
    scale = torch.nn.Parameter(state["scale"].clone())
    learned = [*last.shortcut.parameters(), *last.project.parameters()]
    for parameter in learned:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW([{"params": learned, "weight_decay": 0.02}, {"params": [scale], "weight_decay": 0.0}], rate, betas=(0.9, 0.98))
    batch, taken = min(BATCH, len(rows)), min(POOLED, len(things[0]))
    each = len(things[0]) // taken
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, passes * each, pct_start=0.1)
    mean = torch.optim.swa_utils.AveragedModel(last, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(KEEP))
    for epoch in range(passes):
        dice, sums = random.Random(SEED + epoch), torch.zeros(5)
        order = dice.sample(range(len(things[0])), len(things[0]))
        last.train()
        for step in range(each):
            group, view = dice.sample(range(len(rows)), batch), dice.randrange(VIEWS)
            extra, said = order[step * taken : (step + 1) * taken], [dice.randrange(5) for _ in group]
            inputs = [torch.cat([a[group], b[extra]]).float() for a, b in zip(train[view], things)]
            with mixed():
                out = last(*inputs)
            picture, thing = out.float().split([batch, taken])
            sharp = scale.exp().clamp(max=100)
            match, near = sharp * picture @ captions[group, said].t(), alike[group, said]
            target = (near @ near.t() / ALIKE).softmax(1)
            contrast = (F.cross_entropy(match, target) + F.cross_entropy(match.t(), target)) / 2
            label = class_loss(sharp, picture, names, classes[view][group].float(), ALL)
            pool_label = class_loss(sharp, thing, names, pooled.guess(extra, teachers), ALL)
            named = {}
            for n, i in enumerate(extra):
                if pooled.name[i] is not None:
                    named.setdefault(pooled.set[i], []).append(n)
            right = lambda places: torch.tensor([pooled.name[extra[n]] for n in places])
            set_label = sum(F.cross_entropy(sharp * thing[at] @ own[kind].t(), right(at), label_smoothing=0.1, reduction="sum") for kind, at in named.items())
            set_label = set_label / sum(map(len, named.values()))
            moved = (1 - (picture * stay[view][group]).sum(1)).mean()
            parts = torch.stack([contrast, label, pool_label, set_label, moved])
            loss = (parts * torch.tensor([CAPTION_WEIGHT, LABEL_WEIGHT, POOL_WEIGHT, NAME_WEIGHT, STAY_WEIGHT])).sum()
            optimiser.zero_grad(), loss.backward()
            optimiser.step(), schedule.step(), mean.update_parameters(last)
            sums += parts.detach()
        print(epoch, [round(v / each, 3) for v in sums.tolist()], round(scale.exp().item(), 1), round(time.time() - began), "s", flush=True)
        if epoch % 5 == 4:
            with torch.inference_mode():
                print(recall(mean.module.eval()(*(part.float() for part in dev)), dev_captions), flush=True)
    head.shortcut, head.project = mean.module.shortcut, mean.module.project
    keep(path, state | {"head": head.state_dict(), "head_before": before})
    record("names", passes=passes, teachers=teachers, pictures=len(things[0]), before=start, seconds=round(time.time() - began), **evaluate(head, text))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="the embedding learns the names of more things")
    options.add_argument("--passes", type=int, default=PASSES)
    options.add_argument("--rate", type=float, default=RATE)
    options.add_argument("--teachers", type=int, default=3, help="Lite2; Lite2 and Lite1; or all three")
    main(**vars(options.parse_args()))
