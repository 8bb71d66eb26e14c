"""`layers.py [--bundle BUNDLE] [--threads N]`: milliseconds of each layer of lookout's image tower.

The tower is cut after each layer in turn, and a layer's time is what the shortest run of its cut takes beyond that of the
cut before. So fusions across a cut show as small or negative numbers; sums over several layers are right.
"""

import argparse
import tomllib
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines import Runner, rounds
from keys import save
from stock import stock

HERE = Path(__file__).parent


def shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Of every layer's result: names survive in the stock twin whose 1 x 1 convolutions are products of rows; maps are
    there as NCHW only, so their shape is that of the product that reads them."""
    known, constants = {}, {t.name: list(t.dims) for t in model.graph.initializer}
    twin = onnx.shape_inference.infer_shapes(stock(model, "MatMul"), data_prop=True)
    inferred = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in [*twin.graph.value_info, *twin.graph.input, *twin.graph.output]}
    for node in model.graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type in ("LookoutConv", "LookoutDepthwise"):
            x, (k, s, p) = known[node.input[0]], (attributes[n] for n in ("kernel", "strides", "pads"))
            side = lambda i: (x[1 + i] + p[i] + p[2 + i] - k[i]) // s[i] + 1
            known[node.output[0]] = [x[0], side(0), side(1), constants[node.input[1]][-1]]
        elif node.op_type == "Transpose" and node.input[0] in inferred:
            x = inferred[node.input[0]]
            known[node.output[0]] = [x[at] for at in attributes["perm"]]
        elif node.op_type == "LookoutLinear" and node.input[0] in known:
            known[node.output[0]] = [*known[node.input[0]][:-1], constants[node.input[1]][-1]]
        else:
            known[node.output[0]] = inferred[node.output[0]]
    return known


def cut(model: onnx.ModelProto, count: int, shape: list[int]) -> onnx.ModelProto:
    """The first `count` nodes; the embedding is the first row of the last one's result."""
    outputs = {output.name for output in model.graph.output}
    nodes = [node for node in model.graph.node[:count] if not outputs & set(node.output)]
    constant = lambda name, values: numpy_helper.from_array(np.array(values, np.int64), name)
    axes = list(range(1, len(shape) - 1))
    made = [constant("row_begin", [0] * len(axes)), constant("row_end", [1] * len(axes)), constant("row_axes", axes), constant("row_shape", [1, shape[-1]])]
    row = nodes[-1].output[0]
    if axes:
        nodes.append(helper.make_node("Slice", [row, "row_begin", "row_end", "row_axes"], ["row"]))
        row = "row"
    nodes.append(helper.make_node("Reshape", [row, "row_shape"], ["embedding"]))
    read = {name for node in nodes for name in node.input}
    constants = [t for t in [*model.graph.initializer, *made] if t.name in read]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, shape[-1]])
    graph = helper.make_graph(nodes, "cut", model.graph.input, [output], constants)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, default=HERE.parent / "models" / "default")
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    manifest = tomllib.loads((options.bundle / "lookout.toml").read_text())
    size = (manifest["picture"]["height"], manifest["picture"]["width"])
    model = onnx.load(options.bundle / manifest["files"]["image"]["path"])
    known, runners = shapes(model), []
    options.work.mkdir(parents=True, exist_ok=True)
    pixels = options.work / "random.f32"
    np.random.default_rng(0).normal(size=(1, 3, *size)).astype(np.float32).tofile(pixels)
    constants = {t.name: list(t.dims) for t in model.graph.initializer}
    for count, node in enumerate(model.graph.node, 1):
        shape = known[node.output[0]]
        if node.op_type.startswith("Lookout") and len(shape) > 1:
            folder = save(cut(model, count, shape), options.work / "cuts" / str(count), size, shape[-1])
            runner = Runner.start("lookout", "", "image", folder, [pixels], options.threads)
            runners.append((runner, node, shape))
    rounds([runner for runner, _, _ in runners], options.rounds, 3)
    before, groups = 0.0, defaultdict(lambda: [0, 0.0, 0.0])
    print("| layer | kernel | result | 10^6 multiply-adds | ms | G/s |\n|---|---|---|---|---|---|")
    for runner, node, shape in runners:
        took, before = runner.best - before, runner.best
        weight = constants.get(node.input[1], [0]) if len(node.input) > 1 else [0]
        depth = weight[0] if len(weight) == 2 else 0
        work = int(np.prod(shape)) * depth / 1e6
        kind = node.op_type.removeprefix("Lookout")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        form = "x".join(map(str, weight)) + (" float" if attributes.get("precision") == b"weights" else "")
        print(f"| {kind} | {form} | {'x'.join(map(str, shape[1:]))} | {work:.1f} | {took:.3f} | {work / took if took > 0 else 0:.0f} |")
        total = groups[kind + (" float" if attributes.get("precision") == b"weights" else "")]
        total[0], total[1], total[2] = total[0] + 1, total[1] + work, total[2] + took
        runner.server.close()
    print("\n| kind | layers | 10^6 multiply-adds | ms | G/s |\n|---|---|---|---|---|")
    for kind, (count, work, took) in sorted(groups.items(), key=lambda item: -item[1][2]):
        print(f"| {kind} | {count} | {work:.1f} | {took:.2f} | {work / took:.0f} |")
    print(f"\nwhole: {before:.2f} ms")


if __name__ == "__main__":
    main()
