"""Stage `answers`: the speaker learns how sure to be of its answers.

Five thousand questions are few for six million weights, which learn them by heart. A small classifier over the n-grams of a
question, its embedding and the patch tokens that it attends to (`Guesser`) gets more of them right in rooms that it has not
seen. One is made for each fifth of the train pictures, from the others. They say how probable every answer is to the
questions of that fifth, about the picture itself and about others, and the speaker learns these probabilities beside the
true answers. What they know of things beyond that comes from lists of the objects in the train rooms (`rooms`): networks
that find these in a picture tell the classifiers which answers are likely, and the speaker is asked what is in a room.
Captions, and answers about other pictures than rooms, are held to the words of the speaker before. Resumes after every pass.
"""

import argparse
import random
import time
from collections import Counter

import torch
import torch.nn as nn
import torch.nn.functional as F

from . import data, rooms
from .align import embed_texts, encode
from .device import load, mixed
from .learning import Learning
from .marks import answer_marks, held_questions, measure
from .model import EMBEDDING, GRID, PATCH, Speaker
from .patch import HELD_QUESTIONS, Teaching, Views, all_patches, question_views, said, tower
from .paths import SEED, WORK, keep, record
from .words import ANSWER, END, QUESTION, START, clean, speaker_tokenizer

PASSES, QUESTIONS, PICTURES, SPOKEN, RATE, KEEP = 20, 80, 16, 2, 3e-4, 0.99
GUESS_PASSES, GUESS_BATCH, GUESS_RATE, GRAM_RATE = 10, 128, 1e-3, 0.05
VIEWS = 2  # whole and mirrored; a guesser does not gain from crops
OTHERS, LIKELY, TRUTH = 8, 32, 0.2  # other pictures a question is asked about, answers kept, share of the true one
GUESSERS = 2  # for a fifth of the rooms
THINGS_EACH = 4  # one question of so many is what is in a room
STAY_WEIGHT = 3.0


def exchanged(question: str) -> str:
    return " ".join({"left": "right", "right": "left"}.get(word, word) for word in question.split())


def grams(question: str) -> list[str]:
    """Words, pairs and triples."""
    words = ["^", *clean(question).split(), "$"]
    return [" ".join(words[at : at + n]) for n in (1, 2, 3) for at in range(len(words) - n + 1)]


class Guesser(nn.Module):
    """Of each answer how probable it is: what the n-grams say, what they say of the picture where they look, and which things
    were found in it. `thing`: of each answer its place among the things, or -1."""

    def __init__(self, known: int, thing: torch.Tensor, things: int, width: int = 256, looks: int = 4):
        super().__init__()
        answers = len(thing)
        self.register_buffer("thing", thing)
        self.looks = looks
        self.blind, self.bias = nn.EmbeddingBag(known, answers, mode="mean"), nn.Parameter(torch.zeros(answers))
        nn.init.zeros_(self.blind.weight)
        self.words, self.sentence = nn.EmbeddingBag(known, width, mode="mean"), nn.Linear(EMBEDDING, width)
        self.position = nn.Parameter(torch.zeros(GRID * GRID, PATCH))
        self.look, self.seen, self.whole = nn.Linear(width, looks * PATCH), nn.Linear(looks * PATCH, width), nn.Linear(PATCH, width)
        self.asked, self.answer = nn.Linear(width, width), nn.Linear(width, answers)
        self.found, self.trust = nn.Linear(things, width), nn.Linear(width, 1)

    def forward(self, known: tuple[torch.Tensor, torch.Tensor], sentences, patches, found):
        """`found` `[B, things]`: log-odds of each thing, less those of everywhere."""
        drop = lambda x, share: F.dropout(x, share, self.training)
        asked = torch.tanh(drop(3 * self.words(*known) + 2 * self.sentence(sentences), 0.3))
        tokens = patches + self.position
        weight = (tokens @ self.look(asked).view(-1, self.looks, PATCH).transpose(1, 2) / PATCH**0.5).softmax(1)
        seen = drop((weight.transpose(1, 2) @ tokens).flatten(1), 0.3)
        seen = self.seen(seen) + self.whole(drop(patches.mean(1), 0.3)) + self.found(drop(found / 2, 0.3))
        both = torch.tanh(self.asked(asked)) * torch.relu(seen)
        named = torch.where(self.thing >= 0, found[:, self.thing.clamp(min=0)], 0.0)
        return self.blind(*known) + self.bias + self.answer(drop(both, 0.5)) + F.softplus(self.trust(torch.tanh(3 * self.words(*known)))) * named


