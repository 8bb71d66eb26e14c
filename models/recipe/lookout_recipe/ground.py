"""Stage `ground`: the grounder alone, made twice as wide, on patch tokens that stay as `patch` left them.

`patch` shows it two phrases of a picture in a pass; here it sees them all, in whole, mirrored and cropped views. The
weights that are kept are a running mean. Resumes after every pass.
"""

import argparse
import random
import time

import torch

from . import data, features
from .align import embed_texts, encode
from .device import HALF, load, mixed
from .export import trained
from .model import GROUNDER, Grounder
from .patch import Views, at_most_four, grounding, grounding_loss, mirrored, phrases_of
from .paths import SEED, WORK, keep, record
from .teaching import in_view

PASSES, BATCH, PHRASES, RATE, KEEP = 6, 24, 9, 6e-4, 0.998


def targets(boxes, window) -> torch.Tensor | None:
    """Corners `[4, 4]` in the view, NaN where there are fewer than four boxes; None where none is left."""
    seen = [corners for box in boxes[:4] if (corners := in_view(box, window))]
    return at_most_four(seen) if seen else None


class Lesson:
    """A batch of pictures with phrases that are there, and some of other pictures that are not."""

    def __init__(self, phrases, group, which, windows, dice):
        self.owners, self.phrases, self.targets = [], [], []
        nothing = at_most_four([])
        for n, (i, v) in enumerate(zip(group, which)):
            flipped = windows[v][i][4]
            fit = [(p, boxes) for p, boxes in phrases[i] if not (flipped and mirrored(" " + p))]
            for phrase, boxes in dice.sample(fit, min(PHRASES, len(fit))):
                if (target := targets(boxes, windows[v][i])) is not None:
                    self.add(n, phrase, target)
            strange = phrases[dice.choice(group)]
            if n % 2 == 0 and strange:
                other = dice.choice(strange)[0]
                if other not in {p for p, _ in phrases[i]}:
                    self.add(n, other, nothing)

    def add(self, owner, phrase, target):
        self.owners.append(owner), self.phrases.append(phrase), self.targets.append(target)


class Quick:
    """A copy of the grounder that computes in `HALF` throughout: between products, most of the time would go into
    changes of type. Its gradients are those of the float weights, and boxes are in float."""

    def __init__(self, grounder):
        self.master, self.copy = grounder, Grounder.like(grounder.state_dict()).to(HALF)
        self.copy.centres = grounder.centres

    def __call__(self, patches, phrases):
        with torch.no_grad():
            for weight, own in zip(self.copy.parameters(), self.master.parameters()):
                weight.copy_(own)
        boxes, scores = self.copy(patches.to(HALF), phrases.to(HALF))
        return boxes, scores.float()

    def backward(self, loss) -> None:
        loss.backward()
        for weight, own in zip(self.copy.parameters(), self.master.parameters()):
            own.grad, weight.grad = weight.grad.float(), None


def main(passes: int, rate: float) -> None:
    torch.manual_seed(SEED)
    began, path = time.time(), WORK / "ground" / "ground.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    _, head, text, _, grounder = trained()
    head.requires_grad_(False)
    while grounder.enter.out_features < GROUNDER:
        grounder = grounder.doubled()
    quick = Quick(grounder)
    rows = data.rows("flickr8k/train")
    phrases = phrases_of(rows)
    unique = sorted({p for row in phrases for p, _ in row})
    place, embedded = {p: i for i, p in enumerate(unique)}, embed_texts(text, encode(unique))
    views = [Views(head, "flickr8k/train", v) for v in range(features.VARIANTS)]
    windows = [features.windows(len(rows), v) for v in range(features.VARIANTS)]
    print("ready", round(time.time() - began), "s", flush=True)
    optimiser = torch.optim.AdamW(grounder.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.03)
    each = -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, passes * each, pct_start=0.1)
    mean = torch.optim.swa_utils.AveragedModel(grounder, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(KEEP))
    first = 0
    if path.exists():
        state = load(path)
        grounder.load_state_dict(state["training"]), mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"]), schedule.load_state_dict(state["schedule"])
        first = state["pass"]
    for epoch in range(first, passes):
        dice = random.Random(SEED + epoch)
        order = list(range(len(rows)))
        dice.shuffle(order)
        grounder.train()
        total = 0.0
        for step in range(each):
            group = order[step * BATCH : (step + 1) * BATCH]
            which = [dice.choice((0, 1, dice.randrange(2, features.VARIANTS))) for _ in group]
            lesson = Lesson(phrases, group, which, windows, dice)
            fine, tokens = (torch.cat(p) for p in zip(*[views[v].take([i]) for v, i in zip(which, group)]))
            with mixed():
                patches = head.patches(fine, tokens)
            boxes, scores = quick(patches[lesson.owners], embedded[[place[p] for p in lesson.phrases]])
            loss = grounding_loss(boxes, scores, torch.stack(lesson.targets), grounder.centres)
            quick.backward(loss)
            torch.nn.utils.clip_grad_norm_(grounder.parameters(), 1.0)
            optimiser.step(), schedule.step(), mean.update_parameters(grounder)
            total += loss.item()
            if step % 50 == 49:
                print(epoch, step, round(total / (step + 1), 3), round(time.time() - began), "s", flush=True)
        state = {"grounder": mean.module.state_dict(), "training": grounder.state_dict(), "mean": mean.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "pass": epoch + 1}
        keep(path, state)
        print("dev grounding", grounding(head, text, mean.module), flush=True)
    record("ground", passes=passes, seconds=round(time.time() - began), **grounding(head, text, mean.module, 1000))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="the grounder, on all phrases of every view")
    options.add_argument("--passes", type=int, default=PASSES)
    options.add_argument("--rate", type=float, default=RATE)
    main(**vars(options.parse_args()))
