"""CIDEr-D of sampled captions, fast enough for training.

Vedantam, Zitnick, Parikh, "CIDEr: Consensus-based Image Description Evaluation", arXiv 1411.5726. The end of a sentence
counts as a word: without it a caption gains by stopping at "with a", whose n-grams are common and cost little.
"""

import math
from collections import Counter

END, LONGEST, SIGMA = ".", 4, 6.0


def ngrams(words: list[str]) -> Counter:
    words = [*words, END]
    return Counter(tuple(words[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(words) - n + 1))


class Worth:
    """Document frequencies and reference vectors of one set: `references` are the cleaned captions of each picture."""

    def __init__(self, references: list[list[str]]):
        counted = [[ngrams(c.split()) for c in captions] for captions in references]
        self.frequency = Counter(gram for captions in counted for gram in set().union(*captions))
        self.log_count = math.log(len(references))
        self.references = [[(c, *self.vector(g)) for c, g in zip(captions, grams)] for captions, grams in zip(references, counted)]

    def vector(self, grams: Counter) -> tuple[dict, list[float]]:
        weights = {g: n * (self.log_count - math.log(max(1, self.frequency[g]))) for g, n in grams.items()}
        squares = [0.0] * LONGEST
        for gram, weight in weights.items():
            squares[len(gram) - 1] += weight * weight
        return weights, [math.sqrt(s) for s in squares]

    def __call__(self, picture: int, caption: str) -> float:
        """Against the captions of one picture of the set, in 0..10."""
        words = caption.split()
        weights, norms = self.vector(ngrams(words))
        total = 0.0
        for reference, theirs, their_norms in self.references[picture]:
            alike = [0.0] * LONGEST
            for gram, weight in weights.items():
                other = theirs.get(gram)
                if other is not None:
                    alike[len(gram) - 1] += min(weight, other) * other
            near = math.exp(-((len(words) - len(reference.split())) ** 2) / (2 * SIGMA**2))
            total += near * sum(a / (n * m) for a, n, m in zip(alike, norms, their_norms) if a > 0)
        return 10 * total / (LONGEST * len(self.references[picture]))
