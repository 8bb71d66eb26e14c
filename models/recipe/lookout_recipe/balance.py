"""Biases that make up for rounding: a layer with int8 weights gives on average what it gave before.

Rounding the weights shifts the mean of a layer's output by (rounded - float) times the mean of its input. The mean
input, over training pictures and sentences, is known when a bundle is exported, and biases stay float in it, so the
shift is taken out there and costs nothing at run time. Layers that `settle` has rounded have no such shift.
"""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from . import data, trunk
from .graph import quantised_layer
from .model import StaticKeyAttention
from .order import put_in_order
from .settle import settled
from .words import END, START, clean, speaker_tokenizer

PICTURES, SENTENCES = 300, 1000
SET = "flickr8k/train"


def mean_input(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """`[1, K]`, or `[C, K]` for a depthwise convolution: the mean of what each weight is multiplied with."""
    if isinstance(module, nn.Linear):
        return x.flatten(0, -2).mean(0, keepdim=True)
    columns = F.unfold(x, module.kernel_size, stride=module.stride).mean((0, 2))
    return columns.view(module.groups, -1) if module.groups > 1 else columns.view(1, -1)


def balanced(model: nn.Module, run) -> nn.Module:
    """A copy of `model` with such biases. `run(model)` shows it typical inputs."""
    model = copy.deepcopy(model)
    folded = {id(m.query) for m in model.modules() if isinstance(m, StaticKeyAttention)}  # exported as another matrix
    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d)) and m.bias is not None and id(m) not in folded]
    means = {layer: [] for layer in layers}
    hooks = [layer.register_forward_pre_hook(lambda m, inputs: means[m].append(mean_input(m, inputs[0]))) for layer in layers]
    with torch.no_grad():
        run(model)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        if means[layer]:
            values, scale = quantised_layer(layer)
            lost = layer.weight.detach().flatten(1) - torch.from_numpy(np.ascontiguousarray((values * scale).T))
            layer.bias.data += (lost * torch.stack(means[layer]).mean(0)).sum(1)
    return model


class Tower(nn.Module):
    """The image tower as one module."""

    def __init__(self, body, head):
        super().__init__()
        self.body, self.head = body, head

    def forward(self, pixels):
        """`[B, 256, 256, 3]` uint8 to embeddings and patches."""
        x = self.body.stem(trunk.normalised(pixels))
        for block in self.body.blocks[: trunk.LAST_FINE_BLOCK + 1]:
            x = block(x)
        fine = x.flatten(2).transpose(1, 2)
        tokens, features = self.head.coarse(fine)
        return self.head.embed(tokens, features), self.head.patches(fine, tokens)


def spread(rows: list, count: int) -> list:
    """So many of them at most, from the first to near the last."""
    return rows[:: max(1, len(rows) // count)][:count]


def balance(body, head, text, speaker, size: int, image: bool = True):
    """The networks that the bundle is made of, with balanced biases, and, for the image tower, the convolutions before
    stride 16 settled and the channels between the layers of a block in order."""
    from .align import embed_texts, encode

    rows = data.rows(SET)
    few = spread(rows, PICTURES)
    pixels = torch.from_numpy(np.stack(list(data.pictures(SET, size, [row["image"] for row in few]))))
    tower = Tower(settled(body, pixels) if image else body, head)
    with torch.no_grad():
        patches = torch.cat([tower(part)[1] for part in pixels.split(25)])
    words = speaker_tokenizer()
    start, end = words.token_to_id(START), words.token_to_id(END)
    captions = [[start, *words.encode(clean(row["captions"][0]), add_special_tokens=False).ids, end] for row in few]
    # One at a time: padding would count as words.
    sentences = encode([row["captions"][1] for row in spread(rows, SENTENCES)])
    tower = balanced(tower, lambda model: [model(part) for part in pixels.split(25)])
    if image:
        put_in_order(tower.body, tower.head, pixels)
    text = balanced(text, lambda model: [embed_texts(model, [ids]) for ids in sentences])
    speaker = balanced(speaker, lambda model: [model(torch.tensor([ids]), seen[None]) for ids, seen in zip(captions, patches)])
    return tower.body, tower.head, text, speaker
