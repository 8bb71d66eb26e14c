"""Stage `audit`: who captions and labels get wrong, what `check` makes of word order, and what sampled captions agree on.

Prints the tables of the model card, from the float networks on Flickr8k dev. The truth about people is what the five
annotators wrote, guesses of theirs about strangers included. Pictures are the odd ones, on which nothing was fitted,
where `check` is measured; all thousand where people are.
"""

import json
import random
from collections import Counter, defaultdict

import numpy as np
import torch

from . import data
from .agree import NEVER, closing
from .align import embed_pictures, embed_texts, encode
from .calibrate import auroc
from .device import mixed
from .export import TEMPLATES, trained
from .features import arrays
from .patch import Views
from .paths import SEED, WORK, record
from .presence import as_labels
from .swaps import COLOURS, checks, lists, words
from .things import Things
from .wording import Wording, product
from .words import END, START, speaker_tokenizer

CALLED = {
    "man": "man men guy guys gentleman male males".split(),
    "woman": "woman women lady ladies female females".split(),
    "boy": "boy boys".split(),
    "girl": "girl girls".split(),
    "child": "child children kid kids toddler toddlers baby babies".split(),
}
NEUTRAL = "person people someone adult adults player skateboarder snowboarder skier surfer biker climber rider cyclist hiker crowd group team couple family".split()
MALE, FEMALE, YOUNG = {"man", "boy"}, {"woman", "girl"}, {"boy", "girl", "child"}
LONGEST, PICTURES, SAMPLES = 24, 200, 5


def called(sentence: str) -> set[str]:
    found = {*words(sentence)}
    return {name for name, forms in CALLED.items() if found & {*forms}}


def say(speaker, tokenizer, patches: torch.Tensor, dice: torch.Generator | None = None) -> list[str]:
    """A greedy caption of each picture, or with `dice` a sampled one."""
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    never, said, going = [tokenizer.token_to_id(t) for t in NEVER], [[] for _ in patches], list(range(len(patches)))
    for _ in range(LONGEST):
        with mixed():
            logits = speaker(torch.tensor([[start, *said[i]] for i in going]), patches[going])[:, -1].float()
        logits[:, never] = -torch.inf
        for row, i in enumerate(going):
            logits[row, closing(said[i])] = -torch.inf
        chosen = logits.argmax(1) if dice is None else torch.multinomial(logits.softmax(1), 1, generator=dice)[:, 0]
        for i, token in zip(going, chosen.tolist()):
            said[i].append(token)
        going = [i for i in going if said[i][-1] != end]
        if not going:
            break
    return [tokenizer.decode([t for t in s if t != end]) for s in said]


def share(count: int, of: int) -> str:
    return f"{100 * count / of:.1f} % of {of}" if of else "none"


def gender_of(row: dict) -> str | None:
    """What at least three annotators say and none contradicts."""
    each = [called(c) for c in row["captions"]]
    male, female = (sum(bool(names & some) for names in each) for some in (MALE, FEMALE))
    return "male" if male >= 3 and not female else "female" if female >= 3 and not male else None


def people_in(row: dict) -> list[list[float]]:
    return [list(b) for b in dict.fromkeys(tuple(b) for p in row["phrases"] if p["type"].startswith("people") for b in p["boxes"])]


def words_of_captions(rows, captions) -> dict:
    """For each word that captions use: do the annotators use it, only the other gender's, only the other age's, or none?"""
    table = {name: Counter() for name in CALLED}
    for row, caption in zip(rows, captions, strict=True):
        theirs = set().union(*(called(c) for c in row["captions"]))
        for name in called(caption):
            own, other = (MALE, FEMALE) if name in MALE else (FEMALE, MALE) if name in FEMALE else (set(), set())
            verdict = (
                "said" if name in theirs or (name == "child" and theirs & YOUNG)
                else "other gender" if own and theirs & other and not theirs & own
                else "other age" if theirs & (own or CALLED.keys())
                else "gender not said"
            )
            table[name][verdict] += 1
    return {name: dict(counts) for name, counts in table.items()}


def gender_errors(rows, captions, best_labels, group) -> dict:
    """Of pictures of one agreed gender: captions and labels with the other one, by `group(index)`."""
    made = defaultdict(Counter)
    for i, (row, caption, label) in enumerate(zip(rows, captions, best_labels, strict=True)):
        gender, said = gender_of(row), called(caption)
        if gender is None or group(i) is None:
            continue
        own, other = (MALE, FEMALE) if gender == "male" else (FEMALE, MALE)
        for key in (gender, f"{gender}, {group(i)}"):
            made[key]["pictures"] += 1
            made[key]["caption, other gender only"] += bool(said & other and not said & own)
            made[key]["caption, no gender"] += not said & (own | other)
            made[key]["caption, nobody"] += not said and not {*words(caption)} & {*NEUTRAL}
            made[key]["label, other gender"] += label in other
    return {key: {n: share(c, counts["pictures"]) for n, c in counts.items() if n != "pictures"} for key, counts in sorted(made.items())}


def brightness(rows) -> list[float | None]:
    """Mean luma, 0 to 255, of the box of the only person; None where there are more or none."""
    made = []
    for row, pixels in zip(rows, data.pictures("flickr8k/dev", 224, [row["image"] for row in rows]), strict=True):
        boxes = people_in(row)
        if len(boxes) != 1:
            made.append(None)
            continue
        x, y, w, h = (int(round(v * 224)) for v in boxes[0])
        part = pixels[y : y + max(h, 1), x : x + max(w, 1)].astype(np.float32)
        made.append(float((part @ np.array([0.299, 0.587, 0.114], np.float32)).mean()) if part.size else None)
    return made


