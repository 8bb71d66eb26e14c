"""Builds known dual encoders at random weights, exports and wraps them, and stores what onnxruntime computes.

    python tried/architectures.py [NAME ...]      bundles below $LOOKOUT_WORK/tried/bundles, for tests/engine/wrapped.rs
    python tried/architectures.py --fixture       the small ones below tests/fixtures/wrapped

Weights are seeded. Every one-dimensional parameter gets noise and every layer scale is 0.5, so that no bias, norm or
branch is trivial.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from torch import nn

RECIPE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(RECIPE))
from lookout_recipe import wrap  # noqa: E402
from lookout_recipe.clip_tokenizer import from_merges, openclip  # noqa: E402
from spiece import sentence_pieces  # noqa: E402

WORK = Path(os.environ.get("LOOKOUT_WORK", RECIPE / "work")) / "tried"
FIXTURES = RECIPE.parent.parent / "tests" / "fixtures" / "wrapped"
END = 49407


class ImageOf(nn.Module):
    """The projected embedding of a transformers CLIP or SigLIP."""

    def __init__(self, model):
        super().__init__()
        self.tower, self.project = model.vision_model, getattr(model, "visual_projection", nn.Identity())

    def forward(self, image):
        return self.project(self.tower(pixel_values=image).pooler_output)


class TextOf(nn.Module):
    """The same of a sentence. CLIP's causal mask is cut from a constant: tract miscounts the one that the library builds
    from a symbolic length (`ConstantOfShape`, `Where` and `Expand` over shapes)."""

    def __init__(self, model, causal=False):
        super().__init__()
        self.tower, self.project, self.causal = model.text_model, getattr(model, "text_projection", nn.Identity()), causal
        context = model.config.text_config.max_position_embeddings
        self.register_buffer("mask", torch.full((1, 1, context, context), -1e9).triu(1))

    def forward(self, input_ids):
        length = input_ids.shape[1]
        mask = self.mask[:, :, :length, :length] if self.causal else None
        return self.project(self.tower(input_ids=input_ids, attention_mask=mask).pooler_output)


class OpenClipImage(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        return self.model.encode_image(image)


class OpenClipText(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids):
        return self.model.encode_text(input_ids)


def transformers_clip(vision=None, text=None, embedding=512, end=END):
    from transformers import CLIPConfig, CLIPModel

    text = dict(bos_token_id=end - 1, eos_token_id=end, pad_token_id=end) | (text or {})
    config = CLIPConfig(vision_config=vision or {}, text_config=text, projection_dim=embedding, attn_implementation="eager")
    model = CLIPModel(config)
    return ImageOf(model), TextOf(model, causal=True)


def clip_b32():
    return transformers_clip(text=dict(hidden_act="quick_gelu"))


def tinyclip_8m():
    vision = dict(hidden_size=256, num_hidden_layers=10, num_attention_heads=4, intermediate_size=1024, patch_size=16, hidden_act="gelu")
    text = dict(hidden_size=256, num_hidden_layers=3, num_attention_heads=4, intermediate_size=1024, hidden_act="gelu")
    return transformers_clip(vision, text)


def siglip_b16():
    from transformers import SiglipConfig, SiglipModel

    text = dict(bos_token_id=1, eos_token_id=1, pad_token_id=1)
    model = SiglipModel(SiglipConfig(text_config=text, attn_implementation="eager"))
    return ImageOf(model), TextOf(model)


def open_clip_model(name):
    import open_clip
    from timm.utils.model import reparameterize_model

    model = open_clip.create_model(name, pretrained=None)
    if "Mobile" in name:
        settle(model.visual, 256)
    model = reparameterize_model(model.eval())
    return OpenClipImage(model), OpenClipText(model)


def tiny_clip(width=16, layers=2):
    both = dict(hidden_size=width, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=2 * width)
    vision = both | dict(image_size=32, patch_size=8)
    text = both | dict(vocab_size=514, max_position_embeddings=16)
    return transformers_clip(vision, text, 24, 513)


def tiny_fastvit():
    """FastViT's blocks (RepMixer, large kernels, squeeze-and-excitation, attention) with a CLIP text tower."""
    from timm.models.fastvit import FastVit
    from timm.utils.model import reparameterize_model

    image = FastVit(layers=(1, 1, 1), embed_dims=(8, 8, 32), mlp_ratios=(1, 1, 1), downsamples=(True, True, True), se_downsamples=(False, False, True),
                    token_mixers=("repmixer", "repmixer", "attention"), pos_embs=(None, None, None), cls_ratio=1.0, num_classes=24, act_layer=nn.GELU)
    settle(image, 64)
    _, text = tiny_clip(8, 1)
    return reparameterize_model(image.eval()), text


