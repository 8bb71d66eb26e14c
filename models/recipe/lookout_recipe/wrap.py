"""Wraps a dual encoder that was exported to ONNX elsewhere into a bundle folder.

    python -m lookout_recipe.wrap --preset openclip --image image.onnx --text text.onnx --tokenizer tokenizer.json \
        --name my-clip --licence MIT OUTDIR

The towers run once in onnxruntime: that finds the embedding's width, whether sentences may run at their true length,
and the pairs that `lookout bundle check` compares. Each file is stored with a batch of 1 and its embedding as the only
output. Needs onnx, onnxruntime, numpy and tokenizers, not PyTorch.
"""

import argparse
import hashlib
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto
from tokenizers import Tokenizer

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
PHOTO = ["a photo of a {}.", "a photo of the {}.", "a picture of a {}.", "{}"]
CLIP = dict(size=224, rule="crop", filter="bicubic", mean=CLIP_MEAN, std=CLIP_STD, context=77, pad=49407, templates=PHOTO,
            temperature=0.01, none_bias=0.2, check_scale=60.0, check_bias=-14.0)
PRESETS = {
    "clip": CLIP,
    "openclip": CLIP | dict(pad=0),
    "tinyclip": CLIP,
    "mobileclip": CLIP | dict(size=256, filter="bilinear", mean=[0.0] * 3, std=[1.0] * 3, pad=0),
    # Sigmoid loss: the pair's own probability is sigmoid(scale * cosine + bias) with the checkpoint's two scalars.
    "siglip": CLIP | dict(rule="stretch", mean=[0.5] * 3, std=[0.5] * 3, context=64, pad=1, templates=["this is a photo of {}.", "{}"],
                          none_bias=0.11, check_scale=117.0, check_bias=-12.9),
}
# Cosine between a sentence's embedding at its true length and padded, above which padding changes nothing. Dynamic int8
# rounds differently beside padding, without meaning more by it.
SAME = {"int8": 0.998, "float16": 0.9999, "float32": 0.99999}
LARGEST = 1 << 30
CHECK_TEXTS = ["a dog", "two people walk along a beach at sunset"]
WEIGHTS = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.INT8: "int8", TensorProto.UINT8: "int8"}

# Operators that give a mask its shape from a symbolic length, which tract gets wrong: such a tower runs at its context.
MISCOUNTED = {"ConstantOfShape", "Expand", "Trilu"}
IDS = {TensorProto.INT64: np.int64, TensorProto.INT32: np.int32}


class Refused(Exception):
    """Something about the files or numbers given; the message says what and what to do."""


