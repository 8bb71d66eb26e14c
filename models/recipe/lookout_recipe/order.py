"""An order of the channels between the layers of a block, for processors that multiply bytes into 16 bits.

What a block says does not depend on this order, to the bit. How long it takes may: the kernels for ARM processors without
the dot product take 16 channels of 2 neighbouring pixels at a time, a piece, and leave out a piece that is 0 throughout, as
it is where a ReLU6 holds all of it; and they sum 4 products in 16 bits where the weights of every column allow it, of channels
that are 4 apart. So channels that are silent together come together, and those whose weights fit.
"""

import numpy as np
import torch

from . import trunk
from .graph import LIGHT, quantised_layer

PIECE, LANES = 16, 4
LEVEL = 6 / 254  # of the values between the layers
SEEN = 32768  # pairs of pixels that are looked at, of a layer


@torch.no_grad()
def voices(blocks, stem: trunk.Conv, pixels: torch.Tensor) -> list[np.ndarray]:
    """For each block, which channels of 2 neighbouring pixels are above 0 before its last layer: `[channels, pairs]`, packed."""
    found = [[] for _ in blocks]
    for part in pixels.split(10):
        x = stem(trunk.normalised(part))
        for block, heard in zip(blocks, found, strict=True):
            y = block.depthwise(block.expand(x) if block.expand else x)
            loud = (y > LEVEL / 2).permute(1, 0, 2, 3).flatten(1).unflatten(1, (-1, 2)).any(-1)
            every = max(1, loud.shape[1] * len(pixels) // len(part) // SEEN)
            heard.append(np.packbits(loud[:, ::every].numpy(), axis=1))
            y = block.project(y)
            x = x + y if block.residual else y
    return [np.concatenate(parts, 1) for parts in found]


COUNT = np.array([i.bit_count() for i in range(256)], np.uint8)


def order(loud: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`loud` as above and the magnitudes of the last layer's int8 weights `[channels, columns]` to the channels' order.

    The piece with the quietest channel first, each is filled with the channel that adds the fewest pairs of pixels to those
    where the piece is heard, among those that fit one of its lanes.
    """
    channels, columns = weight.shape
    left, lanes = np.ones(channels, bool), []
    for _ in range(channels // PIECE):
        own, sums, union = [[] for _ in range(LANES)], np.zeros((LANES, columns), np.int64), np.zeros(loud.shape[1], np.uint8)
        for _ in range(PIECE):
            rest = np.flatnonzero(left)
            heard = COUNT[loud[rest] | union].sum(1, dtype=np.int64)
            free = [lane for lane in range(LANES) if len(own[lane]) < PIECE // LANES]
            # The fullest lane that takes it, so that others stay free for large weights.
            fits = lambda c: [lane for lane in free if (sums[lane] + weight[c]).max() <= LIGHT]
            quietest = rest[np.argsort(heard, kind="stable")]
            channel = next((c for c in quietest if fits(c)), quietest[0])
            # Or, where none fits, the lane that it suits best.
            lane = max(fits(channel), key=lambda lane: sums[lane].max(), default=min(free, key=lambda lane: (sums[lane] + weight[channel]).max()))
            own[lane].append(channel)
            sums[lane] += weight[channel]
            left[channel] = False
            union |= loud[channel]
        lanes += own
    lanes = repaired(np.array(lanes), weight)
    # Channel k of a piece is in lane k % 4.
    whole = lanes.reshape(-1, LANES, PIECE // LANES).transpose(0, 2, 1).flatten()
    return np.concatenate([whole, np.flatnonzero(left)])


def repaired(lanes: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`[lanes, 4]` channels with those exchanged that do not fit, for ones of lanes as near as may be, while any help."""
    over = lambda members: max(0, weight[members].sum(-2).max() - LIGHT)
    for at in range(len(lanes)):
        while over(lanes[at]):
            best, before = None, over(lanes[at])
            for other in sorted(range(len(lanes)), key=lambda other: abs(other // LANES - at // LANES)):
                if other == at or over(lanes[other]):
                    continue
                for i, j in np.ndindex(lanes.shape[1], lanes.shape[1]):
                    mine, theirs = lanes[at].copy(), lanes[other].copy()
                    mine[i], theirs[j] = lanes[other, j], lanes[at, i]
                    if over(theirs) == 0 and over(mine) < before:
                        best, before = (other, mine, theirs), over(mine)
                        if before == 0:
                            break
                if before == 0:
                    break
            if best is None:
                break
            other, lanes[at], lanes[other] = best
    return lanes


@torch.no_grad()
def put_in_order(body: trunk.Trunk, head, pixels: torch.Tensor) -> None:
    """Reorders the channels between the layers of every block, by what pictures `[B, H, W, 3]` uint8 make of them."""
    blocks = [*body.blocks[: trunk.LAST_FINE_BLOCK + 1], *head.tail]
    for block, loud in zip(blocks, voices(blocks, body.stem, pixels), strict=True):
        values, _ = quantised_layer(block.project.conv)
        to = torch.from_numpy(order(loud, np.abs(values.astype(np.int64))))
        for conv in (block.expand or body.stem, block.depthwise):
            conv.conv.weight.data, conv.conv.bias.data = conv.conv.weight[to], conv.conv.bias[to]
        block.project.conv.weight.data = block.project.conv.weight[:, to]
