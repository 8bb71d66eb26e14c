"""The networks of the default bundle. Tokens are `[batch, tokens, channels]` throughout.

Static key attention: Hu, Zhou, Rostami, "Static Key Attention in Vision", arXiv 2412.07049. The keys are
learned parameters, one per head and position, so query projection times keys is one constant matrix.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from . import trunk

EMBEDDING = 384
PATCH = 256
GRID = 16
CONTEXT = 32
GROUNDER = 256  # its width in the bundle


class StaticKeyAttention(nn.Module):
    def __init__(self, width: int, heads: int, keys: int):
        super().__init__()
        self.heads, self.keys, self.width = heads, keys, width
        self.query = nn.Linear(width, width)
        self.key = nn.Parameter(torch.randn(heads, width // heads, keys) / math.sqrt(width // heads))
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight `[heads * keys, width]` and bias of the one matrix that query and keys make."""
        depth = self.width // self.heads
        weight = self.query.weight.view(self.heads, depth, self.width)
        scale = 1 / math.sqrt(depth)
        folded = torch.einsum("hdk,hdw->hkw", self.key, weight) * scale
        bias = torch.einsum("hdk,hd->hk", self.key, self.query.bias.view(self.heads, depth)) * scale
        return folded.reshape(-1, self.width), bias.reshape(-1)

    def forward(self, x, mask=None):
        batch, tokens, width = x.shape
        split = lambda y: y.view(batch, tokens, self.heads, -1).transpose(1, 2)
        logits = split(self.query(x)) @ (self.key[..., :tokens] / math.sqrt(width // self.heads))
        if mask is not None:
            logits = logits.masked_fill(~mask[:, None, None, :tokens], -1e4)
        mixed = logits.softmax(-1) @ split(self.value(x))
        return self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    """Pre-norm static key attention and a GELU feed-forward, both residual."""

    def __init__(self, width: int, heads: int, keys: int, ratio: int = 4, dropout: float = 0.0):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = StaticKeyAttention(width, heads, keys)
        self.up, self.down = nn.Linear(width, ratio * width), nn.Linear(ratio * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask=None):
        x = x + self.dropout(self.attention(self.norm1(x), mask))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))


