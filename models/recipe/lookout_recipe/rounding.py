"""The networks with weights, activations or both rounded as the runtime rounds them, in float arithmetic: what each
part of int8 costs. Left out: the runtime also rounds the softmax of the image and text towers, and their values.
"""

import math

import torch
import torch.nn as nn

from . import trunk
from .graph import quantised_layer
from .model import StaticKeyAttention


def fold(model: nn.Module) -> nn.Module:
    """Query projection and keys of every attention block as the one matrix that `export` writes."""
    for attention in model.modules():
        if isinstance(attention, StaticKeyAttention):
            weight, bias = attention.folded()
            attention.query = nn.Linear(attention.width, len(bias))
            attention.query.weight, attention.query.bias = nn.Parameter(weight), nn.Parameter(bias)
            depth = attention.width // attention.heads
            attention.key = nn.Parameter(torch.eye(attention.keys).expand(attention.heads, -1, -1) * math.sqrt(depth))
    return model


def round_weights(model: nn.Module) -> None:
    """One scale an output channel, or a row of a table, chosen as `export` chooses it."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Embedding)):
            values, scale = quantised_layer(module)
            module.weight.data.copy_(torch.from_numpy(values * scale).t().reshape(module.weight.shape))


def rounded(x: torch.Tensor, channels: int = -1) -> torch.Tensor:
    """Symmetric int8 with one scale a row, ties to even."""
    unit = (x.abs().amax(channels, keepdim=True) / 127).clamp(min=1e-36)
    return (x / unit).round() * unit


def round_activations(model: nn.Module) -> None:
    """The input of every linear layer and of every 1 x 1 convolution."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(lambda _, inputs: rounded(inputs[0]))
        if isinstance(module, trunk.Conv) and module.kernel == 1:
            module.register_forward_pre_hook(lambda _, inputs: rounded(inputs[0], 1))
