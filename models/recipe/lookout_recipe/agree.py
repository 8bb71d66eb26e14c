"""Stage `agree`: does the int8 bundle on the runtime answer as the float networks do? And if not, which part costs it?

The first 200 pictures of Flickr8k dev, stretched by Pillow, go to both as the same pixels. Compared are the best of
fixed labels and "none of these", the greedy caption, the embedding and every fifth patch token; then the same with the
float networks rounded one part at a time (see `rounding`). Needs the release binary: `cargo build --release`, or another
one in LOOKOUT_BINARY.
"""

import copy
import functools
import hashlib
import json
import os
import subprocess
import tarfile
import tomllib
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer

from . import data, trunk
from .align import embed_texts, encode, recall
from .export import SIZE, trained
from .model import GRID, PATCH
from .patch import said
from .paths import BUNDLE, REPOSITORY, WORK, record
from .presence import as_labels
from .rounding import fold, round_activations, round_weights, rounded
from .words import ANSWER, END, QUESTION, START, clean

PICTURES, FEW, EVERY = 200, 50, 5
OUT = WORK / "agree"
SET = "flickr8k/dev"
LABELS = """a dog, a cat, a horse, a bird, a cow, a man, a woman, a boy, a girl, a baby, a crowd of people, a football player,
a bicycle, a motorcycle, a car, a bus, a train, a boat, a skateboard, a surfboard, a ball, a swing, a slide, a swimming pool,
a beach, a lake, a river, a waterfall, a mountain, snow, a forest, a grass field, a street, a building, a kitchen,
a living room, a bedroom, a sofa, a chair, a table, a bed, a lamp, a window, a television, a computer, a book, a guitar,
food, a cup, a flower"""
NONE = "none of these"
FORMS = ("float", "weights", "activations", "int8")
# What the runtime never says, and the run of tokens that it never says twice.
NEVER, RUN = ["[PAD]", "[UNK]", "[MASK]", START, QUESTION, ANSWER], 3