class TextTower(nn.Module):
    """Token ids `[B, L]` to an embedding `[B, 384]`. The table is factorised: 192 columns, then 256."""

    def __init__(self, vocabulary: int = 30522, table: int = 192, width: int = 256, layers: int = 4, heads: int = 4):
        super().__init__()
        self.table = nn.Embedding(vocabulary, table)
        self.widen = nn.Linear(table, width)
        self.position = nn.Parameter(torch.randn(CONTEXT, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, CONTEXT) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, EMBEDDING)

    def forward(self, ids, mask):
        x = self.widen(self.table(ids)) + self.position[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        weight = mask.float().unsqueeze(-1)
        pooled = (self.norm(x) * weight).sum(1) / weight.sum(1)
        return self.project(pooled)


class ImageHead(nn.Module):
    """What is trained of the image tower: the last convolutions, from stride 16 to stride 32, static key attention
    at stride 32, an embedding, patch tokens.

    `fine` `[B, 256, 120]`, the frozen trunk's map, to an embedding `[B, 384]` and patches `[B, 256, 256]`.
    """

    def __init__(self, width: int = 256, layers: int = 2, heads: int = 4, dropout: float = 0.1, short: int = 512):
        super().__init__()
        self.tail = trunk.Trunk().blocks[trunk.LAST_FINE_BLOCK + 1 :]
        self.head = nn.Linear(trunk.COARSE, trunk.HEAD)
        self.narrow = nn.Linear(trunk.HEAD, width)
        self.position = nn.Parameter(torch.randn(64, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, 64, 2, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.shortcut = nn.Linear(trunk.HEAD, short)
        self.project = nn.Linear(short + width, EMBEDDING)
        self.patch_fine = nn.Linear(trunk.FINE, PATCH)
        self.patch_coarse = nn.Linear(width, PATCH)
        self.dropout = nn.Dropout(0.3)

    def start_from(self, teacher: "trunk.Trunk"):
        """The teacher's own weights. Its depthwise kernels stay as they are: few weights, and slow to train."""
        self.tail.load_state_dict(teacher.blocks[trunk.LAST_FINE_BLOCK + 1 :].state_dict())
        self.freeze_inherited()
        self.head.weight.data.copy_(teacher.head.conv.weight.flatten(1)), self.head.bias.data.copy_(teacher.head.conv.bias)

    @staticmethod
    def like(state: dict) -> "ImageHead":
        """With the weights of `state`, and as wide as they are."""
        head = ImageHead(short=len(state["shortcut.bias"]))
        head.load_state_dict(state)
        return head

    def widen(self, short: int):
        """To `short` units on the way from the convolutional features to the embedding. What comes out stays as it is."""
        wider = ImageHead(short=short)
        old = len(self.shortcut.bias)
        with torch.no_grad():
            for name in ("weight", "bias"):
                getattr(wider.shortcut, name)[:old] = getattr(self.shortcut, name)
            wider.project.weight.zero_()
            wider.project.weight[:, :old], wider.project.weight[:, short:] = self.project.weight[:, :old], self.project.weight[:, old:]
            wider.project.bias.copy_(self.project.bias)
        self.shortcut, self.project = wider.shortcut, wider.project

    def load_patches(self, state: dict):
        """The projections to patch tokens alone."""
        self.load_state_dict({k: v for k, v in state.items() if k.startswith("patch_")}, strict=False)

    def freeze_inherited(self):
        for block in self.tail:
            block.depthwise.requires_grad_(False)
        self.tail[0].expand.requires_grad_(False)

    def coarse(self, fine):
        """The tokens after the last block `[B, 64, 256]` and the convolutional features `[B, 64, 1280]`."""
        x = fine.view(-1, GRID, GRID, trunk.FINE).permute(0, 3, 1, 2)
        for block in self.tail:
            x = block(x)
        features = F.relu6(self.head(x.flatten(2).transpose(1, 2)))
        x = self.narrow(features) + self.position
        for block in self.blocks:
            x = block(x)
        return self.norm(x), features

    def embed(self, tokens, features, share=None):
        """Of whole pictures, or of R regions: `share` is (picture `[R]`, weight `[R, 64]` with rows that sum to 1)."""
        mean = (lambda x: x.mean(1)) if share is None else (lambda x: torch.einsum("rt,rtc->rc", share[1], x[share[0]]))
        both = torch.cat([F.gelu(self.shortcut(self.dropout(mean(features)))), mean(tokens)], 1)
        return self.project(self.dropout(both))

    def patches(self, fine, tokens):
        up = self.patch_coarse(tokens).view(-1, 8, 8, PATCH)
        up = up.repeat_interleave(2, 1).repeat_interleave(2, 2).reshape(-1, GRID * GRID, PATCH)
        return self.patch_fine(fine) + up


class SpeakerBlock(nn.Module):
    """Causal self-attention, cross-attention that reads the patch tokens as they are, feed-forward.

    Keys and values of the cross-attention are the tokens themselves; each head has its own query into the
    token space and its own way out of it, so that nothing has to be projected before the first word.
    """

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.width = heads, width
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.read = nn.Linear(width, heads * PATCH), nn.Linear(heads * PATCH, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, patches, each: int):
        """`x` `[B * each, T, D]`; `patches` `[B, N, C]` shared by `each` consecutive rows."""
        rows, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(rows, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.out(y.transpose(1, 2).reshape(rows, tokens, width)))
        q = self.query(self.norm2(x)).view(rows // each, each * tokens * self.heads, PATCH)
        weight = (q @ (patches.transpose(1, 2) / math.sqrt(PATCH))).softmax(-1)
        y = (weight @ patches).view(rows, tokens, self.heads * PATCH)
        x = x + self.dropout(self.read(y))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm3(x)))))


