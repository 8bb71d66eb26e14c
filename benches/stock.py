"""Turns a bundle's networks into stock float32 ONNX, as a user of another engine would have exported them: weights are
`int8 * scale`, maps are NCHW, and what the operators of lookout's domain do is spelt out in the standard's.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

TO_THE_END = np.iinfo(np.int64).max
TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


class Stock:
    """One network. A map that our operators keep as NHWC exists here as NCHW, under the name that `maps` gives; it is
    transposed back only where a stock operator reads it."""

    def __init__(self, model: onnx.ModelProto, shapes: dict[str, list], pointwise: str):
        self.graph, self.shapes, self.pointwise = model.graph, shapes, pointwise
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.nodes, self.made, self.maps, self.back, self.count = [], [], {}, set(), 0
        for node in self.graph.node:
            self.convert(node)
        for output in self.graph.output:
            self.read(output.name)

    def convert(self, node) -> None:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.domain == "lookout":
            getattr(self, node.op_type.removeprefix("Lookout").lower())(node, attributes)
        elif node.op_type == "Transpose" and list(attributes["perm"]) == TO_NHWC and node.input[0] not in self.maps:
            self.maps[node.output[0]] = node.input[0]
        elif not self.rows(node):
            for name in node.input:
                self.read(name)
            self.nodes.append(node)

    # The operators.

    def linear(self, node, attributes) -> None:
        x, weight, scale, bias, *residual = node.input
        weight = self.value(weight) * self.value(scale)
        if x in self.maps and self.pointwise == "Conv":
            kernel = weight.T[:, :, None, None]
            y = self.op("Conv", [self.maps[x], self.constant(kernel), self.constant(self.value(bias))], kernel_shape=[1, 1])
            y = self.activate(y, attributes)
            self.maps[node.output[0]] = self.op("Add", [y, self.nchw(residual[0])]) if residual else y
            return
        y = self.op("MatMul", [self.read(x), self.constant(weight)])
        y = self.activate(self.op("Add", [y, self.constant(self.value(bias))]), attributes)
        if residual:
            y = self.op("Add", [y, self.read(residual[0])])
        self.rename(node, y)

    def conv(self, node, attributes) -> None:
        x, weight, scale, bias = node.input
        weight, (high, wide) = self.value(weight) * self.value(scale), attributes["kernel"]
        kernel = weight.reshape(high, wide, -1, weight.shape[1]).transpose(3, 2, 0, 1)
        self.convolve(node, attributes, x, kernel, bias, 1)

    def depthwise(self, node, attributes) -> None:
        x, weight, scale, bias = node.input
        weight, (high, wide) = self.value(weight) * self.value(scale), attributes["kernel"]
        kernel = weight.T.reshape(-1, 1, high, wide)
        self.convolve(node, attributes, x, kernel, bias, len(kernel))

    def convolve(self, node, attributes, x, kernel, bias, group) -> None:
        inputs = [self.nchw(x), self.constant(kernel), self.constant(self.value(bias))]
        shape = {name: list(attributes[name]) for name in ("strides", "pads")}
        y = self.op("Conv", inputs, kernel_shape=list(attributes["kernel"]), group=group, **shape)
        self.maps[node.output[0]] = self.activate(y, attributes)

    def layernorm(self, node, attributes) -> None:
        x, *constants = node.input
        inputs = [self.read(x), *(self.constant(self.value(name)) for name in constants)]
        self.rename(node, self.op("LayerNormalization", inputs, axis=-1, epsilon=attributes["epsilon"]))

    def statickeyattention(self, node, attributes) -> None:
        heads, keys = attributes["heads"], attributes["keys"]
        x = self.read(node.input[0])
        logits, value = self.cut(x, [(0, heads * keys), (heads * keys, TO_THE_END)])
        self.mix(node, x, self.heads(logits, heads, keys), self.heads(value, heads, -1), keys)

    def statickeyattentionunfolded(self, node, attributes) -> None:
        heads, keys = attributes["heads"], attributes["keys"]
        _, table, scale = node.input
        table = self.value(table) * self.value(scale)[:, None, :]
        width = heads * table.shape[1]
        x = self.read(node.input[0])
        query, value = self.cut(x, [(0, width), (width, 2 * width)])
        logits = self.op("MatMul", [self.heads(query, heads, table.shape[1]), self.constant(table)])
        self.mix(node, x, logits, self.heads(value, heads, -1), keys)

    def attention(self, node, attributes) -> None:
        """Full attention: query, key and value side by side, logits over the square root of a head's width."""
        heads, x = attributes["heads"], self.read(node.input[0])
        # Without shapes the result is thrown away.
        width = self.shapes.get(x, [0, 0, 3 * heads])[2] // 3
        query, key, value = self.cut(x, [(0, width), (width, 2 * width), (2 * width, 3 * width)])
        key = self.op("Transpose", [self.split(key, heads, -1)], perm=[0, 2, 3, 1])
        query = self.op("Mul", [self.heads(query, heads, -1), self.constant((width / heads) ** -0.5)])
        self.mix(node, x, self.op("MatMul", [query, key]), self.heads(value, heads, -1), None)

    # Their parts.

    def cut(self, x, parts):
        bounds = lambda *values: [self.constant([value], np.int64) for value in values]
        return [self.op("Slice", [x, *bounds(begin, end, 2)]) for begin, end in parts]

    def split(self, x, heads, last):
        return self.op("Reshape", [x, self.constant([0, 0, heads, last], np.int64)])

    def heads(self, x, heads, last):
        return self.op("Transpose", [self.split(x, heads, last)], perm=[0, 2, 1, 3])

    def mix(self, node, x, logits, value, keys) -> None:
        """Softmax over the first as many static keys as there are tokens, times the values."""
        if keys and self.shapes.get(x, [0, 0])[1] != keys:
            length = self.op("Shape", [x], start=1, end=2)
            zero, axis = (self.constant([value], np.int64) for value in (0, 3))
            logits = self.op("Slice", [logits, zero, length, axis])
        y = self.op("MatMul", [self.op("Softmax", [logits], axis=-1), value])
        shape = self.constant([0, 0, -1], np.int64)
        self.rename(node, self.op("Reshape", [self.op("Transpose", [y], perm=[0, 2, 1, 3]), shape]))

    def activate(self, x, attributes):
        kind = attributes["activation"].decode()
        if kind == "relu6":
            return self.op("Clip", [x, self.constant(0), self.constant(6)])
        if kind == "relu":
            return self.op("Relu", [x])
        if kind == "gelu":
            erf = self.op("Erf", [self.op("Div", [x, self.constant(2**0.5)])])
            product = self.op("Mul", [x, self.op("Add", [erf, self.constant(1)])])
            return self.op("Mul", [product, self.constant(0.5)])
        return x

    def rows(self, node) -> bool:
        """`Mul(Cast(Gather(int8 table)), Gather(scale))` is a `Gather` of the float table."""
        if node.op_type != "Mul":
            return False
        made = {name: at for at in self.nodes for name in at.output}
        cast, scale = (made.get(name) for name in node.input)
        rows = made.get(cast.input[0]) if cast is not None and cast.op_type == "Cast" else None
        if rows is None or scale is None or rows.op_type != "Gather" or scale.op_type != "Gather":
            return False
        table = self.value(rows.input[0]).astype(np.float32) * self.value(scale.input[0])
        for dead in (cast, rows, scale):
            self.nodes.remove(dead)
        self.nodes.append(helper.make_node("Gather", [self.constant(table), rows.input[1]], list(node.output), axis=0))
        return True

    # Names.

    def read(self, name: str) -> str:
        """`name` as a stock operator sees it."""
        if name in self.maps and name not in self.back:
            self.nodes.append(helper.make_node("Transpose", [self.maps[name]], [name], perm=TO_NHWC))
            self.back.add(name)
        return name

    def nchw(self, name: str) -> str:
        if name not in self.maps:
            self.maps[name] = self.op("Transpose", [name], perm=TO_NCHW)
            self.back.add(name)
        return self.maps[name]

    def value(self, name: str) -> np.ndarray:
        array = numpy_helper.to_array(self.constants[name])
        return array.astype(np.float32) if array.dtype == np.int8 else array

    def constant(self, array, kind=np.float32) -> str:
        name = f"stock_c{len(self.made)}"
        self.made.append(numpy_helper.from_array(np.ascontiguousarray(np.asarray(array, kind)), name))
        return name

    def op(self, kind, inputs, **attributes):
        self.count += 1
        name = f"stock_t{self.count}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"stock_{kind}_{self.count}", **attributes))
        return name

    def rename(self, node, name: str) -> None:
        """The last operator gives what `node` gave."""
        last = self.nodes[-1]
        if list(last.output) != [name]:
            raise ValueError(f"{node.name}: {name} is not the last result")
        last.output[0] = node.output[0]

    def model(self) -> onnx.ModelProto:
        read = {name for node in self.nodes for name in node.input}
        constants = [t for t in self.graph.initializer if t.name in read] + self.made
        graph = helper.make_graph(self.nodes, self.graph.name, self.graph.input, self.graph.output, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="lookout")
        onnx.checker.check_model(model)
        return model


