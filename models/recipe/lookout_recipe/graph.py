"""Writes a network twice from the same int8 weights: as lookout's operators, and as stock float ONNX.

The first goes into the bundle. The second is the reference that onnxruntime runs; its weights are the
dequantised int8 ones, so any difference between the two is the engine's.
"""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper


# The most that the magnitudes of a row of taps may sum up to for its products with bytes to fit 16 bits.
LIGHT = 32767 // 127


def quantised(weight: np.ndarray, taps: int = 0, most: int = LIGHT) -> tuple[np.ndarray, np.ndarray]:
    """`[K, N]` float to int8 with one symmetric scale an output channel. The scale is chosen among a few
    clippings for the least squared error. `taps` above 0 are those of a row of a depthwise convolution, whose magnitudes
    then sum up to `most` at most: processors that multiply bytes into 16 bits add up a row at a time (see `src/kernels`)."""
    peak = np.abs(weight).max(0)
    best, error = np.where(peak > 0, peak / 127, 1), np.full(peak.shape, np.inf)
    # Weights that were rounded so before have their scale among these, and stay as they are.
    smaller = [127 / largest for largest in range(most // taps, 127)] if taps else []
    for part in (*np.linspace(0.8, 1.0, 9), *smaller):
        scale = np.where(peak > 0, peak * part / 127, 1)
        whole = np.clip(np.round(weight / scale), -127, 127)
        wrong = ((whole * scale - weight) ** 2).sum(0)
        if taps:
            wrong[np.abs(whole).reshape(-1, taps, len(peak)).sum(1).max(0) > most] = np.inf
        best, error = np.where(wrong < error, scale, best), np.minimum(wrong, error)
    scale = best.astype(np.float32)
    return np.clip(np.round(weight / scale), -127, 127).astype(np.int8), scale


def quantised_layer(layer: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """The weights of a layer `[N, ...]` as `[K, N]` int8, with the scales."""
    return quantised(layer.weight.detach().flatten(1).t().numpy(), getattr(layer, "light", 0))


def _numpy(value) -> np.ndarray:
    return value.detach().float().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def same_as_unfolded(attention, weight, bias) -> None:
    """Checks the one constant matrix against query projection, then keys, on random tokens."""
    heads, keys = attention.heads, attention.keys
    x = torch.randn(1, 50, attention.width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        query = attention.query(x).view(1, 50, heads, -1).transpose(1, 2)
        want = (query @ attention.key / (attention.width // heads) ** 0.5).transpose(1, 2).reshape(50, heads * keys)
        wrong = (x[0] @ weight.t() + bias - want).abs().max() / want.abs().max()
    if not wrong < 1e-4:
        raise ValueError(f"folded static keys differ from the unfolded form by {wrong:.2e} of the largest logit")


class Graph:
    def __init__(self, name: str, stock: bool):
        self.name, self.stock = name, stock
        self.nodes, self.constants, self.inputs, self.outputs, self.count = [], [], [], [], 0

    def input(self, name, shape, kind=TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name, value, shape) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [name], name=f"out_{name}"))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def constant(self, value, kind=np.float32) -> str:
        self.count += 1
        name = f"c{self.count}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(_numpy(value).astype(kind)), name))
        return name

    def op(self, kind, inputs, outputs=1, domain="", **attributes):
        self.count += 1
        names = [f"t{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"{kind}_{self.count}", domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def ours(self, kind, inputs, **attributes):
        return self.op(f"Lookout{kind}", inputs, domain="lookout", **attributes)

    def reshape(self, x, *shape):
        return self.op("Reshape", [x, self.constant(shape, np.int64)])

    def activate(self, x, activation):
        if activation == "relu6":
            return self.op("Clip", [x, self.constant(0.0), self.constant(6.0)])
        if activation == "relu":
            return self.op("Relu", [x])
        if activation == "gelu":
            erf = self.op("Erf", [self.op("Mul", [x, self.constant(2**-0.5)])])
            half = self.op("Mul", [x, self.constant(0.5)])
            return self.op("Mul", [half, self.op("Add", [erf, self.constant(1.0)])])
        return x

    def linear(self, x, weight, bias, activation="none", residual=None, precision="int8"):
        """`weight` is `[N, K]` as torch keeps it."""
        weight, bias = quantised(_numpy(weight).T), _numpy(bias)
        if self.stock:
            y = self.op("Add", [self.op("MatMul", [x, self.constant(weight[0] * weight[1])]), self.constant(bias)])
            y = self.activate(y, activation)
            return self.op("Add", [y, residual]) if residual else y
        inputs = [x, self.constant(weight[0], np.int8), self.constant(weight[1]), self.constant(bias)]
        return self.ours("Linear", inputs + ([residual] if residual else []), activation=activation, precision=precision)

    def convolution(self, x, conv, size: int, depthwise: bool, activation: str, precision="int8", x_scale: float | None = None):
        """A `trunk.Conv` over a square NHWC map of side `size`. `x_scale` is of all of `x`, where that is known."""
        from .trunk import same_padding

        begin, end = same_padding(size, conv.kernel, conv.stride)
        weight = _numpy(conv.conv.weight)
        flat = weight[:, 0].reshape(weight.shape[0], -1).T if depthwise else weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])
        values, scale = quantised(flat, conv.conv.light)
        k, attributes = conv.kernel, dict(kernel=[conv.kernel] * 2, strides=[conv.stride] * 2, pads=[begin, begin, end, end])
        if self.stock:
            near = values * scale
            if depthwise:
                near = near.T.reshape(weight.shape)
            else:
                near = near.reshape(k, k, weight.shape[1], weight.shape[0]).transpose(3, 2, 0, 1)
            y = self.op("Transpose", [x], perm=[0, 3, 1, 2])
            y = self.op("Conv", [y, self.constant(near), self.constant(conv.conv.bias)], kernel_shape=[k, k], strides=[conv.stride] * 2, pads=[begin, begin, end, end], group=weight.shape[0] if depthwise else 1)
            return self.activate(self.op("Transpose", [y], perm=[0, 2, 3, 1]), activation)
        inputs = [x, self.constant(values, np.int8), self.constant(scale), self.constant(conv.conv.bias)]
        if x_scale:
            attributes["x_scale"] = x_scale
        return self.ours("Depthwise" if depthwise else "Conv", inputs, activation=activation, precision=precision, **attributes)

    def norm(self, x, layer):
        inputs = [x, self.constant(layer.weight), self.constant(layer.bias)]
        if self.stock:
            return self.op("LayerNormalization", inputs, axis=-1, epsilon=layer.eps)
        return self.ours("LayerNorm", inputs, epsilon=layer.eps)

    def static_key_attention(self, x, attention, tokens: int | None, residual):
        """Normalised tokens in, residual added after the output projection. Folds query and keys into one
        matrix where that is less work; `tokens` None means as many as the input has."""
        heads, keys, width = attention.heads, attention.keys, attention.width
        depth = width // heads
        fold = heads * keys < width + keys
        if fold:
            weight, bias = attention.folded()
            same_as_unfolded(attention, weight, bias)
        else:
            weight, bias = attention.query.weight, attention.query.bias
            flat = _numpy(attention.key).transpose(0, 2, 1).reshape(heads * keys, depth).T / depth**0.5
            values, scale = quantised(flat)
        weight, bias = torch.cat([weight, attention.value.weight]), torch.cat([bias, attention.value.bias])
        y = self.linear(x, weight, bias)
        if not self.stock:
            if fold:
                y = self.ours("StaticKeyAttention", [y], heads=heads, keys=keys)
            else:
                table = values.T.reshape(heads, keys, depth).transpose(0, 2, 1)
                inputs = [y, self.constant(table, np.int8), self.constant(scale.reshape(heads, keys))]
                y = self.ours("StaticKeyAttentionUnfolded", inputs, heads=heads, keys=keys)
        else:
            first = heads * keys if fold else width
            logits, value = self.op("Split", [y, self.constant([first, width], np.int64)], outputs=2, axis=-1)
            length = self.op("Shape", [x], start=1, end=2)
            split = lambda v, last: self.op("Transpose", [self.reshape(v, 1, -1, heads, last)], perm=[0, 2, 1, 3])
            if fold:
                logits = split(logits, keys)
            else:
                table = (values * scale).T.reshape(heads, keys, depth).transpose(0, 2, 1)
                logits = self.op("MatMul", [split(logits, depth), self.constant(table)])
            logits = self.op("Slice", [logits, self.constant([0], np.int64), length, self.constant([3], np.int64)])
            mixed = self.op("MatMul", [self.op("Softmax", [logits], axis=-1), split(value, depth)])
            y = self.reshape(self.op("Transpose", [mixed], perm=[0, 2, 1, 3]), 1, -1, width)
        return self.linear(y, attention.out.weight, attention.out.bias, residual=residual)

    def block(self, x, block, tokens):
        x = self.static_key_attention(self.norm(x, block.norm1), block.attention, tokens, x)
        y = self.linear(self.norm(x, block.norm2), block.up.weight, block.up.bias, "gelu")
        return self.linear(y, block.down.weight, block.down.bias, residual=x)

    def rows(self, table, ids):
        """Rows of an int8 table with one scale a row."""
        values, scale = quantised(_numpy(table).T)
        if self.stock:
            return self.op("Gather", [self.constant((values * scale).T), ids], axis=0)
        row = self.op("Cast", [self.op("Gather", [self.constant(values.T, np.int8), ids], axis=0)], to=TensorProto.FLOAT)
        return self.op("Mul", [row, self.op("Gather", [self.constant(scale[:, None]), ids], axis=0)])

    def save(self, path) -> None:
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.constants)
        opsets = [helper.make_opsetid("", 17)] + ([] if self.stock else [helper.make_opsetid("lookout", 1)])
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="lookout"), str(path))