def reordered(row: dict) -> dict[str, list[tuple[str, str]]]:
    """Captions with two beings exchanged (a man bites a dog), and with two colours exchanged."""
    beings = {w for w, (kind, _) in KINDS.items() if kind[0] == "noun" and kind[1] in ("people", "animals")}
    made = {"order": [], "attribute": []}
    for caption in row["captions"]:
        for kind, known in (("order", beings), ("attribute", {*COLOURS})):
            parts = caption.split()
            at = [i for i, w in enumerate(parts) if w.lower() in known]
            at = [i for n, i in enumerate(at) if parts[i].lower() not in {parts[j].lower() for j in at[:n]}][:2]
            # Beings that are only listed ("a man and a woman") can change places.
            between = {w.lower() for w in parts[at[0] : at[1]]} if len(at) == 2 else set()
            if len(at) == 2 and not between & {"and", "or", ","}:
                i, j = at
                parts[i], parts[j] = parts[j].lower(), parts[i].lower()
                made[kind].append((caption, " ".join(parts)))
    return made


KINDS = {}


@torch.inference_mode()
def main() -> None:
    KINDS.update(lists())
    _, head, text, speaker, _ = trained()
    rows, view, tokenizer = data.rows("flickr8k/dev"), Views(head, "flickr8k/dev", 0), speaker_tokenizer()
    pictures = embed_pictures(head, arrays("flickr8k/dev", 0)[0])
    seen = lambda i: head.patches(*view.take([i]))
    captions = [c for at in range(0, len(rows), 100) for c in say(speaker, tokenizer, head.patches(*view.take(list(range(at, min(at + 100, len(rows)))))))]
    four = ["man", "woman", "boy", "girl"]
    named = as_labels(text, TEMPLATES, four)
    best = [four[i] for i in (pictures @ named.t()).argmax(1)]
    luma = brightness(rows)
    edges = np.quantile([v for v in luma if v is not None], [1 / 3, 2 / 3])
    crowd = lambda i: {0: None, 1: "one person", 2: "two people"}.get(len(people_in(rows[i])), "three or more")
    light = lambda i: None if luma[i] is None else ("dark box", "middling box", "bright box")[int(np.searchsorted(edges, luma[i]))]
    unsaid = sum(bool(people_in(row)) and not set().union(*(called(c) for c in row["captions"])) & (MALE | FEMALE) for row in rows)
    result = {
        "people": share(unsaid, sum(bool(people_in(row)) for row in rows)) + " pictures with people: no annotator says a gender",
        "words": words_of_captions(rows, captions),
        "by people": gender_errors(rows, captions, best, crowd),
        "by brightness": gender_errors(rows, captions, best, light),
        "brightness edges": [round(float(e)) for e in edges],
    }

    calibrated = json.loads((WORK / "calibration.json").read_text())
    section, things = calibrated["check"], Things(text, pictures, calibrated["presence"])
    weights = torch.tensor([section[n] for n in ("cosine_scale", "cosine_bias", "choice", "gain", "bias")])
    wording = Wording(speaker, torch.tensor(section["blank"]))

    def scores(i: int, sentences: list[str]) -> torch.Tensor:
        """Cosine and score of `check` `[S, 2]`."""
        cosines = (embed_texts(text, encode(sentences)) @ pictures[i])[:, None]
        there = torch.tensor([[things.there(s, i)] for s in sentences])
        return torch.cat([cosines, product(torch.cat([cosines, wording.signals(seen(i), sentences), there], 1), weights)[:, None]], 1)

    odd = range(1, len(rows), 2)
    right = defaultdict(list)
    for i in odd:
        for kind, pairs in reordered(rows[i]).items():
            for true, wrong in pairs:
                a, b = scores(i, [true, wrong])
                right[kind].append(((a > b).float() + 0.5 * (a == b).float()).tolist())
    result["composition"] = {k: {"pairs": len(v), **dict(zip(("cosine", "check"), (np.array(v).mean(0) * 100).round(1).tolist(), strict=True))} for k, v in right.items()}

    rowsof, dice, drawn = checks(), random.Random(SEED), torch.Generator().manual_seed(SEED)
    some = list(odd)[:PICTURES]
    agreeing = {1: [], 0: [], -1: []}
    for i in some:
        said = embed_texts(text, encode([s or "." for s in say(speaker, tokenizer, seen(i).expand(SAMPLES, -1, -1), drawn)])).mean(0)
        other = rowsof[(i + 1 + dice.randrange(len(rowsof) - 1)) % len(rowsof)]["captions"]
        for kind, sentences in ((1, rowsof[i]["captions"]), (0, other), (-1, [w for _, w in rowsof[i]["swapped"]])):
            if sentences:
                agreeing[kind] += (embed_texts(text, encode(sentences)) @ said).tolist()
    pair = lambda wrong: round(auroc(torch.tensor(agreeing[1] + agreeing[wrong]), torch.tensor([1] * len(agreeing[1]) + [0] * len(agreeing[wrong]))), 4)
    result["agreement"] = {"samples": SAMPLES, "pictures": len(some), "auroc_other": pair(0), "auroc_swapped": pair(-1)}
    print(json.dumps(result, indent=1))
    record("audit", **result)


if __name__ == "__main__":
    main()
