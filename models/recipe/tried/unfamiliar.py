"""`python tried/unfamiliar.py`: the speaker learns to name things that Flickr8k does not show. Result: TRIED.md.

It learned its captions from six thousand pictures, most of them of people and dogs, and says so of anything. Here it learns
to say "an accordion" or "a carton of milk" of the pool's pictures whose sets name what they are of, and to answer so where it
is asked what that is: of the sets of things, not of those of people and animals, which its sentences fit. Captions of the
train pictures and of those sets, and answers, are held to what the speaker said before. Resumes after every pass; the result
lies beside `patch.pt`.
"""

import argparse
import random
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lookout_recipe import pool  # noqa: E402
from lookout_recipe.answers import stay_loss  # noqa: E402
from lookout_recipe.device import HALF, load, mixed  # noqa: E402
from lookout_recipe.learning import Learning  # noqa: E402
from lookout_recipe.marks import measure  # noqa: E402
from lookout_recipe.model import Speaker  # noqa: E402
from lookout_recipe.patch import Teaching, Views, all_patches, question_views, said, tower  # noqa: E402
from lookout_recipe.paths import SEED, WORK, keep  # noqa: E402
from lookout_recipe.voice import sample  # noqa: E402
from lookout_recipe.words import ANSWER, END, QUESTION, START, clean, speaker_tokenizer  # noqa: E402

PASSES, NAMED, PICTURES, SPOKEN, SENTENCES, QUESTIONS = 2, 32, 16, 2, 8, 24
RATE, KEEP, STAY_WEIGHT = 2e-4, 0.99, 3.0
EACH, TOLD, ANIMALS_EACH = 30, 1000, 2  # pictures of a name; pictures whose sentences are held; animals in a step
ANIMALS = "chanakya2734/Image-classification-using-CNN"
# Sets whose pictures are like the train pictures.
FAMILIAR = ("umareddy123/Human_activity_recognition", pool.SPORTS, ANIMALS)
PEOPLE_AND_DOGS = ("a person", "a dog")
PLURAL = {*"bagpipes binoculars buildings castanets drums headphones maracas mountains shoes shorts sunglasses trousers".split(), "swimming trunks"}
OTHERWISE = {"a bus motorbus": "a bus", "a motorbus": "a bus", "a domestic cat": "a cat"}
ASKED = 0.4  # of the pictures; the others are captioned
PROMPTS = ("what is this", "what is that", "what is in the picture", "what can be seen", "what do you see", "what object is this", "what is shown here")
ANIMAL_PROMPTS = ("what animal is this", "what animal is that", "what kind of animal is this", "which animal is it")


def bare(item: dict) -> str:
    """A name as an answer says it."""
    name = clean(item["name"])
    return OTHERWISE.get(name, name).removeprefix("a ").removeprefix("an ")


def called(item: dict) -> str:
    """A name as a caption says it."""
    name = bare(item)
    return name if name in PLURAL or name.startswith("the ") or item["set"] in pool.BARE else pool.article(name)


def chosen(items: list[dict]) -> tuple[list[int], list[int]]:
    """Which pictures of the pool the speaker learns to name, and of which its sentences are held."""
    dice, of = random.Random(SEED), {}
    for i, item in enumerate(items):
        if item["name"] and item["set"] not in FAMILIAR and item["name"] not in PEOPLE_AND_DOGS:
            of.setdefault(called(item), []).append(i)
    named = sorted(i for _, found in sorted(of.items()) for i in dice.sample(found, min(EACH, len(found))))
    familiar = [i for i, item in enumerate(items) if item["set"] in FAMILIAR]
    return named, sorted(dice.sample(familiar, min(TOLD, len(familiar))))


