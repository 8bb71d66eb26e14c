"""What `check` and the score of a caption ask of the embedding: are the things that a sentence names there at all?

The speaker knows what Flickr8k shows, and sees a dog in whatever it does not know, sure of itself. The embedding knows the
names of many more things, so it notices. Of each kind, a word's log-odds of being there (see `presence`) are compared with
what those of true captions reach but for one in twenty: sigmoid(odds - least). Only kinds whose words name what a picture
is about: clothes, parts of bodies and most other things are there in true captions without the embedding noticing.
"""

import torch

from . import data, presence
from .align import embed_texts, encode
from .export import TEMPLATES
from .swaps import checks, lists, words

KINDS = ("animals", "instruments", "vehicles")
BELOW = 0.05  # of true words


class Things:
    """Fitted on the even pictures of Flickr8k dev, whose embeddings are `pictures`. `calibrated`: the section `presence`."""

    def __init__(self, text, pictures: torch.Tensor, calibrated: dict):
        kind_of = {w: KINDS.index(kind[1]) for w, (kind, _) in lists().items() if kind[0] == "noun" and kind[1] in KINDS}
        kinds = [sorted(w for w, k in kind_of.items() if k == kind) for kind in range(len(KINDS))]
        self.kinds = [some for some in kinds if len(some) > 1]
        self.kind_of = {w: k for k, some in enumerate(self.kinds) for w in some}
        known = sorted(self.kind_of)
        self.odds = {}
        if known:
            labels = presence.as_labels(text, TEMPLATES, known)
            usual = embed_texts(text, encode(presence.BACKGROUND)).mean(0)
            odds = calibrated["scale"] * (pictures @ labels.t()) + (calibrated["background"] * (pictures @ usual) + calibrated["bias"])[:, None]
            self.odds = dict(zip(known, odds.t(), strict=True))
        true = [[] for _ in self.kinds]
        for i, row in list(enumerate(data.rows("flickr8k/dev")))[0::2]:
            for word in (w for caption in row["captions"] for w in self.named(caption)):
                true[self.kind_of[word]].append(self.odds[word][i])
        # Nothing has to be likelier than not to be named.
        self.least = [min(0.0, torch.stack(values).quantile(BELOW).item()) if values else 0.0 for values in true]

    def named(self, sentence: str) -> set[str]:
        return {w for w in words(sentence) if w in self.kind_of}

    def above(self, word: str, i: int) -> float:
        """How far the odds of a word lie above what is asked of it, in picture `i`."""
        return self.odds[word][i].item() - self.least[self.kind_of[word]]

    def there(self, sentence: str, i: int) -> float:
        """The factor of a sentence about picture `i`."""
        return min((torch.tensor(self.above(w, i)).sigmoid().item() for w in self.named(sentence)), default=1.0)

    def section(self) -> dict:
        """Of the manifest."""
        return {"kinds": self.kinds, "least": [round(v, 5) for v in self.least]}

    def report(self) -> dict:
        """Of words of odd pictures the share below what is asked, in true captions and where they were put in for another."""
        below = {"true": [], "wrong": []}
        for i, row in list(enumerate(checks()))[1::2]:
            used = set().union(*map(self.named, row["captions"]))
            below["true"] += [self.above(w, i) < 0 for c in row["captions"] for w in self.named(c)]
            below["wrong"] += [self.above(w, i) < 0 for _, c in row["swapped"] for w in self.named(c) - used]
        return {name: {"below": round(sum(some) / max(len(some), 1), 3), "n": len(some)} for name, some in below.items()}
