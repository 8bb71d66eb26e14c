"""Stage `patch`: the speaker and the grounder learn together on the patch tokens of the aligned tower.

The tower up to its static key blocks stays as it is; only the projection to patch tokens is shared and learned.
Resumes after every pass.
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import data, features, trunk
from .align import embed_texts, encode, load_text
from .device import load, mixed, tensor
from .model import GRID, Grounder, ImageHead, Speaker
from .paths import SEED, WORK, keep, record
from .words import ANSWER, END, QUESTION, START, asked_of_phrases, clean, speaker_tokenizer

PASSES, BATCH, SPOKEN, PHRASES, QUESTIONS = 9, 48, 3, 2, 24
ANSWER_WEIGHT = 0.4
ROOM_VIEWS = 4  # of the pictures that questions are asked about
HELD_QUESTIONS = 4  # every fourth DAQUAR picture is kept for measuring


def tower():
    state = load(WORK / "align" / "towers.pt")
    head = ImageHead.like(state["head"])
    text = load_text(WORK / "align" / "towers.pt")
    return head.eval(), text.eval()


@torch.inference_mode()
def coarse_tokens(head: ImageHead, fine) -> torch.Tensor:
    out = []
    for at in range(0, len(fine), 100):
        with mixed():
            out.append(head.coarse(tensor(fine[at : at + 100], np.float32))[0].half())
    return torch.cat(out)


class Views:
    """Cached maps of one set and view, with the tower's tokens computed once."""

    def __init__(self, head, name, variant):
        self._over(head, features.arrays(name, variant)[0])

    @classmethod
    def of(cls, head, fine) -> "Views":
        """Of other maps `[pictures, N, C]`."""
        made = cls.__new__(cls)
        made._over(head, fine)
        return made

    def _over(self, head, fine):
        self.fine, self.tokens = fine, coarse_tokens(head, fine)

    def take(self, which):
        return tensor(self.fine[which], np.float32), self.tokens[which].float()


@torch.no_grad()
def all_patches(head: ImageHead, view: "Views") -> torch.Tensor:
    """Patch tokens `[pictures, N, C]` as float16."""
    places = range(len(view.tokens))
    return torch.cat([head.patches(*view.take(places[at : at + 100])).half() for at in range(0, len(places), 100)])


def question_views(head: ImageHead) -> list["Views"]:
    """Whole, mirrored, and two crops. Computed at first use, as only answers need them."""
    if not (WORK / "features" / f"daquar-train-{ROOM_VIEWS - 1}.json").exists():
        body = trunk.quick()
        for variant in range(1, ROOM_VIEWS):
            features.cache(body, "daquar/train", variant)
    return [Views(head, "daquar/train", variant) for variant in range(ROOM_VIEWS)]