MODELS = {
    "clip-vit-b-32": (clip_b32, "clip", openclip, {}),
    "tinyclip-vit-8m-16": (tinyclip_8m, "tinyclip", openclip, {}),
    "siglip-base-patch16-224": (siglip_b16, "siglip", sentence_pieces, {}),
    "mobileclip2-s0": (lambda: open_clip_model("MobileCLIP2-S0"), "mobileclip", openclip, {}),
    "openclip-vit-b-32": (lambda: open_clip_model("ViT-B-32"), "openclip", openclip, {}),
}
SMALL = {
    "tiny-clip": (tiny_clip, "clip", lambda: from_merges([]), dict(size=32, context=16, pad=513)),
    "tiny-fastvit": (tiny_fastvit, "mobileclip", lambda: from_merges([]), dict(size=64, context=16, pad=513)),
}
# The export has the whole context where padding is part of what the tower was trained on, and where the exporter writes
# the length of the causal mask into the graph (OpenCLIP's).
WHOLE_CONTEXT = {"siglip-base-patch16-224", "mobileclip2-s0", "openclip-vit-b-32"}
SENTENCES = ["a dog", "two people walk along a beach at sunset", "a photo of a red car, 3 bicycles and a bus.", "x",
             "The quick brown fox jumps over the lazy dog while fourteen children look on from a very old wooden bridge in the rain, " * 3]


