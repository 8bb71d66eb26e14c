"""Stage `pool`: pictures of things that Flickr8k does not show, from public repositories that hold the files themselves.

Three image teachers say of each picture what it is, each of a crop of its own: the one whose convolutions the image tower
inherits, and its smaller sisters. Where its set tells, a picture has a name as well. Cached like the views of the train
pictures: the frozen trunk's map at stride 16 of the first crop, and the teachers' class logits. Processes share the pictures
out among them; each resumes after its last batch.

`LOOKOUT_POOL` is a folder of git repositories (clones, bare or not) called `owner+name`; what is missing is cloned.
"""

import csv
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import data, trunk
from .device import DEVICE
from .features import CHUNK, FINE_TOKENS, SIZE, through, tokens, view
from .paths import SEED, WORK, record

POOL = Path(os.environ.get("LOOKOUT_POOL", WORK / "pool"))
STEM = WORK / "features" / "pool"
TINY_EACH, SCENES = 100, 6000
SISTERS = (1, 0)  # EfficientNet-Lite1 and Lite0, beside Lite2
# Scene folders, and clothing labels whose lower-case form is not what one says.
SCENE = {"buildings": "buildings", "forest": "a forest", "glacier": "a glacier", "mountain": "mountains", "sea": "the sea", "street": "a street"}
WORN = {"T-Shirt": "a t-shirt", "Longsleeve": "a long-sleeved shirt", "Body": "a baby bodysuit", "Outwear": "a jacket", "Pants": "trousers",
        "Polo": "a polo shirt", "Shoes": "shoes", "Shorts": "shorts", "Undershirt": "an undershirt", "Top": "a top", "Not sure": None, "Other": None, "Skip": None}  # fmt: skip

# Actions whose label is not what one says, and sets whose names are said without an article.
ACTION = {"calling": "a person calling", "using_laptop": "a person using a laptop", "texting": "a person texting on a phone",
          "listening_to_music": "a person listening to music", "fighting": "people fighting", "hugging": "people hugging"}  # fmt: skip
SPORTS, WASTE = "Vigneshraj15/SportsActivityDetection", "congduytran12/Trash-Classification-"
BARE = {SPORTS, WASTE}
ACTIONS_EACH, SPORTS_EACH, DRAWN_EACH, WASTE_EACH, THINGS_EACH, VARIED = 400, 60, 150, 300, 400, 5000
MISSPELT = {"acordian": "accordion", "marakas": "maracas", "saxaphone": "saxophone"}
MADE_UP = ("made of", "empty", "smiling", "closed eyes", "vertical")


def article(thing: str) -> str:
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def grocery(path: str) -> str:
    """`dataset/train/Fruit/Apple/Pink-Lady/1.jpg`: an apple; `.../Packages/Milk/Arla-.../1.jpg`: a carton of milk."""
    kind, thing = path.split("/")[2:4]
    thing = thing.replace("-", " ").lower().rstrip("s")
    return f"a carton of {thing}" if kind == "Packages" else article(thing)