def iou_and_giou(a, b):
    """Boxes `[..., 4]` as x0, y0, x1, y1."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    area = lambda z: (z[..., 2:] - z[..., :2]).clamp(min=0).prod(-1)
    union = area(a) + area(b) - inter
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    iou = inter / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


def grounding_loss(boxes, scores, target, centres):
    """`target` `[R, K, 4]`, rows of NaN where there are fewer than K boxes (or none at all)."""
    there = ~target.isnan().any(-1)
    filled = target.nan_to_num(0.0)
    low, high = filled[:, None, :, :2], filled[:, None, :, 2:]
    point = centres[None, :, None]
    middle, half = (low + high) / 2, ((high - low) / 2).clamp(min=0.6 / GRID)
    inside = (((point - middle).abs() <= half * 0.6).all(-1)) & there[:, None]
    area = (filled[..., 2:] - filled[..., :2]).prod(-1)[:, None].expand_as(inside)
    pick = area.masked_fill(~inside, 9).argmin(-1)
    positive = inside.any(-1)
    wanted = filled.gather(1, pick.unsqueeze(-1).expand(-1, -1, 4))
    iou, giou = iou_and_giou(boxes, wanted)
    quality = torch.where(positive, iou.detach().clamp(min=0.05), torch.zeros_like(iou))
    p = scores.sigmoid().detach()
    weight = torch.where(positive, torch.ones_like(p), 0.75 * p.square())
    score = (F.binary_cross_entropy_with_logits(scores, quality, reduction="none") * weight).sum() / positive.sum().clamp(min=1)
    near = (boxes - wanted).abs().sum(-1)
    box = ((1 - giou + near) * positive).sum() / positive.sum().clamp(min=1)
    return box + score


def mirrored(text: str) -> bool:
    return " left" in text or " right" in text


def phrases_of(rows) -> list[list[tuple[str, list]]]:
    return [[(p["phrase"].lower(), p["boxes"]) for p in row["phrases"] if p["boxes"]] for row in rows]


class Teaching:
    """Everything that is said and pointed at in the train pictures, as token ids and phrase embeddings."""

    def __init__(self, text, tok):
        self.rows, self.tok = data.rows("flickr8k/train"), tok
        ids = lambda words: tok.encode(words, add_special_tokens=False).ids
        start, end, question, answer = (tok.token_to_id(t) for t in (START, END, QUESTION, ANSWER))
        self.captions = [[(c, [start, *ids(clean(c)), end]) for c in row["captions"]] for row in self.rows]
        ask = lambda q, a: ([start, question, *ids(clean(q)), answer], [*ids(clean(a)), end])
        self.asked = [[ask(q, a) for q, a in asked_of_phrases(row)] for row in self.rows]
        self.daquar_images = data.images("daquar/train")
        # A list of answers is learned as any one of them: what is said is one thing.
        each = lambda r: [ask(r["question"], a.replace("_", " "))[1] for a in r["answer"].split(",") if clean(a)]
        asked = [(place, ask(r["question"], "")[0], each(r)) for place, r in data.questions()]
        self.daquar = [q for q in asked if q[0] % HELD_QUESTIONS and q[2]]
        left, right = tok.token_to_id("left"), tok.token_to_id("right")
        self.other_side = {left: right, right: left}
        self.phrases = phrases_of(self.rows)
        unique = sorted({p for row in self.phrases for p, _ in row})
        self.at = {p: i for i, p in enumerate(unique)}
        self.embedded = embed_texts(text, encode(unique)) if text else None


def said(rows: list[tuple[list[int], list[int]]]):
    """Inputs and targets of (prompt, answer) pairs; only the answer is learned."""
    width = max(len(p) + len(a) for p, a in rows) - 1
    ids, want = torch.zeros(len(rows), width, dtype=torch.long), torch.full((len(rows), width), -100)
    for i, (prompt, answer) in enumerate(rows):
        whole = prompt + answer
        ids[i, : len(whole) - 1] = torch.tensor(whole[:-1])
        want[i, len(prompt) - 1 : len(whole) - 1] = torch.tensor(answer)
    return ids, want


def at_most_four(boxes: list[list[float]]) -> torch.Tensor:
    """`[4, 4]`, NaN where there are fewer than four boxes."""
    return torch.tensor(boxes + [[float("nan")] * 4] * (4 - len(boxes)))


def corners(boxes, flip: bool):
    made = [[x, y, x + w, y + h] for x, y, w, h in boxes[:4]]
    made = [[1 - x1, y0, 1 - x0, y1] if flip else [x0, y0, x1, y1] for x0, y0, x1, y1 in made]
    return at_most_four(made).clamp(0, 1)


def caption_loss(speaker, patches, teaching, group, flip, dice, count: int):
    """Of `count` true captions of each picture; `flip` says which pictures are mirrored."""
    spoken = []
    for f, i in zip(flip, group):
        fit = [ids for c, ids in teaching.captions[i] if not (f and mirrored(c))] or [teaching.captions[i][0][1]]
        spoken += [(ids[:1], ids[1:24]) for ids in (dice.sample(fit, count) if len(fit) >= count else dice.choices(fit, k=count))]
    ids, want = said(spoken)
    logits = speaker(ids, patches)
    return F.cross_entropy(logits.flatten(0, 1).float(), want.flatten(), ignore_index=-100, label_smoothing=0.1)


def answer_loss(speaker, look, teaching, count: int, views: int, dice, more=None):
    """Of `count` questions about rooms; `look(view, places)` gives their patch tokens. `more`: patch tokens, prompts and
    answers of other pictures."""
    questions, view = dice.sample(teaching.daquar, min(count, len(teaching.daquar))), dice.randrange(views)
    seen = look(view, [q[0] for q in questions])
    pairs = []
    for _, ask, answers in questions:
        answer = dice.choice(answers)
        pairs.append([[teaching.other_side.get(t, t) for t in part] for part in (ask, answer)] if view % 2 else (ask, answer))
    if more:
        seen, pairs = torch.cat([more[0], seen]), more[1] + pairs
    ids, want = said(pairs)
    logits = speaker(ids, seen)
    return F.cross_entropy(logits.flatten(0, 1).float(), want.flatten(), ignore_index=-100, label_smoothing=0.05)


def step_loss(head, speaker, grounder, teaching, views, rooms, group, dice):
    flip = [dice.random() < 0.5 for _ in group]
    parts = [views[f].take([i]) for f, i in zip(flip, group)]
    fine, tokens = (torch.cat(p) for p in zip(*parts))
    with mixed():
        patches = head.patches(fine, tokens)
        caption = caption_loss(speaker, patches, teaching, group, flip, dice, SPOKEN)
        asked = [(n, dice.choice(teaching.asked[i])) for n, i in enumerate(group) if teaching.asked[i]][:8]
        more = (patches[[n for n, _ in asked]], [qa for _, qa in asked]) if asked else None
        look = lambda view, places: head.patches(*rooms[view].take(places))
        answer = answer_loss(speaker, look, teaching, QUESTIONS, len(rooms), dice, more)
        owners, vectors, targets = [], [], []
        for n, (f, i) in enumerate(zip(flip, group)):
            fit = [p for p in teaching.phrases[i] if not (f and mirrored(" " + p[0]))]
            for phrase, boxes in dice.sample(fit, min(PHRASES, len(fit))):
                owners.append(n), vectors.append(teaching.at[phrase]), targets.append(corners(boxes, f))
            if n % 6 == 0:
                other, _ = dice.choice(teaching.phrases[dice.choice(group)] or [("a dog", None)])
                if other in teaching.at and other not in {p for p, _ in teaching.phrases[i]}:
                    owners.append(n), vectors.append(teaching.at[other]), targets.append(corners([], f))
        boxes, scores = grounder(patches[owners], teaching.embedded[vectors])
    ground = grounding_loss(boxes.float(), scores.float(), torch.stack(targets), grounder.centres)
    return caption + ANSWER_WEIGHT * answer + ground, caption, answer, ground


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--passes", type=int, default=PASSES)
    options.add_argument("--from", dest="warm", type=Path, help="start with this checkpoint's speaker, grounder and projections")
    options.add_argument("--rate", type=float, default=1e-3)
    options = options.parse_args()
    passes = options.passes
    torch.manual_seed(SEED)
    began, path = time.time(), WORK / "patch" / "patch.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    head, text = tower()
    tok = speaker_tokenizer()
    teaching = Teaching(text, tok)
    speaker, grounder = Speaker(tok.get_vocab_size()), Grounder()
    if options.warm:
        state = load(options.warm)
        speaker.load_state_dict(state["speaker"]), grounder.load_state_dict(state["grounder"])
        head.load_patches(state["head"])
    views = [Views(head, "flickr8k/train", v) for v in range(2)]
    rooms = question_views(head)
    print("ready", tok.get_vocab_size(), "pieces", round(time.time() - began), "s", flush=True)
    head.requires_grad_(False), head.patch_fine.requires_grad_(True), head.patch_coarse.requires_grad_(True)
    trained = [p for m in (head, speaker, grounder) for p in m.parameters() if p.requires_grad]
    groups = [{"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.03}, {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, options.rate, betas=(0.9, 0.98))
    each = max(len(teaching.rows) // BATCH, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, passes * each, pct_start=0.06)
    first = 0
    if path.exists():
        state = load(path)
        head.load_patches(state["head"]), speaker.load_state_dict(state["speaker"]), grounder.load_state_dict(state["grounder"])
        optimiser.load_state_dict(state["optimiser"]), schedule.load_state_dict(state["schedule"])
        first = state["pass"]
    for epoch in range(first, passes):
        dice = random.Random(SEED + epoch)
        order = list(range(len(teaching.rows)))
        dice.shuffle(order)
        speaker.train(), grounder.train()
        sums = torch.zeros(3)
        for step in range(each):
            loss, *parts = step_loss(head, speaker, grounder, teaching, views, rooms, order[step * BATCH : (step + 1) * BATCH], dice)
            optimiser.zero_grad(), loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step(), schedule.step()
            sums += torch.stack([p.detach() for p in parts])
            if step % 25 == 24:
                print(epoch, step, [round(v / (step + 1), 3) for v in sums.tolist()], round(time.time() - began), "s", flush=True)
        state = {"head": head.state_dict(), "speaker": speaker.state_dict(), "grounder": grounder.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "pass": epoch + 1}
        keep(path, state)
        if epoch % 3 == 2 or epoch == passes - 1:
            print("dev grounding", grounding(head, text, grounder), flush=True)
    record("patch", passes=passes, seconds=round(time.time() - began), losses=[round(v / each, 3) for v in sums.tolist()], **grounding(head, text, grounder))


@torch.inference_mode()
def grounding(head, text, grounder, limit: int = 250) -> dict:
    grounder.eval()
    view, hit, point, total = Views(head, "flickr8k/dev", 0), 0, 0, 0
    for i, row in enumerate(data.rows("flickr8k/dev")[:limit]):
        phrases = [(p["phrase"].lower(), p["boxes"][0]) for p in row["phrases"] if len(p["boxes"]) == 1]
        if not phrases:
            continue
        patches = head.patches(*view.take([i]))
        vectors = embed_texts(text, encode([p for p, _ in phrases]))
        boxes, scores = grounder(patches.expand(len(phrases), -1, -1), vectors)
        best = boxes[torch.arange(len(phrases)), scores.argmax(1)].clamp(0, 1)
        want = torch.stack([corners([b], False)[0] for _, b in phrases])
        middle = (best[:, :2] + best[:, 2:]) / 2
        hit += (iou_and_giou(best, want)[0] >= 0.5).sum().item()
        point += ((middle >= want[:, :2]) & (middle <= want[:, 2:])).all(-1).sum().item()
        total += len(phrases)
    return {"acc_iou50": round(100 * hit / total, 1), "pointing": round(100 * point / total, 1)}


if __name__ == "__main__":
    main()