def settle(image: nn.Module, size: int) -> None:
    """Convolutions as wide as their input asks, and batch norms with the statistics of a few pictures, as training would
    give them; the last bias takes off what all pictures share, without which every embedding is the same to five digits."""
    for name, parameter in image.named_parameters():
        if "layer_scale" in name or name.endswith("gamma"):
            nn.init.constant_(parameter, 0.5)
    for module in image.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    pictures = torch.from_numpy(np.concatenate([blocks(100 + i, size) for i in range(32)]))
    linear = [module for module in image.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        image.train()
        for batch in pictures.split(8):
            image(batch)
        image.eval()
        if linear.bias is not None:
            linear.bias -= torch.cat([image(batch) for batch in pictures.split(8)]).mean(0)


def shake(*towers: nn.Module) -> None:
    with torch.no_grad():
        for tower in towers:
            for parameter in tower.parameters():
                if parameter.dim() == 1:
                    parameter += 0.05 * torch.randn_like(parameter)


def blocks(seed: int, size: int) -> np.ndarray:
    """An 8 x 8 mosaic of made-up colours under made-up noise, of a contrast and with a tint that differ from seed to seed;
    `picture` in tests/engine/wrapped.rs."""
    draw = generator(seed)
    contrast = np.float32(0.6 + 0.5 * draw())
    tint = np.array([draw() for _ in range(3)], np.float32).reshape(3, 1, 1)
    colours = np.array([draw() for _ in range(192)], np.float32).reshape(3, 8, 8)
    noise = np.array([draw() for _ in range(64 * 64)], np.float32).reshape(64, 64)
    at = np.arange(size)
    coarse = colours[:, at[:, None] * 8 // size, at[None, :] * 8 // size]
    grain = np.float32(0.25) * noise[at[:, None] % 64, at[None, :] % 64]
    return (tint + contrast * (coarse + grain))[None].astype(np.float32)


def generator(seed: int):
    """Knuth's 64-bit linear congruence, the upper 24 bits as -1..1."""
    state = seed

    def draw() -> float:
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 40) / 2**23 - 1

    return draw


def export(tower: nn.Module, example, name: str, path: Path, dynamic: bool) -> str:
    axes = {name: {1: "L"}} if dynamic else None
    try:
        torch.onnx.export(tower, (example,), path, input_names=[name], output_names=["embedding"], dynamic_axes=axes, opset_version=17, dynamo=False)
        return "torch.onnx.export, opset 17"
    except Exception as error:
        print(f"  {path.name}: {type(error).__name__}: {str(error)[:200]}; trying dynamo", flush=True)
    shapes = ({1: torch.export.Dim("L", min=2, max=76)},) if dynamic else None
    torch.onnx.export(tower, (example,), path, input_names=[name], output_names=["embedding"], dynamic_shapes=shapes, opset_version=18, dynamo=True,
                      external_data=False)
    return "torch.onnx.export(dynamo=True), opset 18"


def build(name: str, recipe, out: Path) -> None:
    make, preset, tokenizer, numbers = recipe
    options = wrap.PRESETS[preset] | numbers
    torch.manual_seed(7)
    image, text = (tower.eval() for tower in make())
    shake(image, text)
    files = WORK / "onnx" / name
    files.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer()
    tokenizer.save(str(files / "tokenizer.json"))
    example = torch.tensor([shaped(tokenizer, SENTENCES[1], options, True)])
    notes = {"image": export(image, torch.from_numpy(blocks(1, options["size"])), "image", files / "image.onnx", False),
             "text": export(text, example, "input_ids", files / "text.onnx", name not in WHOLE_CONTEXT)}
    del image, text
    store(name, recipe, out, tokenizer, notes)


def store(name: str, recipe, out: Path, tokenizer, notes: dict) -> None:
    """Quantises and wraps the exported files, and stores onnxruntime's numbers."""
    options = wrap.PRESETS[recipe[1]] | recipe[3]
    preset, numbers, files = recipe[1], recipe[3], WORK / "onnx" / name
    sizes = {tower: count(files / f"{tower}.onnx") for tower in ("image", "text")}
    for tower in ("image", "text"):
        # Shapes go: onnxruntime refuses to infer them again where a quantised branch says otherwise.
        model = onnx.load(files / f"{tower}.onnx")
        del model.graph.value_info[:]
        if recipe in SMALL.values():
            shorten_names(model.graph)
        onnx.save(model, files / f"{tower}.onnx")
        quantize_dynamic(files / f"{tower}.onnx", files / f"{tower}-int8.onnx", weight_type=QuantType.QInt8, per_channel=False)
        if recipe in SMALL.values():
            # The other forms: weights with zero points, and static scales around float operators.
            quantize_dynamic(files / f"{tower}.onnx", files / f"{tower}-uint8.onnx", weight_type=QuantType.QUInt8, per_channel=tower == "text")
            reader = Reader(tower, tokenizer, options)
            quantize_static(files / f"{tower}.onnx", files / f"{tower}-qdq.onnx", reader, quant_format=QuantFormat.QDQ, per_channel=True)
    kinds = [("float", ""), ("int8", "-int8")]
    if recipe in SMALL.values():
        kinds += [("int8-zero-points", "-uint8"), ("qdq", "-qdq")]
    for kind, suffix in kinds:
        folder = out / f"{name}-{kind}"
        if folder.exists():
            [file.unlink() for file in folder.iterdir()]
        towers = {tower: files / f"{tower}{suffix}.onnx" for tower in ("image", "text")}
        extra = [a for k, v in numbers.items() for a in (f"--{k}", str(v))]
        status = wrap.main(["--preset", preset, "--image", str(towers["image"]), "--text", str(towers["text"]), "--tokenizer", str(files / "tokenizer.json"),
                            "--name", folder.name, "--licence", "random weights: none", *extra, str(folder)])
        assert status == 0, folder
        (folder / "expected.json").write_text(json.dumps(expected(folder, tokenizer, options) | {"parameters": sizes, "export": notes}) + "\n")
        print(folder.name, sizes, notes, flush=True)


class Reader(CalibrationDataReader):
    """What static scales are measured on."""

    def __init__(self, tower: str, tokenizer, options: dict):
        pictures = [{"image": blocks(200 + i, options["size"])} for i in range(16)] + [{"image": wrap.made_up(1, options["size"], options["size"])}]
        sentences = [{"input_ids": np.array([shaped(tokenizer, sentence, options, False)])} for sentence in SENTENCES]
        self.rows = iter(pictures if tower == "image" else sentences)

    def get_next(self):
        return next(self.rows, None)


def shorten_names(graph: onnx.GraphProto) -> None:
    """The exporter's names are longer than a small model's weights."""
    short = {value.name: value.name for value in [*graph.input, *graph.output]} | {"": ""}
    new = lambda name: short.setdefault(name, f"v{len(short)}")
    for tensor in graph.initializer:
        tensor.name = new(tensor.name)
    for index, node in enumerate(graph.node):
        node.name, node.doc_string = f"n{index}", ""
        for names in (node.input, node.output):
            names[:] = [new(name) for name in names]


def count(file: Path) -> int:
    """Floats in the weights, after batch norms are folded."""
    tensors = onnx.load(file).graph.initializer
    return sum(int(np.prod(t.dims)) for t in tensors if t.data_type == onnx.TensorProto.FLOAT)


def shaped(tokenizer, sentence: str, options: dict, padded: bool) -> list[int]:
    ids = wrap.shorten(tokenizer.encode(sentence).ids, options["context"])
    return ids + [options["pad"]] * (options["context"] - len(ids)) if padded else ids


def expected(folder: Path, tokenizer, options: dict) -> dict:
    """onnxruntime's embeddings, normalised, from the very files of the bundle, and its median milliseconds on one thread."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 3
    result, ms = {}, {}
    padded = "fixed_length = true" in (folder / "lookout.toml").read_text()
    inputs = {"image": [(seed, blocks(seed, options["size"])) for seed in (1, 2, 3)],
              "text": [(sentence, np.array([shaped(tokenizer, sentence, options, padded)])) for sentence in SENTENCES]}
    for tower, rows in inputs.items():
        session = onnxruntime.InferenceSession(folder / f"{tower}.onnx", settings, providers=["CPUExecutionProvider"])
        run = lambda value: session.run(None, {session.get_inputs()[0].name: value})[0][0]
        unit = lambda v: [float(f"{x:.6g}") for x in v / np.linalg.norm(v)]
        result[tower] = [{("seed" if tower == "image" else "sentence"): key, "embedding": unit(run(value))} for key, value in rows]
        times = []
        for _ in range(9):
            start = time.perf_counter()
            run(rows[1][1])
            times.append((time.perf_counter() - start) * 1e3)
        ms[tower] = round(sorted(times)[4], 2)
    return result | {"onnxruntime_ms": ms}


def main() -> None:
    if "--fixture" in sys.argv:
        for name, recipe in SMALL.items():
            build(name, recipe, FIXTURES)
        return
    for name in sys.argv[1:] or MODELS:
        build(name, MODELS[name], WORK / "bundles")


if __name__ == "__main__":
    main()