@dataclass
class Tower:
    """An ONNX file with a batch of 1 and one output, ready to run."""

    name: str
    model: onnx.ModelProto
    inputs: list
    weights: str

    def __post_init__(self):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self.session = onnxruntime.InferenceSession(self.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise Refused(f"{self.name}: onnxruntime cannot open it: {error}") from error

    def run(self, feed: dict) -> np.ndarray:
        try:
            (out,) = self.session.run(None, feed)
        except Exception as error:
            shapes = {k: v.shape for k, v in feed.items()}
            raise Refused(f"{self.name}: onnxruntime cannot run it on {shapes}: {error}\n"
                          "Check --size, --context, --pad and the tokenizer against the export.") from error
        if out.ndim != 2 or out.shape[0] != 1:
            raise Refused(f"{self.name}: its output {self.session.get_outputs()[0].name!r} has the shape {out.shape}, an embedding is [1, width]; "
                          "name another one by --image-output or --text-output, or export the projected embedding")
        if not np.isfinite(out).all() or not out.any():
            raise Refused(f"{self.name}: its embedding is zero or not finite")
        return out[0].astype(np.float64)


def open_tower(path: Path, wanted: str | None) -> Tower:
    if not path.is_file():
        raise Refused(f"{path}: no such file; export the tower to ONNX first (see TRIED.md)")
    try:
        model = onnx.load(path)
    except Exception as error:
        raise Refused(f"{path}: not an ONNX file, or its external data is not beside it: {error}") from error
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    for value in inputs:
        batch = value.type.tensor_type.shape.dim
        if not batch:
            raise Refused(f"{path}: the input {value.name!r} has no shape; export it with one")
        if batch[0].HasField("dim_value") and batch[0].dim_value != 1:
            raise Refused(f"{path}: the input {value.name!r} has a batch of {batch[0].dim_value}; export it with a batch of 1")
        batch[0].dim_value = 1
    output = pick_output(path, graph.output, wanted)
    del graph.output[:]
    del graph.value_info[:]
    output.type.tensor_type.ClearField("shape")
    graph.output.append(output)
    kinds = {WEIGHTS.get(t.data_type) for t in graph.initializer if len(t.dims) >= 2}
    weights = next((kind for kind in ("int8", "float16", "float32") if kind in kinds), "float32")
    return Tower(str(path), model, inputs, weights)


def pick_output(path: Path, outputs, wanted: str | None):
    """The named output; else one with an embedding's name; else the first of two dimensions; else the only one."""
    names = [output.name for output in outputs]
    if wanted and wanted not in names:
        raise Refused(f"{path}: no output is named {wanted!r}; it has {', '.join(names)}")
    for name in [wanted, "embedding", "image_embeds", "text_embeds", "image_features", "text_features"]:
        if name in names:
            return outputs[names.index(name)]
    flat = [output for output in outputs if len(output.type.tensor_type.shape.dim) == 2]
    if flat or len(names) == 1:
        return (flat or outputs)[0]
    raise Refused(f"{path}: none of its outputs ({', '.join(names)}) looks like an embedding; name it by --image-output or --text-output")


def element(value) -> int:
    return value.type.tensor_type.elem_type


def fixed(value, axis: int) -> int | None:
    dim = value.type.tensor_type.shape.dim
    return dim[axis].dim_value if len(dim) > axis and dim[axis].HasField("dim_value") else None


def made_up(seed: int, width: int, height: int) -> np.ndarray:
    """`ImagePair::input` in src/bundle/pairs.rs."""
    index = np.arange(3 * width * height, dtype=np.uint64)
    value = (index * 2654435761 + seed * 40503) & 0xFFFFFFFF
    return (value / 2**32 * 2 - 1).astype(np.float32).reshape(1, 3, height, width)


class ImageInput:
    def __init__(self, tower: Tower, size: int):
        self.tower = tower
        if len(tower.inputs) != 1 or element(tower.inputs[0]) != TensorProto.FLOAT:
            raise Refused(f"{tower.name}: an image tower has one float32 input, this has {describe(tower.inputs)}; export the image tower alone")
        for axis, want in ((1, 3), (2, size), (3, size)):
            have = fixed(tower.inputs[0], axis)
            if have not in (None, want):
                raise Refused(f"{tower.name}: its input {describe(tower.inputs)} is not [1, 3, {size}, {size}]; give the export's --size")
        for axis in (1, 2, 3):
            tower.inputs[0].type.tensor_type.shape.dim[axis].dim_value = 3 if axis == 1 else size

    def run(self, pixels: np.ndarray) -> np.ndarray:
        return self.tower.run({self.tower.inputs[0].name: pixels})


class TextInput:
    def __init__(self, tower: Tower, context: int, pad: int):
        self.tower, self.context, self.pad = tower, context, pad
        masks = [value for value in tower.inputs if value.name == "attention_mask"]
        ids = [value for value in tower.inputs if value.name != "attention_mask"]
        if len(ids) != 1 or any(element(value) not in IDS for value in tower.inputs):
            raise Refused(f"{tower.name}: a text tower takes integer token ids and, at most, an attention_mask; this takes {describe(tower.inputs)}; "
                          "export the text tower alone")
        self.input, self.mask = ids[0].name, masks[0].name if masks else None
        self.length = fixed(ids[0], 1)
        if self.length not in (None, context):
            raise Refused(f"{tower.name}: its input {describe(ids)} is not [1, {context}]; give the export's --context")

    def run(self, ids: list[int], padded: bool) -> np.ndarray:
        ids = shorten(ids, self.context)
        fill = self.context - len(ids) if padded else 0
        rows = {self.input: ids + [self.pad] * fill, self.mask: [1] * len(ids) + [0] * fill}
        return self.tower.run({value.name: np.array([rows[value.name]], IDS[element(value)]) for value in self.tower.inputs})

    def settle(self, padded: bool) -> None:
        """Writes the length into the graph's inputs, so that every reader sees the same shape."""
        for value in self.tower.inputs:
            dim = value.type.tensor_type.shape.dim[1]
            if padded:
                dim.dim_value = self.context
            else:
                dim.dim_param = "L"

    def needs_padding(self, samples: list[list[int]]) -> bool:
        """True where a sentence's embedding changes, or cannot be had, without the padding it was trained with."""
        if self.length is not None or any(node.op_type in MISCOUNTED for node in self.tower.model.graph.node):
            return True
        try:
            nearest = [cosine(self.run(ids, True), self.run(ids, False)) for ids in samples]
        except Refused:
            return True
        return min(nearest) < SAME[self.tower.weights]


def shorten(ids: list[int], context: int) -> list[int]:
    return ids if len(ids) <= context else ids[: context - 1] + ids[-1:]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def describe(values) -> str:
    dims = lambda v: [d.dim_value or d.dim_param or "?" for d in v.type.tensor_type.shape.dim]
    return ", ".join(f"{v.name} {TensorProto.DataType.Name(element(v)).lower()}{dims(v)}" for v in values) or "no input"


def open_tokenizer(path: str) -> Tokenizer:
    if path == "openclip":
        from .clip_tokenizer import openclip

        try:
            return openclip()
        except ModuleNotFoundError as error:
            raise Refused(str(error)) from error
    if not Path(path).is_file():
        raise Refused(f"{path}: no such file; it is the checkpoint's tokenizer.json, or the word `openclip` for the vocabulary that open_clip carries")
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:
        raise Refused(f"{path}: not a tokenizer.json: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def first16(embedding: np.ndarray) -> list[float]:
    return [round(float(v), 6) for v in embedding[:16] / np.linalg.norm(embedding)]


def toml(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def wrap(options: argparse.Namespace) -> dict:
    """Writes the bundle to `options.out`, whole or not at all; returns what was found."""
    out = Path(options.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused(f"{out}: is there already and not empty; give a new folder")
    size = options.size
    image = ImageInput(open_tower(Path(options.image), options.image_output), size)
    text = TextInput(open_tower(Path(options.text), options.text_output), options.context, options.pad)
    tokenizer = open_tokenizer(options.tokenizer)
    samples = [tokenizer.encode(sentence).ids for sentence in CHECK_TEXTS]
    for sentence, ids in zip(CHECK_TEXTS, samples):
        if not ids:
            raise Refused(f"{options.tokenizer}: it makes no token of {sentence!r}; it is not this model's tokenizer")
    padded = text.needs_padding(samples) if options.length == "auto" else options.length == "context"
    if text.length is not None and not padded:
        raise Refused(f"{options.text}: its input has a fixed length; export it with a symbolic one, or leave --length out")
    text.settle(padded)
    pictures = {seed: image.run(made_up(seed, size, size)) for seed in (1, 2)}
    sentences = {sentence: text.run(ids, padded) for sentence, ids in zip(CHECK_TEXTS, samples)}
    widths = {len(e) for e in [*pictures.values(), *sentences.values()]}
    if len(widths) != 1:
        raise Refused(f"the image tower gives {len(pictures[1])} floats and the text tower {len(sentences[CHECK_TEXTS[0]])}; "
                      "they are not of one model, or one lacks its projection")
    pairs = {"image": [{"seed": s, "embedding": first16(e)} for s, e in pictures.items()],
             "text": [{"text": s, "embedding": first16(e)} for s, e in sentences.items()]}

    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        onnx.save(image.tower.model, work / "image.onnx")
        onnx.save(text.tower.model, work / "text.onnx")
        tokenizer.save(str(work / "tokenizer.json"), pretty=False)
        (work / "check.json").write_text(json.dumps(pairs) + "\n")
        manifest = render(options, work, widths.pop(), text, padded, image.tower.weights)
        (work / "lookout.toml").write_text(manifest, encoding="utf-8")
        work.chmod(0o755)
        if out.exists():
            out.rmdir()
        work.rename(out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return {"bundle": str(out), "width": len(pictures[1]), "fixed_length": padded, "image": image.tower.weights, "text": text.tower.weights}


def render(options, work: Path, width: int, text: TextInput, padded: bool, image_weights: str) -> str:
    sections = {
        "": dict(format=1, name=options.name, version=options.version, licence=options.licence, distilled_from=[]),
        "picture": dict(width=options.size, height=options.size, rule=options.rule, filter=options.filter, mean=options.mean, std=options.std),
        "embedding": dict(width=width),
        "text": dict(context=options.context, pad=options.pad, templates=options.templates, input=text.input, fixed_length=padded),
        "calibration": dict(temperature=options.temperature, none_bias=options.none_bias, check_scale=options.check_scale, check_bias=options.check_bias),
    }
    for role, name, weights in [("image", "image.onnx", image_weights), ("text", "text.onnx", text.tower.weights), ("tokenizer", "tokenizer.json", "none")]:
        sections[f"files.{role}"] = entry(work / name) | dict(quantisation=weights)
    sections["check"] = entry(work / "check.json")
    blocks = ["\n".join(([f"[{head}]"] if head else []) + [f"{k} = {toml(v)}" for k, v in body.items()]) for head, body in sections.items()]
    return "\n\n".join(blocks) + "\n"


def entry(path: Path) -> dict:
    size = path.stat().st_size
    if size > LARGEST:
        raise Refused(f"{path.name} is {size >> 20} MiB; a bundle's file is at most 1 GiB: quantise the tower")
    with path.open("rb") as file:
        return dict(path=path.name, sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=size)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lookout_recipe.wrap", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    need, may = parser.add_argument_group("what to wrap"), parser.add_argument_group("numbers, where they differ from the preset's")
    need.add_argument("--preset", choices=sorted(PRESETS), help="the usual numbers of a family")
    need.add_argument("--image", required=True, help="image tower: float32 [1, 3, size, size] to [1, width]")
    need.add_argument("--text", required=True, help="text tower: integer ids [1, context or symbolic] to [1, width]")
    need.add_argument("--tokenizer", required=True, help="the checkpoint's tokenizer.json, or `openclip`")
    need.add_argument("--name", required=True)
    need.add_argument("--version", default="1")
    need.add_argument("--licence", required=True, help="licence of the weights")
    need.add_argument("--image-output", help="name of the embedding, where the file has several outputs")
    need.add_argument("--text-output")
    may.add_argument("--size", type=int)
    may.add_argument("--rule", choices=["crop", "stretch"])
    may.add_argument("--filter", choices=["bilinear", "bicubic", "lanczos"])
    may.add_argument("--mean", type=float, nargs=3)
    may.add_argument("--std", type=float, nargs=3)
    may.add_argument("--context", type=int, help="most token ids in a sentence")
    may.add_argument("--length", choices=["auto", "true", "context"], default="auto",
                     help="run sentences at their true length, or padded to the context; auto pads only where the embedding depends on it")
    may.add_argument("--pad", type=int, help="id that fills the rest of the context")
    may.add_argument("--templates", nargs="+", help="prompts, each with one {}")
    may.add_argument("--temperature", type=float, help="1 / the checkpoint's logit scale")
    may.add_argument("--none-bias", type=float, help="cosine of the class `none of these`")
    may.add_argument("--check-scale", type=float)
    may.add_argument("--check-bias", type=float)
    parser.add_argument("out", help="new folder for the bundle")
    options = parser.parse_args(argv)
    for key, value in PRESETS.get(options.preset, {}).items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    missing = [f"--{key.replace('_', '-')}" for key in CLIP if getattr(options, key) is None]
    if missing:
        parser.error(f"without --preset these are needed too: {', '.join(missing)}")
    if not re.fullmatch(r"[A-Za-z0-9._+-]{1,64}", options.name) or not re.fullmatch(r"[A-Za-z0-9._+-]{1,64}", options.version):
        parser.error("--name and --version are 1 to 64 letters, digits and . _ + -")
    if bad := [t for t in options.templates if t.count("{}") != 1]:
        parser.error(f"a template has one {{}}, unlike {bad[0]!r}")
    return options


def main(argv: list[str] | None = None) -> int:
    try:
        print(json.dumps(wrap(arguments(argv))))
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("next: lookout bundle check", arguments(argv).out, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
