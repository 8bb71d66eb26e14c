"""Stage `export`: the bundle's four networks, their stock float twins, the tokenizers and the manifest."""

import argparse
import hashlib
import json
import math

import numpy as np
import torch
from onnx import TensorProto

from . import trunk
from .balance import balance
from .device import load
from .graph import Graph
from .minilm import tokenizer
from .model import CONTEXT, EMBEDDING, GRID, GROUNDER, PATCH, Grounder, ImageHead, Speaker, TextTower
from .naming import NAME_PROMPT, NAMES
from .paths import BUNDLE, WORK, record
from .text import PROMPTS as TEMPLATES
from .voice import BEAMS, COSINE_WEIGHT, LENGTH_PENALTY, MAX_TOKENS, RERANK_WEIGHT
from .words import ANSWER, END, QUESTION, START, speaker_tokenizer

TWINS = WORK / "twins"
SIZE = 256


def image_graph(body: trunk.Trunk, head: ImageHead, stock: bool) -> Graph:
    """A picture's values are whole multiples of one scale, by which the stem reads them as bytes and loses nothing. What it
    makes stays float for the first depthwise convolution, whose differences between neighbours would not survive the bytes
    that the engine keeps between the layers of the other blocks."""
    g = Graph("image", stock)
    x = g.op("Transpose", [g.input("image", [1, 3, SIZE, SIZE])], perm=[0, 2, 3, 1])
    x, side = g.convolution(x, body.stem, SIZE, False, "relu6", x_scale=1 / (255 * trunk.STD)), SIZE // 2
    as_linear = lambda x, conv, activation, residual=None: g.linear(x, conv.conv.weight.flatten(1), conv.conv.bias, activation, residual)
    blocks = [*body.blocks[: trunk.LAST_FINE_BLOCK + 1], *head.tail]
    for index, block in enumerate(blocks):
        y = as_linear(x, block.expand, "relu6") if block.expand else x
        y = g.convolution(y, block.depthwise, side, True, "relu6", "int8" if block.expand else "weights")
        side = -(-side // block.depthwise.stride)
        x = as_linear(y, block.project, "none", x if block.residual else None)
        if index == trunk.LAST_FINE_BLOCK:
            fine = g.reshape(x, 1, GRID * GRID, trunk.FINE)
    features = g.linear(g.reshape(x, 1, 64, trunk.COARSE), head.head.weight, head.head.bias, "relu6")
    x = g.op("Add", [g.linear(features, head.narrow.weight, head.narrow.bias), g.constant(head.position.unsqueeze(0))])
    for block in head.blocks:
        x = g.block(x, block, 64)
    tokens = g.norm(x, head.norm)
    pooled = g.op("ReduceMean", [features], axes=[1], keepdims=0)
    short = g.linear(pooled, head.shortcut.weight, head.shortcut.bias, "gelu")
    both = g.op("Concat", [short, g.op("ReduceMean", [tokens], axes=[1], keepdims=0)], axis=1)
    g.output("embedding", g.linear(both, head.project.weight, head.project.bias), [1, EMBEDDING])
    up = g.linear(tokens, head.patch_coarse.weight, head.patch_coarse.bias)
    up = g.op("Expand", [g.reshape(up, 1, 8, 1, 8, 1, PATCH), g.constant([1, 8, 2, 8, 2, PATCH], np.int64)])
    up = g.reshape(up, 1, GRID * GRID, PATCH)
    g.output("patches", g.linear(fine, head.patch_fine.weight, head.patch_fine.bias, residual=up), [1, GRID * GRID, PATCH])
    return g


def text_graph(tower: TextTower, stock: bool) -> Graph:
    g = Graph("text", stock)
    ids = g.input("input_ids", [1, "L"], TensorProto.INT64)
    x = g.linear(g.rows(tower.table.weight, ids), tower.widen.weight, tower.widen.bias)
    length = g.op("Shape", [ids], start=1, end=2)
    position = g.op("Slice", [g.constant(tower.position), g.constant([0], np.int64), length, g.constant([0], np.int64)])
    x = g.op("Add", [x, g.op("Unsqueeze", [position, g.constant([0], np.int64)])])
    for block in tower.blocks:
        x = g.block(x, block, None)
    pooled = g.op("ReduceMean", [g.norm(x, tower.norm)], axes=[1], keepdims=0)
    g.output("embedding", g.linear(pooled, tower.project.weight, tower.project.bias), [1, EMBEDDING])
    return g


def decoder_graph(speaker: Speaker, stock: bool) -> Graph:
    """One step of B sentences about a picture. Self-attention over the cache; cross-attention reads the normalised patch
    tokens directly, all heads of all sentences as rows of one product."""
    g = Graph("decoder", stock)
    layers, block = len(speaker.blocks), speaker.blocks[0]
    heads, width = block.heads, block.width
    depth = width // heads
    token, position = g.input("token", ["B", 1], TensorProto.INT64), g.input("position", [1], TensorProto.INT64)
    patches = g.input("patches", [1, GRID * GRID, PATCH])
    keys, values = (g.input(n, ["B", layers, heads, "S", depth]) for n in ("keys", "values"))
    patches = g.norm(patches, speaker.norm_patches)
    across = g.op("Transpose", [patches], perm=[0, 2, 1])
    place = g.op("Unsqueeze", [g.op("Gather", [g.constant(speaker.position), position], axis=0), g.constant([0], np.int64)])
    x = g.op("Add", [g.rows(speaker.table.weight, token), place])
    new_keys, new_values = [], []
    cut = lambda v, i: g.op("Slice", [v, g.constant([i], np.int64), g.constant([i + 1], np.int64), g.constant([1], np.int64)])
    for index, block in enumerate(speaker.blocks):
        qkv = g.reshape(g.linear(g.norm(x, block.norm1), block.qkv.weight, block.qkv.bias), 0, 3, heads, 1, depth)
        q, k, v = (cut(qkv, i) for i in range(3))
        k, v = (g.op("Concat", [cut(past, index), new], axis=3) for past, new in ((keys, k), (values, v)))
        new_keys.append(k), new_values.append(v)
        logits = g.op("MatMul", [g.op("Mul", [q, g.constant(1 / math.sqrt(depth))]), g.op("Transpose", [k], perm=[0, 1, 2, 4, 3])])
        y = g.reshape(g.op("MatMul", [g.op("Softmax", [logits], axis=-1), v]), 0, 1, width)
        x = g.linear(y, block.out.weight, block.out.bias, residual=x)
        q = g.linear(g.norm(x, block.norm2), block.query.weight / math.sqrt(PATCH), block.query.bias / math.sqrt(PATCH))
        weight = g.op("Softmax", [g.op("MatMul", [g.reshape(q, 1, -1, PATCH), across])], axis=-1)
        y = g.reshape(g.op("MatMul", [weight, patches]), -1, 1, heads * PATCH)
        x = g.linear(y, block.read.weight, block.read.bias, residual=x)
        y = g.linear(g.norm(x, block.norm3), block.up.weight, block.up.bias, "gelu")
        x = g.linear(y, block.down.weight, block.down.bias, residual=x)
    words = speaker.table.weight.shape[0]
    logits = g.linear(g.norm(x, speaker.norm), speaker.table.weight, speaker.bias)
    g.output("logits", g.reshape(logits, -1, words), ["B", words])
    g.output("new_keys", g.op("Concat", new_keys, axis=1), ["B", layers, heads, "S+1", depth])
    g.output("new_values", g.op("Concat", new_values, axis=1), ["B", layers, heads, "S+1", depth])
    return g


def ground_graph(grounder: Grounder, stock: bool) -> Graph:
    g = Graph("ground", stock)
    patches, phrase = g.input("patches", [1, GRID * GRID, PATCH]), g.input("phrase", [1, EMBEDDING])
    width = grounder.enter.out_features
    both = g.reshape(g.linear(phrase, grounder.phrase.weight, grounder.phrase.bias), 1, 1, 2 * width)
    cut = lambda v, a, b: g.op("Slice", [v, g.constant([a], np.int64), g.constant([b], np.int64), g.constant([2], np.int64)])
    scale, shift = g.op("Add", [cut(both, 0, width), g.constant(1.0)]), cut(both, width, 2 * width)
    x = g.linear(g.norm(patches, grounder.norm), grounder.enter.weight, grounder.enter.bias)
    x = g.activate(g.op("Add", [g.op("Mul", [x, scale]), shift]), "gelu")
    for block in grounder.blocks:
        x = g.block(x, block, GRID * GRID)
    x = g.linear(g.norm(x, grounder.last), grounder.hidden.weight, grounder.hidden.bias, "gelu")
    out = g.linear(x, grounder.head.weight, grounder.head.bias)
    reach, centres = g.op("Sigmoid", [cut(out, 0, 4)]), g.constant(grounder.centres.unsqueeze(0))
    low, high = g.op("Sub", [centres, cut(reach, 0, 2)]), g.op("Add", [centres, cut(reach, 2, 4)])
    g.output("boxes", g.op("Concat", [low, high], axis=2), [1, GRID * GRID, 4])
    g.output("scores", g.reshape(cut(out, 4, 5), 1, GRID * GRID), [1, GRID * GRID])
    return g


def trained():
    from .patch import tower

    head, text = tower()
    state = load(WORK / "patch" / "patch.pt")  # its speaker is the polished one after `polish`
    head.load_patches(state["head"])
    speaker = Speaker(state["speaker"]["table.weight"].shape[0])
    speaker.load_state_dict(state["speaker"])
    alone = WORK / "ground" / "ground.pt"
    grounder = Grounder.like((load(alone) if alone.exists() else state)["grounder"])
    return trunk.pretrained(), head.eval(), text.eval(), speaker.eval(), grounder.eval()


def untrained():
    """Random weights in the same form, for working on the engine before there is anything to load."""
    torch.manual_seed(0)
    words = speaker_tokenizer().get_vocab_size()
    head = ImageHead()
    head.start_from(trunk.pretrained())
    return trunk.pretrained(), head.eval(), TextTower().eval(), Speaker(words).eval(), Grounder(GROUNDER).eval()


def main(random: bool = False, only: str | None = None) -> None:
    body, head, text, speaker, grounder = untrained() if random else trained()
    BUNDLE.mkdir(parents=True, exist_ok=True)
    if not random and only not in ("ground", "manifest"):
        body, head, text, speaker = balance(body, head, text, speaker, SIZE, image=only in (None, "image"))
    graphs = {
        "image": lambda stock: image_graph(body, head, stock),
        "text": lambda stock: text_graph(text, stock),
        "decoder": lambda stock: decoder_graph(speaker, stock),
        "ground": lambda stock: ground_graph(grounder, stock),
    }
    for role in {None: [*graphs], "manifest": []}.get(only, [only]):
        for stock, folder in ((False, BUNDLE), (True, TWINS)):
            graphs[role](stock).save(folder / f"{role}.onnx")
    (BUNDLE / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer().to_str()), ensure_ascii=False, separators=(",", ":")))
    (BUNDLE / "speaker-tokenizer.json").write_text(json.dumps(json.loads(speaker_tokenizer().to_str()), ensure_ascii=False, separators=(",", ":")))
    write_manifest(speaker)
    sizes = {path.name: path.stat().st_size for path in sorted(BUNDLE.iterdir())}
    record("export", random=random, bytes=sum(sizes.values()), sizes=sizes)


