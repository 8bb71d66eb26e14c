"""int8 weights that make up for one another's rounding, for layers whose float weights are known.

A weight is rounded after those before it, and what they left wrong, as the layer's inputs weigh it, is taken off the
weights that are still free (GPTQ: Frantar and others, arXiv 2210.17323). Before that, weights move to where they give
what the float layer gives for the float network's inputs, from the inputs that the rounded layers before it make. Means
are held by the biases, which stay float. Scales are those that `graph.quantised` chooses, and finds again.
"""

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F

from . import trunk
from .graph import LIGHT, quantised

DAMPING = 0.01
CHUNK = 10  # pictures at a time


def inputs(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """What the weights of each group are multiplied with: `[groups, K, positions]` of a padded map."""
    if conv.kernel_size == (1, 1):
        return x.transpose(0, 1).flatten(1).unsqueeze(0)
    columns = F.unfold(x, conv.kernel_size, stride=conv.stride)
    columns = columns.view(len(x), conv.groups, -1, columns.shape[-1])
    return columns.permute(1, 2, 0, 3).flatten(2)


def rounded(weight: torch.Tensor, products: torch.Tensor, light: int = 0) -> torch.Tensor:
    """`[groups, N, K]` float to whole multiples of a scale a row; `products` `[groups, K, K]` are sums of products of
    inputs. `light` are the taps of a row, see `graph.quantised`."""
    groups, rows, depth = weight.shape
    # Making up for others, weights may grow by a few steps.
    _, scale = quantised(weight.reshape(-1, depth).t().numpy(), light, LIGHT - 2 * light)
    scale = torch.from_numpy(scale).view(groups, rows).double()
    most = (weight.abs().amax(-1) / scale).round().clamp(max=127)
    free, settled = weight.double().clone(), torch.zeros(groups, rows, depth, dtype=torch.float64)
    largest = weight.abs().argmax(-1)
    upper = torch.linalg.cholesky(torch.linalg.inv(products), upper=True)
    for k in range(depth):
        value = free[..., k]
        near = (value / scale).round().clamp(-most, most)
        # The scale is found again by the row's largest weight.
        near = torch.where(largest == k, most * weight[..., k].sign(), near)
        settled[..., k] = near * scale
        wrong = (value - settled[..., k]) / upper[:, k, k].unsqueeze(1)
        free[..., k + 1 :] -= wrong.unsqueeze(-1) * upper[:, k, k + 1 :].unsqueeze(1)
    return settled.float()


@torch.no_grad()
def settle(conv: trunk.Conv, seen: torch.Tensor, true: torch.Tensor) -> None:
    """Rounds a layer. `seen` are its inputs behind rounded layers, `true` those in the float network."""
    layer = conv.conv
    groups, depth = layer.groups, layer.weight[0].numel()
    weight = layer.weight.detach().view(groups, -1, depth).double()
    products, moved = torch.zeros(groups, depth, depth, dtype=torch.float64), torch.zeros(groups, depth, depth, dtype=torch.float64)
    means, count = [torch.zeros(groups, depth, dtype=torch.float64) for _ in range(2)], 0
    # Made twice rather than kept: of hundreds of pictures they would not fit in memory.
    parts = lambda: ((inputs(layer, conv.padded(a)), inputs(layer, conv.padded(b))) for a, b in zip(seen.split(CHUNK), true.split(CHUNK)))
    for a, b in parts():
        count += a.shape[-1]
        means[0] += a.sum(-1, dtype=torch.float64)
        means[1] += b.sum(-1, dtype=torch.float64)
    means = [mean / count for mean in means]
    for a, b in parts():
        a, b = (x - mean.float().unsqueeze(-1) for x, mean in zip((a, b), means))
        products += a @ a.transpose(1, 2)
        moved += (b - a) @ a.transpose(1, 2)
    products += torch.diag_embed(DAMPING * products.diagonal(dim1=1, dim2=2).mean(-1, keepdim=True).clamp(min=1e-6).expand(-1, depth))
    wanted = weight + torch.linalg.solve(products, (weight @ moved).transpose(1, 2)).transpose(1, 2)
    settled = rounded(wanted.float(), products, layer.light)
    layer.bias.data += ((weight * means[1].unsqueeze(1)).sum(-1) - (settled.double() * means[0].unsqueeze(1)).sum(-1)).flatten().float()
    layer.weight.data.copy_(settled.view_as(layer.weight))


@torch.no_grad()
def settled(body: trunk.Trunk, pixels: torch.Tensor) -> trunk.Trunk:
    """The trunk up to stride 16 with rounded weights, by what it makes of pictures `[B, H, W, 3]` uint8."""
    rounded_body = copy.deepcopy(body)
    seen = true = trunk.normalised(pixels)

    def layer(conv: trunk.Conv, float_conv: trunk.Conv, seen, true):
        settle(conv, seen, true)
        return tuple(torch.cat([c(part) for part in x.split(CHUNK)]) for c, x in ((conv, seen), (float_conv, true)))

    seen, true = layer(rounded_body.stem, body.stem, seen, true)
    for block, float_block in zip(rounded_body.blocks[: trunk.LAST_FINE_BLOCK + 1], body.blocks):
        y, z = seen, true
        for name in ("expand", "depthwise", "project"):
            if getattr(block, name):
                y, z = layer(getattr(block, name), getattr(float_block, name), y, z)
        seen, true = (y + seen, z + true) if block.residual else (y, z)
    return rounded_body
