"""Stage `calibrate`: logistic fits on the dev part that turn cosines and logits into probabilities.

label  phrases of the picture against phrases of other pictures: slope 1 / temperature, middle `none_bias`
check  true captions against captions of other pictures
ground boxes that are right (IoU 0.5 with a box of the phrase) against wrong ones and phrases of other pictures
"""

import json
import random

import torch

from . import data
from .align import embed_pictures, embed_texts, encode
from .export import TEMPLATES, trained
from .features import arrays
from .patch import Views, corners, iou_and_giou
from .paths import SEED, WORK, record


def logistic(values: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    """Slope and offset of the most likely `sigmoid(slope * value + offset)`, by Newton's method."""
    x = torch.stack([values, torch.ones_like(values)], 1).double()
    w = torch.zeros(2, dtype=torch.double)
    for _ in range(50):
        p = (x @ w).sigmoid()
        hessian = x.t() @ (x * (p * (1 - p)).unsqueeze(1)) + 1e-6 * torch.eye(2, dtype=torch.double)
        w += torch.linalg.solve(hessian, x.t() @ (truth.double() - p))
    return w[0].item(), w[1].item()


def expected_calibration_error(p: torch.Tensor, truth: torch.Tensor, bins: int = 15) -> float:
    which = (p * bins).long().clamp(max=bins - 1)
    error = 0.0
    for b in range(bins):
        inside = which == b
        if inside.any():
            error += inside.float().mean().item() * abs(p[inside].mean().item() - truth[inside].float().mean().item())
    return error


def auroc(values: torch.Tensor, truth: torch.Tensor) -> float:
    rank = values.argsort().argsort().double() + 1
    good = truth.bool()
    n, m = good.sum().item(), (~good).sum().item()
    return (rank[good].sum().item() - n * (n + 1) / 2) / (n * m)


@torch.inference_mode()
def main() -> None:
    _, head, text, _, grounder = trained()
    dice, rows = random.Random(SEED), data.rows("flickr8k/dev")
    pictures = embed_pictures(head, arrays("flickr8k/dev", 0)[0])
    result, report = {}, {}

    def fit(values, truth):
        slope, offset = logistic(values, truth)
        p = (slope * values + offset).sigmoid()
        return slope, offset, {"auroc": round(auroc(values, truth), 4), "ece": round(expected_calibration_error(p, truth), 4), "n": len(values)}

    bare = lambda phrase: " ".join(w for w in phrase.lower().split() if w not in ("a", "an", "the"))
    names = [sorted({bare(p["phrase"]) for p in row["phrases"]} - {""}) for row in rows]
    unique = sorted({n for row in names for n in row})
    place = {n: i for i, n in enumerate(unique)}
    embedded = torch.nn.functional.normalize(sum(embed_texts(text, encode([t.format(n) for n in unique])) for t in TEMPLATES), dim=-1)
    values, truth = [], []
    for i, row in enumerate(names):
        there = set(row)
        for name in row:
            values.append(pictures[i] @ embedded[place[name]]), truth.append(1)
            other = dice.choice(unique)
            if other not in there:
                values.append(pictures[i] @ embedded[place[other]]), truth.append(0)
    slope, offset, report["label"] = fit(torch.stack(values), torch.tensor(truth))
    result |= {"temperature": round(1 / slope, 5), "none_bias": round(-offset / slope, 5)}

    captions = embed_texts(text, encode([c for row in rows for c in row["captions"]]))
    owner = torch.arange(len(captions)) // 5
    shifted = (owner + torch.randint(1, len(rows), owner.shape, generator=torch.Generator().manual_seed(SEED))) % len(rows)
    cosines = torch.cat([(pictures[owner] * captions).sum(1), (pictures[shifted] * captions).sum(1)])
    slope, offset, report["check"] = fit(cosines, torch.arange(len(cosines)) < len(captions))
    result |= {"check_scale": round(slope, 5), "check_bias": round(offset, 5)}

    view, values, truth = Views(head, "flickr8k/dev", 0), [], []
    for i, row in enumerate(rows[:400]):
        phrases = [(p["phrase"].lower(), p["boxes"]) for p in row["phrases"] if p["boxes"]]
        strange = dice.choice(rows)
        phrases += [(p["phrase"].lower(), []) for p in strange["phrases"][:2] if p["phrase"].lower() not in {q for q, _ in phrases}]
        if not phrases:
            continue
        boxes, scores = grounder(head.patches(*view.take([i])).expand(len(phrases), -1, -1), embed_texts(text, encode([p for p, _ in phrases])))
        best = scores.argmax(1)
        for n, (_, wanted) in enumerate(phrases):
            overlap = iou_and_giou(boxes[n, best[n]].clamp(0, 1).expand(4, 4), corners(wanted, False))[0].nan_to_num(0.0)
            values.append(scores[n, best[n]]), truth.append(int(overlap.max() >= 0.5))
    slope, offset, report["ground"] = fit(torch.stack(values), torch.tensor(truth))
    result |= {"ground_scale": round(slope, 5), "ground_bias": round(offset, 5)}
    (WORK / "calibration.json").write_text(json.dumps(result))
    record("calibrate", **result, fits=report)


if __name__ == "__main__":
    main()