class Networks:
    """Image tower, text tower and speaker in one form: float, or rounded in weights, activations or both."""

    def __init__(self, networks, form: str):
        self.body, self.head, self.text, self.speaker = copy.deepcopy(networks)
        if form in ("weights", "int8"):
            for part in (self.body, self.head, self.text, self.speaker):
                round_weights(part)
        if form in ("activations", "int8"):
            # The stem loses nothing, and its results stay float: see `export.image_graph`.
            for part in (self.body.blocks, self.head, self.text, self.speaker):
                round_activations(part)
            self.speaker.norm.register_forward_hook(lambda _, __, out: rounded(out))

    def see(self, pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """`[B, 256, 256, 3]` uint8 to unit embeddings `[B, 384]` and patches `[B, 256, 256]`."""
        embeddings, patches = [], []
        for part in torch.from_numpy(pixels).split(25):
            x = self.body.stem(trunk.normalised(part))
            for block in self.body.blocks[: trunk.LAST_FINE_BLOCK + 1]:
                x = block(x)
            fine = x.flatten(2).transpose(1, 2)
            tokens, features = self.head.coarse(fine)
            embeddings.append(F.normalize(self.head.embed(tokens, features), dim=-1))
            patches.append(self.head.patches(fine, tokens))
        return torch.cat(embeddings), torch.cat(patches)

    def name(self, labels: list[str], templates: list[str]) -> torch.Tensor:
        return as_labels(self.text, templates, labels)

    def caption(self, patches: torch.Tensor, tokenizer: Tokenizer, most: int):
        """Greedy captions, and for each the lead in log-probability of every word over the next best one."""
        start, end = (tokenizer.token_to_id(t) for t in (START, END))
        banned = [tokenizer.token_to_id(t) for t in NEVER]
        words, leads, open_ = [[] for _ in patches], [[] for _ in patches], list(range(len(patches)))
        for _ in range(most):
            if not open_:
                break
            logits = self.speaker(torch.tensor([[start, *words[i]] for i in open_]), patches[open_])[:, -1].log_softmax(-1)
            logits[:, banned] = -torch.inf
            for row, i in enumerate(open_):
                logits[row, closing(words[i])] = -torch.inf
            best = logits.topk(2)
            for i, tokens, scores in zip(open_, best.indices, best.values):
                words[i].append(tokens[0].item()), leads[i].append((scores[0] - scores[1]).item())
            open_ = [i for i in open_ if words[i][-1] != end]
        return [[t for t in w if t != end] for w in words], leads

    def surprise(self, patches: torch.Tensor, captions: list[list[list[int]]]) -> float:
        """Mean negative log-probability of a token of people's captions."""
        lost, count = 0.0, 0
        for at in range(0, len(captions), 20):
            ids, want = said([([c[0]], c[1:]) for five in captions[at : at + 20] for c in five])
            logits = self.speaker(ids, patches[at : at + 20])
            lost += F.cross_entropy(logits.flatten(0, 1), want.flatten(), ignore_index=-100, reduction="sum").item()
            count += (want >= 0).sum().item()
        return lost / count


def closing(words: list[int]) -> list[int]:
    """The tokens that would complete a run that was said before."""
    tail = words[len(words) - RUN + 1 :]
    return [words[i + RUN - 1] for i in range(len(words) - RUN + 1) if words[i : i + RUN - 1] == tail] if len(words) >= RUN - 1 else []


class Runtime:
    """The lookout binary with a bundle."""

    def __init__(self, bundle: Path):
        self.binary, self.bundle = os.environ.get("LOOKOUT_BINARY", REPOSITORY / "target" / "release" / "lookout"), bundle

    def __call__(self, *words) -> dict:
        done = subprocess.run([self.binary, *words, "--bundle", self.bundle, "--json", "--quiet"], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"lookout {' '.join(map(str, words))}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def label(self, picture: Path, labels: list[str]) -> str:
        answer = self("label", picture, "--labels", ",".join(labels))
        best = answer["labels"][0]
        return NONE if answer["none"] > best["score"] else best["label"]

    def embed(self, picture: Path) -> list[float]:
        return self("embed", picture)["embedding"]


def patches_as_embedding(folder: Path) -> Path:
    """A bundle of the committed image tower that gives every fifth patch token for an embedding (16,384 values are the
    most that one may have), so that `lookout embed` prints them."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load(str(BUNDLE / "image.onnx"))
    patches = next(n.input[0] for n in model.graph.node if n.output[0] == "patches")
    kept = [n for n in model.graph.node if n.output[0] not in ("patches", "embedding")]
    chosen = list(range(0, GRID * GRID, EVERY))
    for name, values in {"chosen": chosen, "flat": [1, len(chosen) * PATCH]}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
    kept.append(onnx.helper.make_node("Gather", [patches, "chosen"], ["some"], name="some", axis=1))
    kept.append(onnx.helper.make_node("Reshape", ["some", "flat"], ["embedding"], name="flatten"))
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(kept)
    model.graph.output.append(onnx.helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, [1, len(chosen) * PATCH]))
    content = model.SerializeToString()
    (folder / "image.onnx").write_bytes(content)
    picture = next(part for part in (BUNDLE / "lookout.toml").read_text().split("\n\n") if part.startswith("[picture]"))
    file = f'path = "image.onnx"\nsha256 = "{hashlib.sha256(content).hexdigest()}"\nbytes = {len(content)}\nquantisation = "int8"'
    head = 'format = 1\nname = "patches"\nversion = "1"\nlicence = "as the default bundle"'
    parts = [head, picture, f"[embedding]\nwidth = {len(chosen) * PATCH}", f"[files.image]\n{file}"]
    (folder / "lookout.toml").write_text("\n\n".join(parts) + "\n")
    return folder


def image_layers(networks: Networks) -> dict[str, list[nn.Module]]:
    """The image tower's layers, by what they are and how early."""
    blocks = [*networks.body.blocks[: trunk.LAST_FINE_BLOCK + 1], *networks.head.tail]
    early, middle, tail = blocks[:3], blocks[3 : trunk.LAST_FINE_BLOCK + 1], blocks[trunk.LAST_FINE_BLOCK + 1 :]
    groups = {"stem": [networks.body.stem]}
    for name, part in {"0-2": early, "3-14": middle, "15-20": tail}.items():
        groups[f"depthwise {name}"] = [b.depthwise for b in part]
        groups[f"pointwise {name}"] = [c for b in part for c in (b.expand, b.project) if c]
    head = networks.head
    groups["head"] = [head.head, head.narrow, head.blocks, head.shortcut, head.project, head.patch_fine, head.patch_coarse]
    return groups


def share(ours: list, theirs: list) -> float:
    return round(100 * sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours), 1)


def cosine(ours: torch.Tensor, theirs: torch.Tensor) -> dict:
    each = F.cosine_similarity(ours, theirs, dim=-1).flatten()
    return {"mean": round(each.mean().item(), 5), "least": round(each.min().item(), 5)}


def median(values) -> float:
    return round(float(np.median(list(values))), 3)


def lay_out(images: list[str], pixels: np.ndarray) -> None:
    """The pixels as pictures for the runtime: files, and a set for `lookout eval`."""
    (OUT / "pixels").mkdir(parents=True, exist_ok=True)
    with tarfile.open(OUT / "dev.tar", "w") as tar, open(OUT / "dev.jsonl", "w") as lines:
        for row, picture in zip(data.rows(SET), pixels, strict=True):
            path = OUT / "pixels" / Path(row["image"]).with_suffix(".png").name
            Image.fromarray(picture).save(path, compress_level=1)
            tar.add(path, path.name)
            lines.write(json.dumps({"image": path.name, "captions": row["captions"]}) + "\n")


@torch.inference_mode()
def main() -> None:
    manifest = tomllib.loads((BUNDLE / "lookout.toml").read_text())
    calibration, most = manifest["calibration"], manifest["speaker"]["max_tokens"]
    tokenizer = Tokenizer.from_file(str(BUNDLE / "speaker-tokenizer.json"))
    labels = [" ".join(label.split()) for label in LABELS.split(",")]
    images = data.images(SET)
    pixels = np.stack(list(data.pictures(SET, SIZE, images)))
    lay_out(images, pixels)
    some = [OUT / "pixels" / f"{Path(image).stem}.png" for image in images[:PICTURES]]

    lookout = Runtime(BUNDLE)
    said_by_runtime = [lookout("caption", path, "--beams", "1")["caption"] for path in some]
    named_by_runtime = [lookout.label(path, labels) for path in some]
    embedded = torch.tensor([lookout.embed(path) for path in some])
    peek = Runtime(patches_as_embedding(OUT / "patches-bundle"))
    tokens = torch.tensor([peek.embed(path) for path in some]).unflatten(1, (-1, PATCH))
    found = lookout("eval", "retrieve", "--images", OUT / "dev.tar", "--rows", OUT / "dev.jsonl")

    body, head, text, speaker, _ = trained()
    whole = [body, fold(head), fold(text), speaker]
    forms = {form: Networks(whole, form) for form in FORMS}
    seen = {form: networks.see(pixels[:PICTURES]) for form, networks in forms.items()}
    words = {form: networks.name(labels, manifest["text"]["templates"]) for form, networks in forms.items()}

    background = {form: embed_texts(networks.text, encode(calibration["background"])).mean(0) for form, networks in forms.items()}
    presence = calibration["presence"]

    def shares(image: str, text: str) -> torch.Tensor:
        """Of the labels and of none of them, as `src/sight/contest.rs` shares them."""
        scores, usual = seen[image][0] @ words[text].t(), seen[image][0] @ background[text]
        there = (presence["scale"] * scores.max(1).values + presence["background"] * usual + presence["bias"]).sigmoid().unsqueeze(1)
        return torch.cat([there * (scores / calibration["temperature"]).softmax(-1), 1 - there], 1)

    def named(image: str, text: str) -> list[str]:
        return [[*labels, NONE][i] for i in shares(image, text).argmax(1)]

    @functools.cache
    def caption(image: str, speaker: str) -> tuple[list[str], list, list]:
        spoken, leads = forms[speaker].caption(seen[image][1], tokenizer, most)
        return [tokenizer.decode(s) for s in spoken], spoken, leads

    right, (spoken, ids, leads) = named("float", "float"), caption("float", "float")
    first, second = shares("float", "float").topk(2).values.t()
    differ = [i for i in range(PICTURES) if named_by_runtime[i] != right[i]]
    margins = {}
    for i in differ:  # of a pair that comes twice the larger margin
        pair = f"{right[i]} / {named_by_runtime[i]}"
        margins[pair] = max(round((first - second)[i].item(), 4), margins.get(pair, 0.0))
    parted = {True: [], False: []}
    for i, text in enumerate(said_by_runtime):
        heard = tokenizer.encode(text, add_special_tokens=False).ids
        at = len(os.path.commonprefix([heard, ids[i]]))
        parted[text == spoken[i]].append(min(leads[i]) if text == spoken[i] else leads[i][min(at, len(leads[i]) - 1)])

    weights_of = {}
    for group in image_layers(forms["float"]):
        one = Networks(whole, "float")
        for layer in image_layers(one)[group]:
            round_weights(layer)
        near = zip(one.see(pixels[:FEW]), seen["float"], strict=True)
        weights_of[group] = dict(zip(("embedding", "patches"), (cosine(a, b[:FEW])["mean"] for a, b in near), strict=True))

    rungs = FORMS[1:]
    people = [[tokenizer.encode(f"{START} {clean(c)} {END}", add_special_tokens=False).ids for c in row["captions"]] for row in data.rows(SET)[:PICTURES]]
    pictures = torch.cat([seen["float"][0], forms["float"].see(pixels[PICTURES:])[0]])
    captions = embed_texts(forms["float"].text, encode([c for row in data.rows(SET) for c in row["captions"]]))
    record(
        "agree",
        bundle=found["bundle"],
        pictures=PICTURES,
        labels=len(labels),
        top1=share(named_by_runtime, right),
        caption=share(said_by_runtime, spoken),
        cosine={"embedding": cosine(embedded, seen["float"][0]), "patches": cosine(tokens, seen["float"][1][:, ::EVERY])},
        label_margins={"where_they_differ": margins, "median_of_all": median(first - second)},
        caption_leads={"where_they_part": median(parted[False] or [0]), "least_word_of_the_same": median(parted[True])},
        top1_of_part={"image": {r: share(named(r, "float"), right) for r in rungs}, "text": {r: share(named("float", r), right) for r in rungs}, "both": share(named("int8", "int8"), right)},
        caption_of_part={"image": {r: share(caption(r, "float")[0], spoken) for r in rungs}, "speaker": {r: share(caption("float", r)[0], spoken) for r in rungs}, "both": share(caption("int8", "int8")[0], spoken)},
        cosine_of_part={r: {"embedding": cosine(seen[r][0], seen["float"][0]), "patches": cosine(seen[r][1], seen["float"][1])} for r in rungs},
        image_weights_of=weights_of,
        rounded_to_runtime={
            "top1": share(named("int8", "int8"), named_by_runtime),
            "caption": share(caption("int8", "int8")[0], said_by_runtime),
            "embedding": cosine(seen["int8"][0], embedded),
            "patches": cosine(seen["int8"][1][:, ::EVERY], tokens),
        },
        surprise={form: round(forms[form].surprise(seen[form][1], people), 4) for form in FORMS},
        retrieval={"float": (recalls := recall(pictures, captions)), "int8": {key: round(found[key], 1) for key in recalls}},
    )


if __name__ == "__main__":
    main()
