"""What the speaker's captions and answers are worth on the pictures that are kept for measuring, in float.

    python -m lookout_recipe.marks [CHECKPOINT]
"""

import re
import sys
from collections import Counter, defaultdict
from functools import cache

from . import data
from .device import load
from .model import Speaker
from .paths import WORK
from .voice import MAX_ANSWER, MAX_TOKENS, beam, scored
from .words import ANSWER, QUESTION, START, clean, speaker_tokenizer

TOGETHER = 100


@cache
def references() -> dict:
    """The dev captions as the Penn Treebank tokenizer writes them."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    said = {i: [{"caption": c} for c in row["captions"]] for i, row in enumerate(data.rows("flickr8k/dev"))}
    return PTBTokenizer().tokenize(said)


def captions(speaker: Speaker, patches, tok) -> list[str]:
    start = tok.token_to_id(START)
    said = [s for part in patches.split(TOGETHER) for s in beam(speaker, part.float(), [[start]] * len(part), tok, MAX_TOKENS)]
    return [tok.decode(ids) for ids in said]


def caption_marks(said: list[str], meteor: bool) -> dict:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge

    given = {i: [clean(c)] for i, c in enumerate(said)}
    wanted = {i: references()[i] for i in given}
    bleu, _ = Bleu(4).compute_score(wanted, given, verbose=0)
    marks = {"bleu4": bleu[3], "cider": Cider().compute_score(wanted, given)[0], "rouge_l": Rouge().compute_score(wanted, given)[0]}
    if meteor:
        marks["meteor"] = Meteor().compute_score(wanted, given)[0]
    cut = Counter(c.split()[-1] if c else "" for c in said)
    words = [len(c.split()) for c in said]
    loose = sum(cut[w] for w in ("", "a", "an", "the", "of", "in", "on", "with", "and", "at", "to"))
    return {k: round(100 * float(v), 1) for k, v in marks.items()} | {"words": round(sum(words) / len(words), 1), "loose_ends": loose, "different": len(set(said))}


def same(answer: str) -> str:
    """As `src/eval/metrics/answers.rs` compares answers."""
    return ",".join(" ".join(re.sub(r"[^a-z0-9]+", " ", part).split()) for part in answer.lower().split(","))


def kind(question: str) -> str:
    return "number" if "how many" in question else "colour" if "color" in question else "thing"


def answers(speaker: Speaker, patches, held: list[tuple[int, dict]], tok) -> list[tuple[str, float]]:
    """To rows of questions, each with the place of its picture in `patches`, and their log-probabilities."""
    start, question, answer = (tok.token_to_id(t) for t in (START, QUESTION, ANSWER))
    same_length = defaultdict(list)
    for n, (place, row) in enumerate(held):
        prompt = [start, question, *tok.encode(row["question"], add_special_tokens=False).ids[:32], answer]
        same_length[len(prompt)].append((n, place, prompt))
    given = [("", 0.0)] * len(held)
    for rows in same_length.values():
        for at in range(0, len(rows), TOGETHER):
            part = rows[at : at + TOGETHER]
            said = scored(speaker, patches[[place for _, place, _ in part]].float(), [p for *_, p in part], tok, MAX_ANSWER, penalty=0.0)
            for (n, _, _), (sure, ids) in zip(part, said):
                given[n] = tok.decode(ids), sure
    return given


def answer_marks(given: list[str], held: list[tuple[int, dict]]) -> dict:
    right, all_ = Counter(), Counter()
    for said, (_, row) in zip(given, held):
        good = same(said) == same(row["answer"])
        for name in ("exact", kind(row["question"])):
            right[name] += good
            all_[name] += 1
    return {name: round(100 * right[name] / all_[name], 1) for name in all_}


def held_questions() -> list[tuple[int, dict]]:
    from .patch import HELD_QUESTIONS

    return [(place, row) for place, row in data.questions() if place % HELD_QUESTIONS == 0]


def measure(speaker: Speaker, dev, daquar, tok, meteor: bool = True) -> dict:
    """`dev` and `daquar` are patch tokens of all pictures of the two sets."""
    speaker.eval()
    held = held_questions()
    return caption_marks(captions(speaker, dev, tok), meteor) | answer_marks([said for said, _ in answers(speaker, daquar, held, tok)], held)


def main(path: str = "") -> None:
    from .patch import Views, all_patches, tower

    head, _ = tower()
    state = load(path or WORK / "patch" / "patch.pt")
    head.load_patches(state["head"])
    tok = speaker_tokenizer()
    speaker = Speaker(tok.get_vocab_size())
    speaker.load_state_dict(state["speaker"])
    print(measure(speaker, *(all_patches(head, Views(head, name, 0)) for name in ("flickr8k/dev", "daquar/train")), tok), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
