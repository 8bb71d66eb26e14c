"""What `check` asks of the speaker: is each word of a sentence the one that it would have chosen?

Words come in kinds (colours, counts, animals, ...: see `swaps.lists`). At each word of a kind the speaker chooses among
the kind's words. `choice` is the least log-probability that it gives a word of the sentence, `gain` the least that the
picture adds to one: the same less what it gives without a picture. Without means that every patch token is the mean one.
A sentence holds with probability sigmoid(scale * cosine + bias) * sigmoid(choice * c + gain * g + b), times that of the
things that it names being there (see `things`).
"""

import random
from collections import defaultdict

import torch

from .align import embed_texts, encode
from .device import mixed
from .patch import said
from .paths import SEED
from .swaps import checks, lists
from .words import END, START, clean, speaker_tokenizer

MOST_TOKENS = 32  # of a sentence; the runtime reads as many
EACH = 2  # true captions, swapped ones and other pictures' ones that are fitted on, of each picture


class Wording:
    def __init__(self, speaker, blank: torch.Tensor):
        """`blank` `[C]`: the mean patch token."""
        self.speaker, self.words = speaker, speaker_tokenizer()
        self.blank = blank.expand(1, 256, -1).contiguous()
        self.start, self.end = self.words.token_to_id(START), self.words.token_to_id(END)
        grouped = defaultdict(list)
        for word, (kind, _) in sorted(lists().items()):
            if self.words.token_to_id(word) is not None:
                grouped[kind].append(word)
        self.kinds = [grouped[k] for k in sorted(grouped, key=str) if len(grouped[k]) > 1]
        tokens = [torch.tensor([self.words.token_to_id(w) for w in kind]) for kind in self.kinds]
        self.kind_of = {t: kind for kind in tokens for t in kind.tolist()}

    def signals(self, patches: torch.Tensor, sentences: list[str]) -> torch.Tensor:
        """`choice` and `gain` `[S, 2]` of sentences about one picture, patches `[1, N, C]`."""
        ids = [[self.start, *self.words.encode(clean(s), add_special_tokens=False).ids[:MOST_TOKENS]] for s in sentences]
        inputs, _ = said([(row[:1], [*row[1:], self.end]) for row in ids])
        with mixed():
            seen, unseen = (self.speaker(inputs, p).float() for p in (patches, self.blank))
        found = torch.zeros(len(sentences), 2)
        for row, tokens in enumerate(ids):
            for at, token in enumerate(tokens[1:]):
                kind = self.kind_of.get(token)
                if kind is not None:
                    own = (kind == token).nonzero().item()
                    with_it, without = (x[row, at, kind].log_softmax(-1)[own] for x in (seen, unseen))
                    found[row] = torch.minimum(found[row], torch.stack([with_it, with_it - without]))
        return found


def product(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """`x` `[S, 4]`: cosine, choice, gain, and the probability of the things."""
    return (w[0] * x[:, 0] + w[1]).sigmoid() * (w[2] * x[:, 1] + w[3] * x[:, 2] + w[4]).sigmoid() * x[:, 3]


@torch.inference_mode(False)
def likeliest(x: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The weights of `product` that make the judgements most likely."""
    w = torch.tensor([20.0, -4.0, 0.5, 0.3, 2.0], dtype=torch.double, requires_grad=True)
    # Tensors made in inference mode cannot be learned with; copies can.
    x, truth, weight = x.clone().double(), truth.clone().double(), weight.clone().double() / weight.sum()
    step = torch.optim.LBFGS([w], max_iter=300, line_search_fn="strong_wolfe")

    def loss():
        step.zero_grad()
        p = product(x, w).clamp(1e-6, 1 - 1e-6)
        lost = -(weight * (truth * p.log() + (1 - truth) * (1 - p).log())).sum()
        lost.backward()
        return lost

    step.step(loss)
    return w.detach()


@torch.inference_mode()
def fit(head, text, speaker, view, pictures: torch.Tensor, things):
    """On the even pictures of Flickr8k dev: the manifest's section, then probability and class (1 true, 0 another picture's,
    -1 one word swapped) of each sentence that was fitted on. `view` and `pictures` are the maps and embeddings of all."""
    dice, rows = random.Random(SEED), checks()
    even = range(0, len(rows), 2)
    blank = torch.cat([head.patches(*view.take([i])).mean(1) for i in even]).mean(0)
    wording, signals, kinds = Wording(speaker, blank), [], []
    for i in even:
        row, other = rows[i], rows[(i + 1 + dice.randrange(len(rows) - 1)) % len(rows)]
        some = dice.sample(row["captions"], EACH)
        wrong = [w for _, w in dice.sample(row["swapped"], min(EACH, len(row["swapped"])))]
        foreign = dice.sample(other["captions"], EACH)
        sentences = some + wrong + foreign
        cosines = embed_texts(text, encode(sentences)) @ pictures[i]
        there = torch.tensor([things.there(s, i) for s in sentences])
        signals.append(torch.cat([cosines[:, None], wording.signals(head.patches(*view.take([i])), sentences), there[:, None]], 1))
        kinds += [1] * len(some) + [-1] * len(wrong) + [0] * len(foreign)
    x, kinds = torch.cat(signals), torch.tensor(kinds)
    weight = torch.where(kinds == 1, 1.0 / (kinds == 1).sum(), torch.where(kinds == 0, 0.5 / (kinds == 0).sum(), 0.5 / (kinds == -1).sum()))
    w = likeliest(x, kinds == 1, weight)
    names = ["cosine_scale", "cosine_bias", "choice", "gain", "bias"]
    section = {n: round(v, 5) for n, v in zip(names, w.tolist())}
    section |= {"blank": [round(v, 4) for v in blank.tolist()], "kinds": wording.kinds}
    return section, product(x, w), kinds