class Questions:
    """The questions of some rows, as guessers read them: each as it is, and with left and right exchanged."""

    def __init__(self, rows: list[tuple[int, dict]], text, known: dict[str, int], centre=None):
        self.places = torch.tensor([place for place, _ in rows])
        ways = [[row["question"] for _, row in rows], [exchanged(row["question"]) for _, row in rows]]
        self.known = [[[known[g] for g in grams(q) if g in known] for q in way] for way in ways]
        embedded = [embed_texts(text, encode(way)).float() for way in ways]
        self.centre = embedded[0].mean(0) if centre is None else centre
        self.sentences = [F.normalize(e - self.centre, dim=-1) for e in embedded]

    def take(self, which: list[int], way: int):
        bags = [self.known[way][i] for i in which]
        starts = torch.tensor([0, *map(len, bags)][: len(bags)]).cumsum(0)
        return (torch.tensor([g for bag in bags for g in bag], dtype=torch.long), starts), self.sentences[way][which]


def taught(questions: Questions, truth, tokens, found, thing, which: list[int], known: int, passes: int, seed: int) -> Guesser:
    """A guesser that knows these of the questions. `tokens` are whole and mirrored patch tokens, `found` the things of each room."""
    torch.manual_seed(seed)
    guesser, dice = Guesser(known, thing, found.shape[1]), random.Random(seed)
    quick = [guesser.blind.weight, guesser.bias]
    slow = [p for p in guesser.parameters() if not any(p is q for q in quick)]
    optimiser = torch.optim.AdamW([{"params": quick, "lr": GRAM_RATE}, {"params": slow, "lr": GUESS_RATE}], weight_decay=0.01)
    steps = passes * -(-len(which) // GUESS_BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [GRAM_RATE, GUESS_RATE], steps, pct_start=0.1)
    for _ in range(passes):
        order = dice.sample(which, len(which))
        for at in range(0, len(order), GUESS_BATCH):
            some, way = order[at : at + GUESS_BATCH], dice.randrange(VIEWS)
            places = questions.places[some]
            logits = guesser(*questions.take(some, way), tokens[way][places].float(), found[places])
            loss = F.cross_entropy(logits, truth[some], label_smoothing=0.05)
            optimiser.zero_grad(), loss.backward()
            optimiser.step(), schedule.step()
    return guesser.eval()


@torch.no_grad()
def guesses(guessers: list[Guesser], questions: Questions, which: list[int], places, tokens, found, way: int) -> torch.Tensor:
    parts = []
    for at in range(0, len(which), 200):
        some = slice(at, at + 200)
        seen = *questions.take(which[some], way), tokens[way][places[some]].float(), found[places[some]]
        parts.append(torch.stack([guesser(*seen).softmax(1) for guesser in guessers]).mean(0))
    return torch.cat(parts)


class Taught:
    """What the speaker learns: for each question its pictures, and how probable each answer is about them."""

    def __init__(self, head, text, views, tokens, tok, passes: int):
        parts = lambda row: [clean(a.replace("_", " ")) for a in row["answer"].split(",") if clean(a)]
        rows = [(place, r) for place, r in data.questions() if place % HELD_QUESTIONS and parts(r)]
        held = held_questions()
        self.answers = sorted({a for _, r in rows for a in parts(r)})
        number = {a: i for i, a in enumerate(self.answers)}
        # A list of answers is learned as any one of them: what is said is one thing.
        self.truth = torch.zeros(len(rows), len(self.answers))
        for i, (_, row) in enumerate(rows):
            for a in parts(row):
                self.truth[i, number[a]] += 1 / len(parts(row))
        count = Counter(g for _, r in rows for q in (r["question"], exchanged(r["question"])) for g in set(grams(q)))
        known = {g: i for i, g in enumerate(g for g, n in count.items() if n > 2)}
        questions = Questions(rows, text, known)
        things, there = rooms.things()
        found = rooms.found(head, views, there)
        thing = torch.tensor([things.index(a) if a in things else -1 for a in self.answers])
        mean, spread = tokens[0].float().mean((0, 1)), tokens[0].float().std((0, 1))
        even = [((view.float() - mean) / spread).half() for view in tokens[:VIEWS]]
        pictures, dice = sorted({p for p, _ in rows}), random.Random(SEED)
        fold = rooms.part_of(questions.places, len(tokens[0]))
        asked = Questions(held, text, known, questions.centre)
        sure = torch.zeros(len(held), len(self.answers))
        self.about, self.values, self.which = ([[] for _ in rows] for _ in range(3))
        for f in range(rooms.FOLDS):
            own = (fold == f).nonzero().flatten().tolist()
            if not own:
                continue
            others = [i for i in range(len(rows)) if fold[i] != f]
            guessers = [taught(questions, self.truth, even, found, thing, others, len(known), passes, SEED + rooms.FOLDS * n + f) for n in range(GUESSERS)]
            sure += guesses(guessers, asked, list(range(len(held))), asked.places, even, found, 0).log()
            for turn in range(OTHERS + 1):
                places = questions.places[own] if turn == 0 else torch.tensor([dice.choice(pictures) for _ in own])
                for way in range(VIEWS):
                    top = guesses(guessers, questions, own, places, even, found, way).topk(min(LIKELY, len(self.answers)))
                    for i, p, v, w in zip(own, places.tolist(), top.values / top.values.sum(1, keepdim=True), top.indices):
                        self.about[i].append((p, way)), self.values[i].append(v), self.which[i].append(w)
            self.marks = answer_marks([self.answers[i] for i in sure.argmax(1)], held)
            print("guessers", f + 1, self.marks, flush=True)
        ids = lambda words: tok.encode(words, add_special_tokens=False).ids
        start, end, question, answer = (tok.token_to_id(t) for t in (START, END, QUESTION, ANSWER))
        self.prompts = [[[start, question, *ids(clean(q))[:32], answer] for q in (r["question"], exchanged(r["question"]))] for _, r in rows]
        # What is in a room is asked as well, and any of its things is an answer.
        more = [name for name in things if name not in self.answers]
        place = [(self.answers + more).index(name) for name in things]
        self.rooms = [(room, [place[i] for i in found.nonzero().flatten().tolist()]) for room, found in enumerate(there) if found.any()]
        self.whats = [[start, question, *ids(q), answer] for q in rooms.PROMPTS]
        self.tokens = [[*ids(a), end] for a in self.answers + more]
        self.first = torch.tensor([t[0] for t in self.tokens])

    def draw(self, count: int, dice: random.Random):
        """Pictures as (place, view), prompts, how probable is what can be said `[count, sayings]`. Every second question is about
        its own picture."""
        about, prompts, wanted = [], [], torch.zeros(count, len(self.tokens))
        known = slice(len(self.answers))
        for n in range(count):
            if n % THINGS_EACH == 1 and self.rooms:
                room, things = dice.choice(self.rooms)
                about.append((room, dice.randrange(VIEWS))), prompts.append(dice.choice(self.whats))
                wanted[n, things] = 1 / len(things)
                continue
            i = dice.randrange(len(self.prompts))
            own = n % 2 == 0
            at = dice.randrange(VIEWS) if own else dice.randrange(VIEWS, len(self.about[i]))
            about.append(self.about[i][at]), prompts.append(self.prompts[i][about[-1][1]])
            wanted[n, self.which[i][at]] = self.values[i][at]
            if own:
                wanted[n, known] = TRUTH * self.truth[i] + (1 - TRUTH) * wanted[n, known]
        return about, prompts, wanted


def answer_loss(speaker, taught: Taught, tokens, count: int, dice) -> torch.Tensor:
    """The first token is learned from all answers at once, what follows from one that is drawn."""
    about, prompts, wanted = taught.draw(count, dice)
    # To float one by one: where there is bfloat16, halves are not stacked in mixed precision.
    seen = torch.stack([tokens[view][place].float() for place, view in about])
    drawn = [taught.tokens[i] for i in wanted.multinomial(1).flatten()]
    ids, want = said(list(zip(prompts, drawn)))
    logits = speaker(ids, seen).float()
    at = torch.tensor([len(p) - 1 for p in prompts])
    rows = torch.arange(count)
    want[rows, at] = -100
    first = torch.zeros(count, logits.shape[-1]).index_add_(1, taught.first, wanted)
    loss = -(first * logits[rows, at].log_softmax(-1)).sum()
    return (loss + F.cross_entropy(logits.flatten(0, 1), want.flatten(), ignore_index=-100, reduction="sum")) / (count + (want >= 0).sum())


def stay_loss(speaker, before, patches, prompts) -> torch.Tensor:
    """How far the words have moved from those of the speaker before: of (prompt, answer) pairs about pictures."""
    ids, want = said(prompts)
    with torch.no_grad():
        old = before(ids, patches).float().log_softmax(-1)
    new = speaker(ids, patches).float().log_softmax(-1)
    return F.kl_div(new, old, reduction="none", log_target=True).sum(-1)[want >= 0].mean()


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--passes", type=int, default=PASSES)
    asked.add_argument("--rate", type=float, default=RATE)
    asked = asked.parse_args()
    began, tok, path = time.time(), speaker_tokenizer(), WORK / "answers" / "answers.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    patched, guesses_path = WORK / "patch" / "patch.pt", path.with_name("guesses.pt")
    (head, text), state = tower(), load(patched)
    start = state.get("speaker_unsure", state["speaker"])
    head.load_patches(state["head"])
    speaker, before = Speaker(tok.get_vocab_size()), Speaker(tok.get_vocab_size())
    speaker.load_state_dict(start), before.load_state_dict(start)
    before.eval().requires_grad_(False)
    teaching = Teaching(None, tok)
    pictures = all_patches(head, Views(head, "flickr8k/train", 0))
    views = question_views(head)
    seen_rooms, dev = [all_patches(head, view) for view in views[:VIEWS]], all_patches(head, Views(head, "flickr8k/dev", 0))
    fine = state["head"]["patch_fine.weight"]  # whose patch tokens the guessers have learned
    guessed = load(guesses_path) if guesses_path.exists() else None
    if guessed is None or not torch.equal(guessed["of"], fine):
        guessed = {"taught": Taught(head, text, views, seen_rooms, tok, min(GUESS_PASSES, asked.passes)), "of": fine}
        keep(guesses_path, guessed)
    taught_ = guessed["taught"]
    print("ready", round(time.time() - began), "s", flush=True)
    torch.manual_seed(SEED)
    each = -(-len(taught_.prompts) // QUESTIONS)
    learning = Learning(path, speaker, asked.rate, 0.02, asked.passes * each)
    mean = learning.mean
    for epoch in range(learning.passes, asked.passes):
        dice, sums = random.Random(SEED + epoch), torch.zeros(2)
        for step in range(each):
            group = dice.sample(range(len(pictures)), min(PICTURES, len(pictures)))
            # Words of the annotators and, where there is a question, an answer.
            spoken = [(ids[:1], ids[1:24]) for i in group for _, ids in dice.sample(teaching.captions[i], SPOKEN)]
            answered = [(i, dice.choice(teaching.asked[i])) for i in group if teaching.asked[i]]
            seen = pictures[group].float()
            with mixed():
                answer = answer_loss(speaker.train(), taught_, seen_rooms, QUESTIONS, dice)
                speaker.eval()  # what is held is not blurred by dropout
                stay = stay_loss(speaker, before, seen, spoken)
                if answered:
                    stay = stay + 0.5 * stay_loss(speaker, before, pictures[[i for i, _ in answered]].float(), [pair for _, pair in answered])
            loss = answer + STAY_WEIGHT * stay
            learning.step(loss, min(KEEP, (epoch * each + step) / (epoch * each + step + 10)))
            sums += torch.stack([answer, stay]).detach()
            if step % 25 == 24:
                print(epoch, step, [round(v / (step + 1), 3) for v in sums.tolist()], round(time.time() - began), "s", flush=True)
        learning.keep(epoch + 1)
    # Read anew: the grounder may have been trained meanwhile.
    keep(patched, load(patched) | {"speaker": mean.state_dict(), "speaker_unsure": start})
    record("answers", passes=asked.passes, guessers=taught_.marks, seconds=round(time.time() - began), **measure(mean, dev, seen_rooms[0], tok))


if __name__ == "__main__":
    main()