FILES = {
    "image": ("image.onnx", "int8"),
    "text": ("text.onnx", "int8"),
    "decoder": ("decoder.onnx", "int8"),
    "ground": ("ground.onnx", "int8"),
    "tokenizer": ("tokenizer.json", "none"),
    "speaker_tokenizer": ("speaker-tokenizer.json", "none"),
}


def write_manifest(speaker: Speaker) -> None:
    path = WORK / "calibration.json"
    calibration = {"temperature": 0.05, "none_bias": 0.2, "check_scale": 12.0, "check_bias": -3.0, "ground_scale": 1.0, "ground_bias": 0.0}
    if path.exists():
        calibration.update(json.loads(path.read_text()))
    quote = lambda v: json.dumps(v, ensure_ascii=False)
    lines = [
        "format = 1",
        'name = "lookout"',
        'version = "3.8"',
        'licence = "Non-commercial research and education (trained on Flickr8k, Flickr30k-Entities, DAQUAR and pictures of ImageNet and VOC)"',
        f'distilled_from = {quote(["EfficientNet-Lite2 (ImageNet-1k, Apache-2.0)", "all-MiniLM-L6-v2 (Apache-2.0)"])}',
        "",
        "[picture]",
        f"width = {SIZE}\nheight = {SIZE}",
        'rule = "stretch"\nfilter = "bicubic"',
        f"mean = {[round(trunk.MEAN, 7)] * 3}\nstd = {[round(trunk.STD, 7)] * 3}",
        "",
        f"[embedding]\nwidth = {EMBEDDING}",
        "",
        f"[patches]\ncount = {GRID * GRID}\nwidth = {PATCH}\ngrid = [{GRID}, {GRID}]",
        "",
        f"[text]\ncontext = {CONTEXT}\npad = 0\nfixed_length = false",
        f"templates = {quote(TEMPLATES)}",
        "",
        "[calibration]",
        *[f"{key} = {quote(value)}" for key, value in calibration.items() if not isinstance(value, dict)],
        *[line for name, part in calibration.items() if isinstance(part, dict) for line in ("", f"[calibration.{name}]", *[f"{k} = {quote(v)}" for k, v in part.items()])],
        "",
        "[speaker]",
        f"start = {quote(START)}\nend = {quote(END)}\nquestion = {quote(QUESTION)}\nanswer = {quote(ANSWER)}",
        f"max_tokens = {MAX_TOKENS}\nbeams = {BEAMS}\nlength_penalty = {LENGTH_PENALTY}\ncosine_weight = {COSINE_WEIGHT}\nrerank_weight = {RERANK_WEIGHT}",
        f"names = {quote(NAMES)}\nname_prompt = {quote(NAME_PROMPT)}",
        f"layers = {len(speaker.blocks)}\nheads = {speaker.blocks[0].heads}\nhead_width = {speaker.blocks[0].width // speaker.blocks[0].heads}",
    ]
    for role, (name, form) in FILES.items():
        content = (BUNDLE / name).read_bytes()
        lines += ["", f"[files.{role}]", f'path = "{name}"', f'sha256 = "{hashlib.sha256(content).hexdigest()}"', f"bytes = {len(content)}", f'quantisation = "{form}"']
    check = BUNDLE / "check.json"
    if check.exists():
        content = check.read_bytes()
        lines += ["", "[check]", 'path = "check.json"', f'sha256 = "{hashlib.sha256(content).hexdigest()}"', f"bytes = {len(content)}"]
    (BUNDLE / "lookout.toml").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="the bundle, from the checkpoints")
    options.add_argument("--random", action="store_true", help="random weights in the same form")
    options.add_argument("--only", choices=[*(role for role, (_, form) in FILES.items() if form == "int8"), "manifest"], help="this network, or none and the manifest alone; the others stay as they are in the bundle")
    main(**vars(options.parse_args()))