class Repository:
    def __init__(self, name: str):
        self.folder = POOL / name.replace("/", "+")
        for inside in ("repo", "repo/.git"):
            if (POOL / name.replace("/", "+") / inside).exists():
                self.folder = POOL / name.replace("/", "+") / inside
        if not self.folder.exists():
            subprocess.run(["git", "clone", "--bare", "--depth=1", f"https://github.com/{name}", str(self.folder)], check=True)

    def git(self, *words: str) -> str:
        return subprocess.run(["git", "-C", str(self.folder), *words], check=True, capture_output=True, text=True).stdout

    def files(self, under: str = "") -> list[str]:
        listed = self.git("ls-tree", "-r", "-z", "--name-only", "HEAD").split("\0")
        return [f for f in listed if f.startswith(under) and f.lower().endswith((".jpg", ".jpeg", ".png"))]

    def contents(self, paths: list[str]):
        """The bytes of each file, in order."""
        with subprocess.Popen(["git", "-C", str(self.folder), "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
            for path in paths:
                reader.stdin.write(f"HEAD:{path}\n".encode())
                reader.stdin.flush()
                size = int(reader.stdout.readline().split()[-1])
                yield reader.stdout.read(size)
                reader.stdout.read(1)


def sets() -> list[tuple[str, list[tuple[str, str | None]]]]:
    """Repository and its (path, name or None) pairs. Validation parts are left for measuring."""
    dice, names, made = random.Random(SEED), data.class_names(), []
    folder = lambda path: path.split("/")[-2]

    def add(repository: str, pairs):
        made.append((repository, list(pairs)))

    def some(files, kind, each: int, name):
        """At most `each` pictures of a kind, with its name."""
        kinds = {}
        for f in files:
            kinds.setdefault(kind(f), []).append(f)
        return [(f, name(k)) for k, found in sorted(kinds.items()) for f in dice.sample(found, min(each, len(found)))]

    # without names: the ten of its validation part are a proxy for labels that were never taught
    add("thunderInfy/imagenette", [(f, None) for f in Repository("thunderInfy/imagenette").files("train/")])
    tiny = {}
    for f in Repository("seshuad/IMagenet").files("tiny-imagenet-200/train/"):
        tiny.setdefault(f.split("/")[2], []).append(f)
    add("seshuad/IMagenet", [(f, names.get(wnid)) for wnid, files in sorted(tiny.items()) for f in dice.sample(files, min(TINY_EACH, len(files)))])
    voc = Repository("BernieChen96/ImageClassification").files("HandledImages/specifiedArea/")
    add("BernieChen96/ImageClassification", [(f, article(kind)) for f in voc if (kind := f.split("/")[-1].split("-")[0]).isalpha()])
    scenes = Repository("afroozsheikh/Intel-Image-Classifier").files("train/")
    add("afroozsheikh/Intel-Image-Classifier", [(f, SCENE[folder(f)]) for f in dice.sample(scenes, min(SCENES, len(scenes)))])
    clothing = Repository("alexeygrigorev/clothing-dataset")
    worn = {row["image"]: row["label"] for row in csv.DictReader(io.StringIO(clothing.git("show", "HEAD:images.csv")))}
    label = lambda f: worn.get(f.split("/")[-1].split(".")[0], "Skip")
    add("alexeygrigorev/clothing-dataset", [(f, WORN.get(label(f), article(label(f).lower()))) for f in clothing.files("images/") if label(f) != "Skip"])
    add("marcusklasson/GroceryStoreDataset", [(f, grocery(f)) for f in Repository("marcusklasson/GroceryStoreDataset").files("dataset/train/")])
    animals = Repository("chanakya2734/Image-classification-using-CNN").files("dataset/training_set/")
    add("chanakya2734/Image-classification-using-CNN", [(f, article(folder(f).removesuffix("s"))) for f in animals])
    actions = Repository("umareddy123/Human_activity_recognition")
    done = {row["filename"].split("/")[-1]: row["label"] for row in csv.DictReader(io.StringIO(actions.git("show", "HEAD:Training_set.csv")))}
    acted = [f for f in actions.files("train/") if f.split("/")[-1] in done]
    label = lambda f: done[f.split("/")[-1]]
    add("umareddy123/Human_activity_recognition", some(acted, label, ACTIONS_EACH, lambda kind: ACTION.get(kind, f"a person {kind}")))

    def foldered(repository: str, under: str, each: int, name, unless: tuple = ()):
        files = [f for f in Repository(repository).files(under) if not any(word in folder(f) for word in unless)]
        add(repository, some(files, folder, each, name))

    foldered(SPORTS, "train/", SPORTS_EACH, str)
    foldered("aizadaaskar/dl-homework", "train/", THINGS_EACH, lambda kind: article(MISSPELT.get(kind, kind).lower()))
    foldered("MaxAndolini/hCaptcha-Images", "", DRAWN_EACH, article, MADE_UP)
    foldered("mh10a007/object_recognition_model", "dataset/", THINGS_EACH, lambda kind: kind if kind == "headphones" else article(kind.replace("_", " ")))
    foldered("krish212/vgg", "data/", THINGS_EACH, article, ("public",))
    foldered(WASTE, "dataset-resized/", WASTE_EACH, str)
    varied = Repository("ZhaoyueCheng/Image-Style-Recognition").files("train/")
    add("ZhaoyueCheng/Image-Style-Recognition", [(f, None) for f in dice.sample(varied, min(VARIED, len(varied)))])
    return made


def listed() -> list[dict]:
    """Every picture: repository, path, name (or None). Written once, so that the caches keep their order."""
    path = STEM.with_suffix(".pictures.json")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([{"set": repository, "path": f, "name": name} for repository, pairs in sets() for f, name in pairs]))
    return json.loads(path.read_text())


def arrays(count: int):
    """Maps `[pictures, tokens, channels]` and class logits `[pictures, teachers, 1000]`."""
    mode = "r+" if STEM.with_suffix(".fine").exists() else "w+"
    fine = np.memmap(STEM.with_suffix(".fine"), np.float16, mode, shape=(count, FINE_TOKENS, trunk.FINE))
    return fine, np.memmap(STEM.with_suffix(".classes"), np.float16, mode, shape=(count, 1 + len(SISTERS), 1000))


def window(dice: random.Random):
    width, height = dice.uniform(0.7, 1.0), dice.uniform(0.7, 1.0)
    return dice.uniform(0, 1 - width), dice.uniform(0, 1 - height), width, height, dice.random() < 0.5


def pictures(items: list[dict]):
    at = 0
    while at < len(items):
        name = items[at]["set"]
        end = next((i for i in range(at, len(items)) if items[i]["set"] != name), len(items))
        for content in Repository(name).contents([item["path"] for item in items[at:end]]):
            try:
                picture = Image.open(io.BytesIO(content)).convert("RGB").resize((SIZE, SIZE), Image.BICUBIC)
            except OSError:  # one broken file of many thousand
                picture = Image.new("RGB", (SIZE, SIZE))
            yield np.asarray(picture)
        at = end


def held() -> tuple[np.ndarray, list[int], list[str]]:
    """Every fourth picture of Imagenette's validation part: maps, place of its name, names. None was trained on."""
    path = STEM.with_suffix(".held.npz")
    if not path.exists():
        repository, names = Repository("thunderInfy/imagenette"), data.class_names()
        files = repository.files("val/")[::4]
        model = trunk.quick()
        seen = list(pictures([{"set": "thunderInfy/imagenette", "path": f} for f in files]))
        with torch.inference_mode():
            maps = [tokens(through(model, seen[at : at + CHUNK])[0]) for at in range(0, len(seen), CHUNK)]
        np.savez(path, fine=np.concatenate(maps), labels=[names[f.split("/")[1]] for f in files])
    cached = np.load(path)
    names = sorted({*cached["labels"].tolist()})
    return cached["fine"], [names.index(label) for label in cached["labels"].tolist()], names


def logits(teacher: trunk.Trunk, coarse) -> np.ndarray:
    return teacher.classes(coarse).half().cpu().numpy()


def progress(part: int, parts: int) -> Path:
    return STEM.with_suffix(f".{part}-of-{parts}.json")


def seen() -> bool:
    """Whether the pool was looked at, all of it."""
    done = [json.loads(path.read_text())["done"] for path in STEM.parent.glob("pool.*-of-*.json")]
    return bool(done) and sum(done) == len(listed())


def look(part: int, parts: int) -> None:
    """Looks at one part of the pool."""
    if parts > 1:
        torch.set_num_threads(1)
    items, began = listed(), time.time()
    fine, classes = arrays(len(items))
    first, last = len(items) * part // parts, len(items) * (part + 1) // parts
    done = json.loads(progress(part, parts).read_text())["done"] if progress(part, parts).exists() else 0
    model, sisters = trunk.quick(), [trunk.quick(lite) for lite in SISTERS]
    batch = []
    with torch.inference_mode():
        for index, pixels in enumerate(pictures(items[first + done : last]), first + done):
            batch.append(pixels)
            if len(batch) == CHUNK or index == last - 1:
                at = slice(index + 1 - len(batch), index + 1)
                dice = [random.Random(SEED + i) for i in range(at.start, at.stop)]
                crop = lambda: [view(pixels, window(d)) for pixels, d in zip(batch, dice)]
                a, b = through(model, crop())
                fine[at], classes[at, 0] = tokens(a), logits(model, b)
                for teacher, (lite, sister) in enumerate(zip(SISTERS, sisters), 1):
                    _, b = through(sister, crop(), trunk.SMALLER[lite][2])
                    classes[at, teacher] = logits(sister, b)
                batch = []
                progress(part, parts).write_text(json.dumps({"done": index + 1 - first}))
                if (index - first) // CHUNK % 50 == 0:
                    print(f"part {part + 1} of {parts}:", index + 1 - first, "of", last - first, round(time.time() - began), "s", flush=True)
    fine.flush(), classes.flush()


def main() -> None:
    items, began = listed(), time.time()
    arrays(len(items))
    parts = 1 if DEVICE.type != "cpu" else os.cpu_count() or 1
    for path in STEM.parent.glob("pool.*-of-*.json"):
        if not path.name.endswith(f"-of-{parts}.json"):
            raise SystemExit(f"{path} is of another number of processors than {parts}: remove these files to begin anew")
    workers = [subprocess.Popen([sys.executable, "-u", "-m", "lookout_recipe.pool", f"{part}/{parts}"]) for part in range(parts)]
    if any([worker.wait() for worker in workers]):
        raise SystemExit("a part of the pool failed, see above; run again to resume")
    kinds = {}
    for item in items:
        kinds[item["set"]] = kinds.get(item["set"], 0) + 1
    record("pool", pictures=len(items), teachers=1 + len(SISTERS), sets=kinds, seconds=round(time.time() - began))


def proxy() -> None:
    """Imagenette's validation part as a set that `lookout eval label` reads."""
    repository, names, stem = Repository("thunderInfy/imagenette"), data.class_names(), WORK / "proxy" / "imagenette-val"
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = repository.files("val/")
    with tarfile.open(stem.with_suffix(".tar"), "w") as tar, open(stem.with_suffix(".jsonl"), "w") as rows:
        for f, content in zip(files, repository.contents(files)):
            _, wnid, image = f.split("/")
            member = tarfile.TarInfo(image)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            rows.write(json.dumps({"image": image, "label": names[wnid]}) + "\n")
    print(len(files), "pictures in", stem.with_suffix(".tar"))


if __name__ == "__main__":
    if "proxy" in sys.argv:
        proxy()
    elif len(sys.argv) > 1:
        look(*map(int, sys.argv[1].split("/")))
    else:
        main()
