"""Stage `thaw`: the committed bundle's networks as checkpoints, so that training can go on from it where its float
checkpoints are gone. Weights are `int8 * scale`; what a network says is what the bundle says, but for rounded activations.

Of folded static keys only the one matrix is in the file: it becomes the query projection, and the keys the identity.
The layers come in the order in which `export` writes them.
"""

import argparse
import json
import math
import tomllib

import onnx
import torch
from onnx import numpy_helper

from . import trunk
from .model import PATCH, Grounder, ImageHead, Speaker, StaticKeyAttention, TextTower
from .paths import BUNDLE, WORK, keep

CHECKPOINTS = ALIGN, PATCHED, GROUND = [WORK / path for path in ("align/towers.pt", "patch/patch.pt", "ground/ground.pt")]


class Frozen:
    """A network of the bundle, whose layers are taken one after another."""

    def __init__(self, role: str):
        model = onnx.load(str(BUNDLE / f"{role}.onnx"))
        self.constants = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
        self.layers = [n for n in model.graph.node if n.domain == "lookout"]
        self.tables = [n for n in model.graph.node if n.op_type == "Gather"]

    def next(self, kind: str) -> list[torch.Tensor]:
        """The constants of the next layer, which has to be of this kind."""
        node = self.layers.pop(0)
        if node.op_type != f"Lookout{kind}":
            raise ValueError(f"{node.name} is a {node.op_type}, where the recipe's network has a {kind}")
        return [self.constants[name] for name in node.input[1:] if name in self.constants]

    def product(self, kind: str = "Linear") -> tuple[torch.Tensor, torch.Tensor]:
        """Weight `[N, K]` and bias of the next layer."""
        weight, scale, bias = self.next(kind)
        return (weight.float() * scale).t().contiguous(), bias

    def linear(self, layer) -> None:
        self.put(layer, *self.product())

    def put(self, layer, weight, bias) -> None:
        layer.weight.data.copy_(weight.reshape(layer.weight.shape)), layer.bias.data.copy_(bias)

    def conv(self, conv: trunk.Conv, kind: str) -> None:
        weight, bias = self.product(kind)
        if kind == "Conv":
            o, i, k, _ = conv.conv.weight.shape
            weight = weight.view(o, k, k, i).permute(0, 3, 1, 2)
        self.put(conv.conv, weight, bias)

    def norm(self, layer) -> None:
        self.put(layer, *self.next("LayerNorm"))

    def block(self, block) -> None:
        """A block of static key attention and a feed-forward."""
        self.norm(block.norm1), self.attention(block.attention)
        self.norm(block.norm2), self.linear(block.up), self.linear(block.down)

    def attention(self, attention: StaticKeyAttention) -> None:
        heads, keys, width = attention.heads, attention.keys, attention.width
        depth = width // heads
        weight, bias = self.product()
        first = len(bias) - width
        self.put(attention.value, weight[first:], bias[first:])
        if self.layers[0].op_type == "LookoutStaticKeyAttention":
            self.next("StaticKeyAttention")
            query, shift = torch.zeros(heads, depth, width), torch.zeros(heads, depth)
            query[:, :keys] = weight[:first].view(heads, keys, width) * math.sqrt(depth)
            shift[:, :keys] = bias[:first].view(heads, keys) * math.sqrt(depth)
            self.put(attention.query, query.view(width, width), shift.view(width))
            attention.key.data.copy_(torch.eye(depth, keys).expand(heads, -1, -1))
        else:
            table, scale = self.next("StaticKeyAttentionUnfolded")
            self.put(attention.query, weight[:first], bias[:first])
            attention.key.data.copy_(table.float() * scale.unsqueeze(1) * math.sqrt(depth))
        self.linear(attention.out)

    def table(self, layer) -> None:
        """The rows of a table of int8 with a scale a row."""
        values, scale = (self.constants[node.input[0]] for node in self.tables if self.constants[node.input[0]].shape[0] == len(layer.weight))
        layer.weight.data.copy_(values.float() * scale)

    def constant(self, parameter, rows: int) -> None:
        """The float constant `[rows, width]`, or `[1, rows, width]`, of which there is one."""
        shape = (rows, parameter.shape[-1])
        (value,) = (v for v in self.constants.values() if v.is_floating_point() and v.shape[-2:] == shape)
        parameter.data.copy_(value.view(shape))

    def end(self) -> None:
        if self.layers:
            raise ValueError(f"{self.layers[0].name} is left over")