def is_ours(model: onnx.ModelProto) -> bool:
    return any(node.domain == "lookout" for node in model.graph.node)


def stock(model: onnx.ModelProto, pointwise: str = "Conv") -> onnx.ModelProto:
    """The twin. `pointwise` says what a 1 x 1 convolution becomes: `Conv`, or `MatMul` over channels that come last."""
    if not is_ours(model):
        return model
    draft = onnx.shape_inference.infer_shapes(Stock(model, {}, pointwise).model(), data_prop=True)
    known = list(draft.graph.value_info) + list(draft.graph.input)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in known}
    return Stock(model, shapes, pointwise).model()


def multiply_adds(model: onnx.ModelProto) -> tuple[int, int]:
    """Of one run of a stock float network of fixed shapes: in `Conv` and in `MatMul`, and of those in depthwise ones."""
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes = {t.name: list(t.dims) for t in model.graph.initializer}
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        shapes[value.name] = [d.dim_value for d in value.type.tensor_type.shape.dim]
    total = depthwise = 0
    for node in model.graph.node:
        if node.op_type not in ("Conv", "MatMul"):
            continue
        out, weight = shapes[node.output[0]], shapes[node.input[1]]
        depth = int(np.prod(weight[1:])) if node.op_type == "Conv" else weight[-2]
        total += int(np.prod(out)) * depth
        if node.op_type == "Conv" and weight[1] == 1:
            depthwise += int(np.prod(out)) * depth
    return total, depthwise