class Speaker(nn.Module):
    """Captions and answers: token ids `[B * each, T]` and patches `[B, N, C]` to logits `[B * each, T, V]`."""

    MAX = 48

    def __init__(self, vocabulary: int, width: int = 256, layers: int = 3, heads: int = 4, dropout: float = 0.2):
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.table.weight, std=0.05)
        self.position = nn.Parameter(torch.randn(self.MAX, width) * 0.02)
        self.norm_patches = nn.LayerNorm(PATCH)
        self.blocks = nn.ModuleList(SpeakerBlock(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids, patches):
        x = self.dropout(self.table(ids) + self.position[: ids.shape[1]])
        patches = self.norm_patches(patches)
        for block in self.blocks:
            x = block(x, patches, ids.shape[0] // patches.shape[0])
        return F.linear(self.norm(x), self.table.weight, self.bias)


class GroundBlock(nn.Module):
    """Static key attention over the 16 x 16 grid, then a feed-forward; both residual."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = StaticKeyAttention(width, 2, GRID * GRID)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Grounder(nn.Module):
    """Patches `[B, 256, 256]` and a phrase embedding `[B, 384]` to boxes `[B, 256, 4]` (x0, y0, x1, y1 in
    fractions) and score logits `[B, 256]`."""

    def __init__(self, width: int = 128, layers: int = 2):
        super().__init__()
        self.norm = nn.LayerNorm(PATCH)
        self.enter = nn.Linear(PATCH, width)
        self.phrase = nn.Linear(EMBEDDING, 2 * width)
        self.blocks = nn.ModuleList(GroundBlock(width) for _ in range(layers))
        self.last = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.head = nn.Linear(width, 5)
        steps = (torch.arange(GRID) + 0.5) / GRID
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        self.register_buffer("centres", torch.stack([x, y], -1).view(-1, 2))

    @staticmethod
    def like(state: dict) -> "Grounder":
        """With the weights of `state`, as wide and as deep as they are."""
        grounder = Grounder(len(state["enter.bias"]), len({name.split(".")[1] for name in state if name.startswith("blocks.")}))
        grounder.load_state_dict(state)
        return grounder

    def doubled(self) -> "Grounder":
        """Twice as wide, and the same function: every channel stands twice, and what reads it weighs the two by shares
        that differ from weight to weight (Chen, Goodfellow, Shlens, "Net2Net", arXiv 1511.05641)."""
        width = self.enter.out_features
        wide = Grounder(2 * width, len(self.blocks))

        def twice(channels, heads=1):
            """Which of the old channels each new one is, and whether the first (1) or second (-1) time, within its head."""
            place = torch.arange(channels).view(heads, 1, -1).expand(-1, 2, -1)
            time = torch.tensor([1.0, -1.0]).view(1, 2, 1).expand_as(place)
            return place.flatten(), time.flatten()

        def linear(new, old, out=None, into=None):
            weight, bias = old.weight, old.bias
            if into:
                place, time = into
                weight = weight[:, place] * (0.5 + 0.2 * time * torch.randn_like(weight)[:, place])
            if out:
                weight, bias = weight[out[0]], bias[out[0]]
            new.weight.copy_(weight), new.bias.copy_(bias)

        def norm(new, old):
            new.weight.copy_(old.weight.repeat(2)), new.bias.copy_(old.bias.repeat(2))

        both = twice(width)
        with torch.no_grad():
            wide.norm.load_state_dict(self.norm.state_dict())
            linear(wide.enter, self.enter, both), linear(wide.phrase, self.phrase, twice(2 * width, 2))
            for new, old in zip(wide.blocks, self.blocks):
                norm(new.norm1, old.norm1), norm(new.norm2, old.norm2)
                a, b = new.attention, old.attention
                of_heads = twice(width, b.heads)
                linear(a.query, b.query, of_heads, both), linear(a.value, b.value, of_heads, both), linear(a.out, b.out, both, of_heads)
                key, share = math.sqrt(2) * b.key, 0.2 * torch.randn_like(b.key)
                a.key.copy_(torch.cat([key * (0.5 + share), key * (0.5 - share)], 1))
                linear(new.up, old.up, twice(2 * width), both), linear(new.down, old.down, both, twice(2 * width))
            norm(wide.last, self.last), linear(wide.hidden, self.hidden, both, both), linear(wide.head, self.head, into=both)
        return wide

    def forward(self, patches, phrase):
        scale, shift = self.phrase(phrase).unsqueeze(1).chunk(2, -1)
        x = F.gelu(self.enter(self.norm(patches)) * (1 + scale) + shift)
        for block in self.blocks:
            x = block(x)
        out = self.head(F.gelu(self.hidden(self.last(x))))
        reach = torch.sigmoid(out[..., :4])
        boxes = torch.cat([self.centres - reach[..., :2], self.centres + reach[..., 2:]], -1)
        return boxes, out[..., 4]
