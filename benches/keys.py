"""Static keys against full attention at equal width, in lookout's own operators, at random int8 weights: the attention
block alone, a plain ViT of 12 blocks, and the bundle's image tower with its attention exchanged. Speed depends on shapes only."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Tokens, width, heads; the height and width of a picture [1,3,H,W] with as many floats.
BLOCKS = [(49, 384, 6, (56, 112)), (196, 384, 6, (112, 224))]
REPEATS = 4
VIT_BLOCKS = 12
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("lookout", 1)]


class Weights:
    """Random constants for our operators."""

    def __init__(self, first: int = 0):
        self.random, self.tensors, self.count = np.random.default_rng(0), [], first

    def add(self, array) -> str:
        name = f"made_{len(self.tensors) + self.count}"
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def linear(self, depth: int, columns: int) -> list[str]:
        """Weight, scale, bias that keep the size of values."""
        scale = np.full(columns, depth**-0.5 / 73, np.float32)
        return [self.add(self.random.integers(-127, 128, (depth, columns), np.int8)), self.add(scale), self.add(np.zeros(columns, np.float32))]

    def node(self, kind: str, inputs: list[str], output: str, **attributes):
        return helper.make_node(f"Lookout{kind}", inputs, [output], name=f"{kind}_{output}", domain="lookout", **attributes)


PLAIN = {"activation": "none", "precision": "int8"}


def attention(weights: Weights, x: str, out: str, tokens: int, width: int, heads: int, kind: str) -> list:
    """Products into, attention, product out of; `kind` is `full`, `folded`, `unfolded` or `unprojected`."""
    make = weights.node
    if kind == "full":
        columns, mixed = 3 * width, make("Attention", [f"{out}_in"], f"{out}_mix", heads=heads)
    elif kind == "folded":
        columns, mixed = heads * tokens + width, make("StaticKeyAttention", [f"{out}_in"], f"{out}_mix", heads=heads, keys=tokens)
    else:
        depth = width // heads
        table = [weights.add(weights.random.integers(-127, 128, (heads, depth, tokens), np.int8)), weights.add(np.full((heads, tokens), 1 / 73 / depth, np.float32))]
        projected = kind == "unfolded"
        columns, queries = (2 * width, []) if projected else (width, [x])
        mixed = make(f"StaticKeyAttention{kind.capitalize()}", [f"{out}_in", *table, *queries], f"{out}_mix", heads=heads, keys=tokens)
    return [
        make("Linear", [x, *weights.linear(width, columns)], f"{out}_in", **PLAIN),
        mixed,
        make("Linear", [f"{out}_mix", *weights.linear(width, width), x], out, **PLAIN),
    ]


def feed_forward(weights: Weights, x: str, out: str, width: int) -> list:
    make = weights.node
    return [
        make("Linear", [x, *weights.linear(width, 4 * width)], f"{out}_up", activation="gelu", precision="int8"),
        make("Linear", [f"{out}_up", *weights.linear(4 * width, width), x], out, **PLAIN),
    ]


def norm(weights: Weights, x: str, out: str, width: int):
    scale, bias = np.ones(width, np.float32), np.zeros(width, np.float32)
    return weights.node("LayerNorm", [x, weights.add(scale), weights.add(bias)], out, epsilon=1e-5)


def network(tokens: int, width: int, heads: int, size: tuple[int, int], kind: str, vit: bool = False) -> onnx.ModelProto:
    """Several attention blocks one after another, with norms and feed-forwards in between for a `vit`, and the mean of
    their tokens as the embedding."""
    weights = Weights()
    shape = weights.add(np.array([1, tokens, width], np.int64))
    nodes = [helper.make_node("Reshape", ["image", shape], ["x0"])]
    repeats = VIT_BLOCKS if vit else REPEATS
    for at in range(repeats):
        x, out = f"x{at}", f"x{at + 1}"
        if vit:
            nodes += [norm(weights, x, f"a{at}", width), *attention(weights, f"a{at}", f"b{at}", tokens, width, heads, kind)]
            nodes += [norm(weights, f"b{at}", f"c{at}", width), *feed_forward(weights, f"c{at}", out, width)]
        else:
            nodes += attention(weights, x, out, tokens, width, heads, kind)
    nodes.append(helper.make_node("ReduceMean", [f"x{repeats}"], ["embedding"], axes=[1], keepdims=0))
    infos = [helper.make_tensor_value_info(*v) for v in (("image", TensorProto.FLOAT, [1, 3, *size]), ("embedding", TensorProto.FLOAT, [1, width]))]
    return helper.make_model(helper.make_graph(nodes, kind, infos[:1], infos[1:], weights.tensors), opset_imports=OPSETS, ir_version=8)


def exchanged(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """The tower with full attention in place of its static keys, and how often."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    made = {name: node for node in model.graph.node for name in node.output}
    constants = {t.name: t for t in model.graph.initializer}
    weights, count = Weights(), 0
    for node in model.graph.node:
        if not node.op_type.startswith("LookoutStaticKeyAttention"):
            continue
        heads = next(a.i for a in node.attribute if a.name == "heads")
        into, after = made[node.input[0]], next(n for n in model.graph.node if node.output[0] in n.input)
        width = constants[after.input[1]].dims[0]
        into.input[1:4] = weights.linear(width, 3 * width)
        node.op_type, count = "LookoutAttention", count + 1
        del node.input[1:]
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("heads", heads))
    model.graph.initializer.extend(weights.tensors)
    return model, count


