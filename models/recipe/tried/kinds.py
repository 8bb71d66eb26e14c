"""Kinds of attention to compare static keys with. Made like `StaticKeyAttention`: of width, heads and number of tokens."""

import math

import torch.nn as nn
import torch.nn.functional as F


class FullAttention(nn.Module):
    def __init__(self, width, heads, _):
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, mask=None):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mask = None if mask is None else mask[:, None, None, :]
        return self.out(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).reshape(batch, tokens, width))


class ConvolutionalStaticKeys(nn.Module):
    """As in the authors' code (zizhao-hu/SKA, `cait_cstu.py`): the keys are a grouped 3 x 3 convolution of the queries, one
    group a head, that gives a logit for every token. Tokens are a square map."""

    def __init__(self, width, heads, keys):
        super().__init__()
        self.heads, self.query, self.value, self.out = heads, nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.key = nn.Conv2d(width, heads * keys, 3, padding=1, groups=heads)

    def forward(self, x, mask=None):
        batch, tokens, width = x.shape
        side = math.isqrt(tokens)
        q = self.query(x).transpose(1, 2).reshape(batch, width, side, side)
        logits = self.key(q).view(batch, self.heads, tokens, tokens).transpose(2, 3) / math.sqrt(width // self.heads)
        v = self.value(x).view(batch, tokens, self.heads, -1).transpose(1, 2)
        return self.out((logits.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, width))
