"""Stage `calibrate`: fits on the even pictures of Flickr8k dev that turn cosines and logits into probabilities, so that
the odd ones can be measured.

label  what is in the picture against what is not, and which of several labels it is (see `presence`)
find   true captions against captions of other pictures, by the cosine alone
check  the same and sentences wrong in one word, by the cosine, the words (see `wording`) and the things that they name
       (see `things`)
answer answers to questions about rooms (DAQUAR's held pictures) that are right, whole, against wrong ones
ground boxes that are right (IoU 0.5 with a box of the phrase) against wrong ones and phrases of other pictures
"""

import argparse
import json
import random

import torch

from . import data, presence, wording
from .align import embed_pictures, embed_texts, encode
from .export import SIZE, TEMPLATES, trained
from .features import arrays
from .marks import answers, held_questions, same
from .patch import Views, all_patches, corners, iou_and_giou
from .paths import SEED, WORK, record
from .things import Things
from .words import speaker_tokenizer


def logistic(values: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Slopes and, last, offset of the most likely `sigmoid(values @ slopes + offset)`, by Newton's method. `values` `[N]`
    or `[N, K]`."""
    x = torch.cat([values.view(len(values), -1), torch.ones(len(values), 1)], 1).double()
    weight = torch.ones(len(x), dtype=torch.double) if weight is None else weight.double()
    w = torch.zeros(x.shape[1], dtype=torch.double)
    for _ in range(50):
        p = (x @ w).sigmoid()
        hessian = x.t() @ (x * (weight * p * (1 - p)).unsqueeze(1)) + 1e-6 * torch.eye(x.shape[1], dtype=torch.double)
        w += torch.linalg.solve(hessian, x.t() @ (weight * (truth.double() - p)))
    return w


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
    return (rank[good].sum().item() - n * (n + 1) / 2) / (n * m) if n and m else 0.5


def judged(p, truth) -> dict:
    return {"auroc": round(auroc(p, truth), 4), "ece": round(expected_calibration_error(p, truth), 4), "n": len(p)}


@torch.inference_mode()
def ground(head, text, grounder, view, rows) -> tuple[dict, dict]:
    """Whether the best box of a phrase has an IoU of one half with one that it names: constants, and how well they do."""
    dice, even = random.Random(SEED), range(0, len(rows), 2)
    values, truth = [], []
    for i in even[:250]:
        row = rows[i]
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
    values, truth = torch.stack(values), torch.tensor(truth)
    slope, offset = logistic(values, truth).tolist()
    return {"ground_scale": round(slope, 5), "ground_bias": round(offset, 5)}, judged((slope * values + offset).sigmoid(), truth)


def answer(head, speaker) -> tuple[dict, dict]:
    """How sure the speaker is of an answer, against how often it is right: constants from every second of the held pictures
    (not Flickr8k's), and how well they do on the others."""
    held = held_questions()
    given = answers(speaker, all_patches(head, Views(head, "daquar/train", 0)), held, speaker_tokenizer())
    truth = torch.tensor([int(same(said) == same(row["answer"])) for (said, _), (_, row) in zip(given, held, strict=True)])
    odds = torch.tensor([sure for _, sure in given]).double().exp().clamp(1e-6, 1 - 1e-6).logit()
    number = {place: n for n, place in enumerate(sorted({place for place, _ in held}))}
    odd = torch.tensor([number[place] % 2 == 1 for place, _ in held])
    slope, offset = logistic(odds[~odd], truth[~odd]).tolist()
    report = {"as it is": judged(odds[odd].sigmoid(), truth[odd]), "calibrated": judged((slope * odds[odd] + offset).sigmoid(), truth[odd])}
    return {"answer_scale": round(slope, 5), "answer_bias": round(offset, 5)}, report


def words(head, text, speaker, view, pictures, presence: dict) -> tuple[dict, dict]:
    """The manifest's sections about the words of sentences and the things that they name, and how well their constants do."""
    known = Things(text, pictures, presence)
    section, p, kinds = wording.fit(head, text, speaker, view, pictures, known)
    report = {"things": known.report()}
    for name, wrong in {"check other": 0, "check swapped": -1}.items():
        some = (kinds == 1) | (kinds == wrong)
        report[name] = judged(p[some], kinds[some] == 1)
    return {"check": section, "things": known.section()}, report


def fitted(section: dict) -> dict:
    return {name: value for name, value in section.items() if name not in ("blank", "kinds")}


def among_others(kept, found: dict, fits: dict) -> None:
    """Keeps these constants beside those that are there."""
    kept.write_text(json.dumps(json.loads(kept.read_text()) | found))
    record("calibrate", **{name: fitted(part) if isinstance(part, dict) else part for name, part in found.items()}, fits=fits)


@torch.inference_mode()
def main(only: str | None) -> None:
    body, head, text, speaker, grounder = trained()
    rows, view = data.rows("flickr8k/dev"), Views(head, "flickr8k/dev", 0)
    kept = WORK / "calibration.json"
    if only and not kept.exists():
        raise SystemExit(f"--only {only} needs the other constants in {kept}: run `thaw`, or `calibrate` without it")
    if only == "ground":
        found, report = ground(head, text, grounder, view, rows)
        return among_others(kept, found, {"ground": report})
    if only == "answer":
        found, report = answer(head, speaker)
        return among_others(kept, found, {"answer": report})
    pictures = embed_pictures(head, arrays("flickr8k/dev", 0)[0])
    if only == "check":
        return among_others(kept, *words(head, text, speaker, view, pictures, json.loads(kept.read_text())["presence"]))
    even = range(0, len(rows), 2)
    result, report = {}, {}

    questions = presence.Questions(head, body, SIZE, pictures)
    values, truth, weight, choices = presence.ask(text, TEMPLATES, questions)
    w = logistic(values, truth, weight)
    p = (values.double() @ w[:-1] + w[-1]).sigmoid()
    sources = [source for source, *_ in questions.asked]
    for source in dict.fromkeys(sources):
        of = torch.tensor([s == source for s in sources])
        some = judged(p[of], truth[of]) if truth[of].any() else {"n": of.sum().item()}
        report[f"label {source}"] = some | {"absent": round(p[of & (truth == 0)].mean().item(), 3)}
    lone = logistic(values[:, 0], truth, weight)
    result |= {"temperature": presence.likeliest_temperature(choices, w), "none_bias": round((-lone[1] / lone[0]).item(), 5)}
    result |= {"background": presence.BACKGROUND}

    captions = embed_texts(text, encode([c for i in even for c in rows[i]["captions"]]))
    owner = torch.arange(len(captions)) // 5
    shifted = (owner + torch.randint(1, len(even), owner.shape, generator=torch.Generator().manual_seed(SEED))) % len(even)
    cosines = torch.cat([(pictures[2 * owner] * captions).sum(1), (pictures[2 * shifted] * captions).sum(1)])
    own = torch.arange(len(cosines)) < len(captions)
    slope, offset = logistic(cosines, own).tolist()
    report["find"] = judged((slope * cosines + offset).sigmoid(), own)
    result |= {"check_scale": round(slope, 5), "check_bias": round(offset, 5)}

    found, report["ground"] = ground(head, text, grounder, view, rows)
    result |= found
    found, report["answer"] = answer(head, speaker)
    result |= found
    result["presence"] = {n: round(v, 5) for n, v in zip(("scale", "background", "bias"), w.tolist(), strict=True)}

    found, of_words = words(head, text, speaker, view, pictures, result["presence"])
    result |= found
    kept.write_text(json.dumps(result))
    short = {name: value for name, value in result.items() if name not in ("background", "check", "things")}
    record("calibrate", **short, check=fitted(result["check"]), things=fitted(result["things"]), fits=report | of_words)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="probabilities")
    options.add_argument("--only", choices=["answer", "check", "ground"], help="of answers, of words and things, or of the grounder; the others stay as they are in calibration.json")
    main(**vars(options.parse_args()))