def save(model: onnx.ModelProto, folder: Path, size: tuple[int, int], width: int, patches: str = "") -> Path:
    """A bundle of an image tower alone."""
    folder.mkdir(parents=True, exist_ok=True)
    content = model.SerializeToString()
    (folder / "image.onnx").write_bytes(content)
    (folder / "lookout.toml").write_text(
        f'format = 1\nname = "keys"\nversion = "1"\nlicence = "none"\ndistilled_from = []\n'
        f'[picture]\nheight = {size[0]}\nwidth = {size[1]}\nrule = "stretch"\nfilter = "bicubic"\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n'
        f"[embedding]\nwidth = {width}\n{patches}"
        "[calibration]\ntemperature = 0.1\nnone_bias = 0.1\ncheck_scale = 1.0\ncheck_bias = 0.0\nground_scale = 1.0\nground_bias = 0.0\n"
        f'[files.image]\npath = "image.onnx"\nsha256 = "{hashlib.sha256(content).hexdigest()}"\nbytes = {len(content)}\nquantisation = "int8"\n'
    )
    return folder


def pairs(bundle: Path, work: Path) -> list[tuple]:
    """What it is, the bundle with static keys, the one with full attention, target and aim."""
    made = []
    for vit in (False, True):
        for tokens, width, heads, size in BLOCKS:
            at = lambda kind: work / f"{'vit-' if vit else ''}{tokens}-{kind}"
            saved = lambda kind: save(network(tokens, width, heads, size, kind, vit), at(kind), size, width)
            what = f"plain ViT of {VIT_BLOCKS} blocks" if vit else "attention block"
            targets = (0.93, 0.85) if vit else (0.75, 0.6)
            # As the paper has them, in the cheaper form; and without a query projection, as the authors' ImageNet models.
            for static in ("folded" if heads * tokens < width + tokens else "unfolded", "unprojected"):
                made.append((f"{what}, {tokens} tokens of {width}, {heads} heads: static keys ({static}), full", saved(static), saved("full"), *targets))
    import tomllib

    manifest = tomllib.loads((bundle / "lookout.toml").read_text())
    tower = onnx.load(bundle / manifest["files"]["image"]["path"])
    full, count = exchanged(tower)
    if count:
        size, width = (manifest["picture"]["height"], manifest["picture"]["width"]), manifest["embedding"]["width"]
        grid = manifest.get("patches")
        patches = f"[patches]\ncount = {grid['count']}\nwidth = {grid['width']}\ngrid = {grid['grid']}\n" if grid else ""
        what = f"whole image tower, {count} blocks: static keys, full"
        made.append((what, save(tower, work / "tower-static", size, width, patches), save(full, work / "tower-full", size, width, patches), 0.93, 0.85))
    return made
