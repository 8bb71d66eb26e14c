"""`prepare.py BUNDLE OUT`: everything that the other engines run, made from a bundle, and the inputs.

| file in OUT | what it is |
|---|---|
| `NAME.onnx`, `NAME-last.onnx` | float32 twin; 1 x 1 convolutions as `Conv`, or as `MatMul` over channels that come last |
| `NAME*-dynamic-*.onnx` | onnxruntime's dynamic int8 of these: all layers or `MatMul` only, a scale a tensor or a channel |
| `NAME-qdq-*.onnx` | static int8 with a scale a channel, calibrated on the demo picture and on made-up ones |
| `pixels.f32`, `patches.f32` | the demo picture as the bundle wants it, and its patch tokens |
| `prepared.json` | what there is, the token ids, the multiply-adds |

Which candidate is the fastest differs between engines and machines, so all are kept and compare.py lets them compete.
"""

import hashlib
import json
import logging
import sys
import tomllib
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image

from stock import multiply_adds, stock

PICTURE = Path(__file__).parent.parent / "models" / "demo.jpg"
MADE_UP = 12
TEXT_TOKENS = 12
CAPTION_WORDS = 12


def made_up(count: int) -> list[Image.Image]:
    """Smooth fields with rough parts, so that calibration sees more than one picture's ranges."""
    random, pictures = np.random.default_rng(0), []
    for _ in range(count):
        coarse = random.integers(0, 256, (*random.integers(2, 9, 2), 3), np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC), np.float32)
        rough = random.normal(0, random.uniform(0, 60), smooth.shape) * (smooth[..., :1] > random.uniform(40, 220))
        pictures.append(Image.fromarray(np.clip(smooth + rough, 0, 255).astype(np.uint8)))
    return pictures


def pixels(picture: Image.Image, rules: dict) -> np.ndarray:
    """[1,3,H,W] by the bundle's `[picture]`."""
    size, crop = (rules["width"], rules["height"]), rules["rule"] == "crop"
    filter = Image.Resampling[rules["filter"].upper()]
    picture = picture.convert("RGB")
    if crop:
        scale = max(size[0] / picture.width, size[1] / picture.height)
        wide, high = round(picture.width * scale), round(picture.height * scale)
        left, top = (wide - size[0]) // 2, (high - size[1]) // 2
        picture = picture.resize((wide, high), filter).crop((left, top, left + size[0], top + size[1]))
    else:
        picture = picture.resize(size, filter)
    values = (np.asarray(picture, np.float32) / 255 - rules["mean"]) / rules["std"]
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None].astype(np.float32))


class Pictures(CalibrationDataReader):
    def __init__(self, name: str, arrays: list[np.ndarray]):
        self.left = [{name: array} for array in arrays]

    def get_next(self):
        return self.left.pop() if self.left else None


def dynamic(source: Path) -> list[str]:
    """Every variant that the network has layers for."""
    kinds = {node.op_type for node in onnx.load(source, load_external_data=False).graph.node}
    made = []
    for layers, types in (("all", None), ("matmul", ["MatMul"])):
        if types and not ("Conv" in kinds and "MatMul" in kinds):
            continue
        for scale, per_channel in (("tensor", False), ("channel", True)):
            target = source.with_name(f"{source.stem}-dynamic-{layers}-{scale}.onnx")
            quantize_dynamic(source, target, op_types_to_quantize=types, per_channel=per_channel)
            made.append(target.name)
    return made


def static(source: Path, arrays: list[np.ndarray]) -> list[str]:
    prepared, made = source.with_name("prepared.tmp"), []
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    name = onnx.load(prepared).graph.input[0].name
    for layers, types in (("all", None), ("heavy", ["Conv", "MatMul", "Add"])):
        target = source.with_name(f"{source.stem}-qdq-{layers}.onnx")
        quantize_static(
            prepared, target, Pictures(name, arrays), quant_format=QuantFormat.QDQ, op_types_to_quantize=types,
            per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )
        made.append(target.name)
    prepared.unlink()
    return made


def key(bundle: Path) -> str:
    """Of what the networks in OUT were made from: the manifest has the hash of every file of the bundle."""
    sources = [Path(__file__).parent / name for name in ("prepare.py", "stock.py")] + [bundle / "lookout.toml"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources) + ort.__version__.encode()).hexdigest()


def is_prepared(bundle: Path, out: Path) -> bool:
    index = out / "prepared.json"
    return index.exists() and json.loads(index.read_text())["key"] == key(bundle)


def prepare(bundle: Path, out: Path) -> dict:
    """Makes what is missing; says what there is."""
    manifest, index = tomllib.loads((bundle / "lookout.toml").read_text()), out / "prepared.json"
    if is_prepared(bundle, out):
        return json.loads(index.read_text())
    logging.getLogger().setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    out.mkdir(parents=True, exist_ok=True)
    arrays = [pixels(picture, manifest["picture"]) for picture in (Image.open(PICTURE), *made_up(MADE_UP))]
    arrays[0].tofile(out / "pixels.f32")
    known = {"key": key(bundle), "bundle": manifest["name"], "roles": {}}
    for role in ("image", "text", "decoder"):
        if role not in manifest["files"]:
            continue
        model = onnx.load(bundle / manifest["files"][role]["path"])
        twins = {f"{role}.onnx": stock(model)}
        if role == "image":
            twins["image-last.onnx"] = stock(model, "MatMul")
            known["multiply_adds"], known["of_these_depthwise"] = multiply_adds(twins["image.onnx"])
        quantised = []
        for name, twin in twins.items():
            onnx.save(twin, out / name)
            quantised += dynamic(out / name)
        entry = {"float": list(twins), "dynamic": quantised, "qdq": static(out / "image.onnx", arrays) if role == "image" else []}
        known["roles"][role] = entry | {"input": inputs(role, model, manifest, bundle, out)}
    index.write_text(json.dumps(known, indent=1))
    return known


def inputs(role: str, model: onnx.ModelProto, manifest: dict, bundle: Path, out: Path) -> list:
    """What follows the model in a `load` request."""
    if role == "image":
        return [str(out / "pixels.f32")]
    if role == "text":
        tables = {t.name: t.dims for t in model.graph.initializer}
        words = next(tables[n.input[0]][0] for n in model.graph.node if n.op_type == "Gather" and len(tables.get(n.input[0], [])) == 2)
        length = manifest["text"]["context"] if manifest["text"]["fixed_length"] else TEXT_TOKENS
        return [",".join(str(2654435761 * (i + 1) % words) for i in range(length))]
    run = ort.InferenceSession(out / "image.onnx")
    run.run(["patches"], {"image": np.fromfile(out / "pixels.f32", np.float32).reshape(run.get_inputs()[0].shape)})[0].tofile(out / "patches.f32")
    tokenizer = json.loads((bundle / manifest["files"]["speaker_tokenizer"]["path"]).read_text())
    return [str(out / "patches.f32"), str(tokenizer["model"]["vocab"][manifest["speaker"]["start"]]), str(CAPTION_WORDS)]


if __name__ == "__main__":
    print(json.dumps(prepare(Path(sys.argv[1]), Path(sys.argv[2])), indent=1))