def image() -> ImageHead:
    frozen, body = Frozen("image"), trunk.Trunk()
    short = next(len(frozen.constants[n.input[3]]) for n in frozen.layers if any(a.name == "activation" and a.s == b"gelu" for a in n.attribute) and frozen.constants[n.input[1]].shape[0] == trunk.HEAD)
    head = ImageHead(short=short)
    frozen.conv(body.stem, "Conv")
    for block in [*body.blocks[: trunk.LAST_FINE_BLOCK + 1], *head.tail]:
        if block.expand:
            frozen.conv(block.expand, "Linear")
        frozen.conv(block.depthwise, "Depthwise"), frozen.conv(block.project, "Linear")
    frozen.linear(head.head), frozen.linear(head.narrow)
    frozen.constant(head.position, len(head.position))
    for block in head.blocks:
        frozen.block(block)
    frozen.norm(head.norm)
    for layer in (head.shortcut, head.project, head.patch_coarse, head.patch_fine):
        frozen.linear(layer)
    frozen.end()
    return head


def text() -> TextTower:
    frozen, tower = Frozen("text"), TextTower()
    frozen.table(tower.table), frozen.linear(tower.widen)
    frozen.constant(tower.position, len(tower.position))
    for block in tower.blocks:
        frozen.block(block)
    frozen.norm(tower.norm), frozen.linear(tower.project), frozen.end()
    return tower


def decoder() -> Speaker:
    frozen = Frozen("decoder")
    speaker = Speaker(len(frozen.constants[frozen.layers[-1].input[3]]))
    frozen.table(speaker.table), frozen.constant(speaker.position, Speaker.MAX)
    frozen.norm(speaker.norm_patches)
    for block in speaker.blocks:
        frozen.norm(block.norm1), frozen.linear(block.qkv), frozen.linear(block.out)
        frozen.norm(block.norm2)
        frozen.put(block.query, *(math.sqrt(PATCH) * part for part in frozen.product()))
        frozen.linear(block.read), frozen.norm(block.norm3), frozen.linear(block.up), frozen.linear(block.down)
    frozen.norm(speaker.norm)
    speaker.bias.data.copy_(frozen.product()[1])  # its weight is the table once more
    frozen.end()
    return speaker


def ground() -> Grounder:
    frozen = Frozen("ground")
    width = frozen.constants[frozen.layers[-1].input[1]].shape[0]
    grounder = Grounder(width, sum(n.op_type == "LookoutStaticKeyAttentionUnfolded" for n in frozen.layers))
    frozen.linear(grounder.phrase), frozen.norm(grounder.norm), frozen.linear(grounder.enter)
    for block in grounder.blocks:
        frozen.block(block)
    frozen.norm(grounder.last), frozen.linear(grounder.hidden), frozen.linear(grounder.head)
    frozen.end()
    return grounder


def main(force: bool) -> None:
    there = [str(path) for path in CHECKPOINTS if path.exists()]
    if there and not force:
        raise SystemExit(f"there are checkpoints already: {', '.join(there)}. They are finer than the bundle; --force replaces them")
    for path in (ALIGN, PATCHED):
        path.parent.mkdir(parents=True, exist_ok=True)
    manifest = tomllib.loads((BUNDLE / "lookout.toml").read_text())
    head, scale = image().state_dict(), -math.log(manifest["calibration"]["temperature"])
    keep(ALIGN, {"head": head, "tower": text().state_dict(), "scale": torch.tensor(scale)})
    keep(PATCHED, {"head": head, "speaker": decoder().state_dict(), "grounder": ground().state_dict()})
    GROUND.unlink(missing_ok=True)  # the grounder in patch.pt counts
    (WORK / "calibration.json").write_text(json.dumps(manifest["calibration"]))
    print(f"{manifest['name']} {manifest['version']} in {ALIGN} and {PATCHED}")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="checkpoints from the committed bundle")
    options.add_argument("--force", action="store_true", help="replace checkpoints that are there")
    main(**vars(options.parse_args()))
