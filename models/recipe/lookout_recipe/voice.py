"""How the speaker is run when it is not being taught: one token after another over a key/value cache, for many
pictures at once. Sampling, and the beam search of `src/text/beam.rs` with its rules.
"""

import math

import torch
import torch.nn.functional as F

from .model import PATCH, Speaker
from .words import ANSWER, END, QUESTION, START

MAX_TOKENS, MAX_ANSWER, BEAMS, LENGTH_PENALTY, REPEATED_RUN = 24, 12, 5, 1.0, 3
# Of the cosine with the picture, when the runtime chooses among the beam's sentences. Not used here.
COSINE_WEIGHT = 3.0
# Of the log-probability of what is looked for, when the runtime puts what it found into order again. Not used here.
RERANK_WEIGHT = 0.015


class Stream:
    """The speaker's state over `patches` `[B, N, C]`, with `each` consecutive rows a picture."""

    def __init__(self, speaker: Speaker, patches: torch.Tensor, each: int, longest: int = Speaker.MAX):
        self.speaker, self.each, self.at = speaker, each, 0
        self.patches = speaker.norm_patches(patches.to(speaker.bias.dtype))
        self.across = (self.patches / math.sqrt(PATCH)).transpose(1, 2).contiguous()
        first = speaker.blocks[0]
        shape = (len(speaker.blocks), 2, len(patches) * each, first.heads, longest, first.width // first.heads)
        self.cache = self.patches.new_zeros(shape)

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Takes the next token of every row `[R]`; returns log-probabilities `[R, V]`."""
        speaker, rows, end = self.speaker, len(ids), self.at + 1
        x = speaker.table(ids) + speaker.position[self.at]
        for block, cache in zip(speaker.blocks, self.cache):
            q, k, v = block.qkv(block.norm1(x)).view(rows, 3, block.heads, -1).unbind(1)
            cache[0, :, :, self.at], cache[1, :, :, self.at] = k, v
            y = F.scaled_dot_product_attention(q.unsqueeze(2), cache[0, :, :, :end], cache[1, :, :, :end])
            x = x + block.out(y.reshape(rows, -1))
            q = block.query(block.norm2(x)).view(-1, self.each * block.heads, PATCH)
            y = (q @ self.across).softmax(-1) @ self.patches
            x = x + block.read(y.view(rows, -1))
            x = x + block.down(F.gelu(block.up(block.norm3(x))))
        self.at = end
        return F.linear(speaker.norm(x), speaker.table.weight, speaker.bias).float().log_softmax(-1)

    def follow(self, parents: torch.Tensor) -> None:
        self.cache[..., : self.at, :] = self.cache[:, :, parents, :, : self.at]


def never_said(tok) -> list[int]:
    return [tok.token_to_id(t) for t in ("[PAD]", "[UNK]", "[MASK]", START, QUESTION, ANSWER)]


@torch.no_grad()
def sample(speaker: Speaker, patches, each: int, tok, most: int = MAX_TOKENS, temperature: float = 1.0) -> torch.Tensor:
    """`each` captions a picture drawn from the speaker: token ids `[B * each, <= most]`, padded with the end token.
    A temperature of 0 takes the most probable token."""
    end, banned = tok.token_to_id(END), never_said(tok)
    stream, said = Stream(speaker, patches, each, most), []
    ids = torch.full((len(patches) * each,), tok.token_to_id(START))
    done = torch.zeros_like(ids, dtype=torch.bool)
    for _ in range(most):
        scores = stream.step(ids)
        scores[:, banned] = -math.inf
        ids = scores.argmax(1) if temperature == 0 else (scores / temperature).softmax(1).multinomial(1).squeeze(1)
        ids = ids.masked_fill(done, end)
        said.append(ids)
        done |= ids == end
        if done.all():
            break
    return torch.stack(said, 1)


def closing(said: list[int]) -> set[int]:
    """The tokens that would complete a run already said."""
    near = REPEATED_RUN - 1
    if len(said) < near:
        return set()
    return {said[i + near] for i in range(len(said) - near) if said[i : i + near] == said[-near:]}


@torch.inference_mode()
def scored(speaker: Speaker, patches, prompts: list[list[int]], tok, most: int, width: int = BEAMS, penalty: float = LENGTH_PENALTY) -> list[tuple[float, list[int]]]:
    """The best sentence for each picture after its prompt, all of one length, and its score: with a penalty of 0 its
    log-probability."""
    end, banned, count = tok.token_to_id(END), never_said(tok), len(patches)
    stream = Stream(speaker, patches, width, len(prompts[0]) + most)
    for ids in torch.tensor(prompts).repeat_interleave(width, 0).t():
        scores = stream.step(ids)
    # Said so far and its log-probability; at first the rows of a picture are alike and only one counts.
    open_, best = [[([], 0.0)] for _ in range(count)], [(-math.inf, [])] * count
    ended, busy = [0] * count, [True] * count
    for length in range(1, most + 1):
        scores[:, banned] = -math.inf
        top = scores.topk(width + 1 + REPEATED_RUN, 1)
        values, tokens = top.values.tolist(), top.indices.tolist()
        parents, nexts = list(range(count * width)), [end] * (count * width)
        for b in (b for b in range(count) if busy[b]):
            steps = []
            for h, (said, sum_) in enumerate(open_[b]):
                row, looping = b * width + h, closing(said)
                steps += [(sum_ + v, h, t) for v, t in zip(values[row], tokens[row]) if t not in looping]
            steps.sort(key=lambda s: (-s[0], s[1], s[2]))
            for sum_, h, _ in (s for s in steps[:width] if s[2] == end):
                best[b] = max(best[b], (sum_ / length**penalty, open_[b][h][0]), key=lambda s: s[0])
                ended[b] += 1
            onward = [s for s in steps if s[2] != end][:width]
            busy[b] = ended[b] < width and bool(onward) and onward[0][0] / most**penalty > best[b][0]
            if not busy[b]:
                continue
            before = open_[b]
            open_[b] = [(before[h][0] + [t], sum_) for sum_, h, t in onward]
            for n, (_, h, t) in enumerate(onward):
                parents[b * width + n], nexts[b * width + n] = b * width + h, t
            if length == most:
                for said, sum_ in open_[b]:
                    best[b] = max(best[b], (sum_ / length**penalty, said), key=lambda s: s[0])
        if not any(busy) or length == most:
            break
        stream.follow(torch.tensor(parents))
        scores = stream.step(torch.tensor(nexts))
    return best


def beam(*what, **how) -> list[list[int]]:
    """The sentences of `scored`."""
    return [said for _, said in scored(*what, **how)]