def name_loss(speaker, patches, pairs) -> torch.Tensor:
    """Of (prompt, name) pairs about pictures."""
    ids, want = said(pairs)
    return F.cross_entropy(speaker(ids, patches).flatten(0, 1).float(), want.flatten(), ignore_index=-100, label_smoothing=0.05)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--passes", type=int, default=PASSES)
    asked.add_argument("--rate", type=float, default=RATE)
    asked = asked.parse_args()
    began, tok, patched = time.time(), speaker_tokenizer(), WORK / "patch" / "patch.pt"
    (head, _), state = tower(), load(patched)
    first = state["speaker"]
    head.load_patches(state["head"])
    speaker, before = Speaker(tok.get_vocab_size()), Speaker(tok.get_vocab_size())
    speaker.load_state_dict(first), before.load_state_dict(first)
    before.eval().requires_grad_(False)
    teaching, items = Teaching(None, tok), pool.listed()
    pictures = all_patches(head, Views(head, "flickr8k/train", 0))
    rooms, dev = all_patches(head, question_views(head)[0]), all_patches(head, Views(head, "flickr8k/dev", 0))
    (named, familiar), (maps, _) = chosen(items), pool.arrays(len(items))
    things, known = (all_patches(head, Views.of(head, maps[which])) for which in (named, familiar))
    start, question, answer, end = (tok.token_to_id(t) for t in (START, QUESTION, ANSWER, END))
    ids = lambda words: tok.encode(words, add_special_tokens=False).ids
    prompt = lambda words: [start, question, *ids(words), answer]
    captions = [([start], [*ids(called(items[i])), end]) for i in named]
    answers = [[*ids(bare(items[i])), end] for i in named]
    animals = [(n, [*ids(bare(items[i])), end]) for n, i in enumerate(familiar) if items[i]["set"] == ANIMALS]
    sentences = []
    quick = Speaker(tok.get_vocab_size())
    quick.load_state_dict(first)
    quick.eval().to(HALF)
    for part in known.split(100):
        rows = sample(quick, part.to(HALF), 1, tok, temperature=0).tolist()
        sentences += [([start], (row[: row.index(end)] if end in row else row) + [end]) for row in rows]
    print("ready", len(named), "pictures with", len({tuple(a) for a in answers}), "names", round(time.time() - began), "s", flush=True)
    torch.manual_seed(SEED)
    taken = min(NAMED, len(named))
    each = len(named) // taken
    learning = Learning(WORK / "patch" / "unfamiliar.pt", speaker, asked.rate, 0.02, asked.passes * each)
    for epoch in range(learning.passes, asked.passes):
        dice, sums = random.Random(SEED + epoch), torch.zeros(2)
        order = dice.sample(range(len(named)), len(named))
        for step in range(each):
            some = order[step * taken : (step + 1) * taken]
            group = dice.sample(range(len(pictures)), min(PICTURES, len(pictures)))
            spoken = [(ids[:1], ids[1:24]) for i in group for _, ids in dice.sample(teaching.captions[i], SPOKEN)]
            told = dice.sample(range(len(sentences)), min(SENTENCES, len(sentences)))
            answered = [(pictures[i], dice.choice(teaching.asked[i])) for i in group if teaching.asked[i]]
            questions = dice.sample(teaching.daquar, min(QUESTIONS, len(teaching.daquar)))
            answered += [(rooms[place], (prompt, dice.choice(answers))) for place, prompt, answers in questions]
            with mixed():
                pairs = [(prompt(dice.choice(PROMPTS)), answers[i]) if dice.random() < ASKED else captions[i] for i in some]
                beasts = dice.sample(animals, min(ANIMALS_EACH, len(animals)))
                pairs += [(prompt(dice.choice(ANIMAL_PROMPTS)), name) for _, name in beasts]
                name = name_loss(speaker.train(), torch.cat([things[some].float(), known[[n for n, _ in beasts]].float()]), pairs)
                speaker.eval()  # what is held is not blurred by dropout
                stay = stay_loss(speaker, before, pictures[group].float(), spoken)
                stay = stay + 0.5 * stay_loss(speaker, before, torch.stack([p.float() for p, _ in answered]), [pair for _, pair in answered])
                stay = stay + 0.5 * stay_loss(speaker, before, known[told].float(), [sentences[i] for i in told])
            learning.step(name + STAY_WEIGHT * stay, min(KEEP, (epoch * each + step) / (epoch * each + step + 10)))
            sums += torch.stack([name, stay]).detach()
            if step % 25 == 24:
                print(epoch, step, [round(v / (step + 1), 3) for v in sums.tolist()], round(time.time() - began), "s", flush=True)
        learning.keep(epoch + 1)
    keep(patched.with_name("unfamiliar-patch.pt"), load(patched) | {"speaker": learning.mean.state_dict()})
    print(measure(learning.mean, dev, rooms, tok), round(time.time() - began), "s")


if __name__ == "__main__":
    main()
