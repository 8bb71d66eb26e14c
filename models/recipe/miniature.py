"""The whole recipe in miniature: 20 pictures, one pass a stage, in a folder of its own. Ends with a bundle that
`lookout bundle check` accepts. `python miniature.py FOLDER [STAGE...]`; run by `models/recipe/run miniature`.

The pictures are cuts of the demo picture with sentences made up for them: this shows that every stage runs, resumes
and hands on what the next one needs, and nothing about quality.
"""

import gzip
import io
import json
import os
import random
import subprocess
import sys
import tarfile
from pathlib import Path

from lookout_recipe.rooms import FIRST
from PIL import Image

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / "demo.jpg"
TRAIN, DEV, QUESTIONS, POOLED = 20, 8, 8, 4
THINGS, PLACES, COLOURS = ["dog", "bicycle", "child", "man", "ball"], ["on grass", "in front of a house", "in the snow"], ["red", "black", "white"]
STAGES = ["features", "pool", "text", "align", "names", "patch", "polish", "answers", "ground", "calibrate", "export"]


def cut(demo: Image.Image, dice: random.Random) -> bytes:
    width, height = (dice.uniform(0.4, 1.0) * side for side in demo.size)
    x, y = dice.uniform(0, demo.width - width), dice.uniform(0, demo.height - height)
    out = io.BytesIO()
    demo.crop((int(x), int(y), int(x + width), int(y + height))).resize((224, 224)).save(out, "JPEG")
    return out.getvalue()


def write_set(stem: Path, rows: list[dict], demo, dice) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(stem.with_suffix(".tar"), "w") as tar:
        for image in dict.fromkeys(row["image"] for row in rows):
            content = cut(demo, dice)
            member = tarfile.TarInfo(image)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    stem.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def described(index: int, dice: random.Random) -> dict:
    thing, place, colour = dice.choice(THINGS), dice.choice(PLACES), dice.choice(COLOURS)
    box = [dice.uniform(0, 0.4), dice.uniform(0, 0.4), dice.uniform(0.3, 0.6), dice.uniform(0.3, 0.6)]
    captions = [f"A {colour} {thing} {place} .", f"The {thing} is {place} .", f"A {thing} {place} .", f"A {colour} {thing} plays .", f"Someone sees a {thing} ."]
    phrases = [{"phrase": f"A {colour} {thing}", "type": "other", "boxes": [box]}, {"phrase": f"two {thing}s", "type": "other", "boxes": [box, box]}]
    return {"image": f"{index}.jpg", "width": 500, "height": 375, "captions": captions, "phrases": phrases}


def repository(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    git = ["git", "-C", str(folder), "-c", "user.name=recipe", "-c", "user.email=recipe@localhost"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "pictures"]):
        subprocess.run([*git, *words], check=True)


def make(folder: Path) -> None:
    dice, demo = random.Random(1), Image.open(DEMO).convert("RGB")
    data = folder / "data"
    write_set(data / "flickr8k" / "train", [described(i, dice) for i in range(TRAIN)], demo, dice)
    write_set(data / "flickr8k" / "dev", [described(i, dice) for i in range(DEV)], demo, dice)
    asked = [{"image": f"{i}.png", "question": "what is on the table ?", "answer": dice.choice(THINGS)} for i in range(QUESTIONS)]
    write_set(data / "daquar" / "train", asked * 2, demo, dice)
    (data / "imagenet-sample").mkdir()
    classes = [f"n{i:08}" for i in range(1000)]
    (data / "imagenet-sample" / "labels.jsonl").write_text("".join(json.dumps({"image": f"{c}.jpg", "label": f"thing {i}"}) + "\n" for i, c in enumerate(classes)))
    (data / "text").mkdir()
    with gzip.open(data / "text" / "flickr30k-sentences.txt.gz", "wt") as lines:
        lines.writelines(f"A {c} {t} {p} .\n" for c in COLOURS for t in THINGS for p in PLACES for _ in range(8))
    several = lambda pattern: {pattern.format(i): cut(demo, dice) for i in range(POOLED)}
    pool = folder / "pool"
    repository(pool / "thunderInfy+imagenette", several("train/n00000001/{}.jpg") | several("val/n00000002/{}.jpg") | several("val/n00000003/{}.jpg"))
    repository(pool / "seshuad+IMagenet", several("tiny-imagenet-200/train/n00000004/images/{}.JPEG"))
    repository(pool / "BernieChen96+ImageClassification", several("HandledImages/specifiedArea/bus-{}.jpg"))
    repository(pool / "afroozsheikh+Intel-Image-Classifier", several("train/forest/{}.jpg"))
    worn = "image,sender_id,label,kids\n" + "".join(f"{i},1,T-Shirt,False\n" for i in range(POOLED))
    repository(pool / "alexeygrigorev+clothing-dataset", several("images/{}.jpg") | {"images.csv": worn.encode()})
    repository(pool / "marcusklasson+GroceryStoreDataset", several("dataset/train/Fruit/Apple/Pink-Lady/{}.jpg"))
    repository(pool / "chanakya2734+Image-classification-using-CNN", several("dataset/training_set/cats/{}.jpg"))
    acted = "filename,label\n" + "".join(f"C:/train/{i}.jpg,running\n" for i in range(POOLED))
    repository(pool / "umareddy123+Human_activity_recognition", several("train/{}.jpg") | {"Training_set.csv": acted.encode()})
    repository(pool / "Vigneshraj15+SportsActivityDetection", several("train/golf/{}.jpg"))
    repository(pool / "aizadaaskar+dl-homework", several("train/piano/{}.jpg"))
    repository(pool / "MaxAndolini+hCaptcha-Images", several("boat/{}.jpg"))
    repository(pool / "mh10a007+object_recognition_model", several("dataset/phone/{}.jpg"))
    repository(pool / "krish212+vgg", several("data/cup/{}.jpg"))
    repository(pool / "congduytran12+Trash-Classification-", several("dataset-resized/glass/{}.jpg"))
    repository(pool / "ZhaoyueCheng+Image-Style-Recognition", several("train/{}.jpg"))
    listed = "clean_label,original_labels,seglistall index,seg37list index,seg37list label,images,number of images\n"
    listed += "".join(f"{t},{t},1,,,[{' '.join(str(FIRST + i) for i in range(QUESTIONS) if i % 3)}],5\n" for t in THINGS) + "wall,wall,2,1,wall,[1 2 3 ...],9553\n"
    repository(pool / "crmauceri+SUNRGBD_COCO", {"seglistall.csv": listed.encode()})


def one_network(bundle: Path, environment: dict) -> None:
    """From the bundle on: its grounder alone is written anew, then its decoder, then none, and the other networks stay as they
    are."""
    subprocess.run([str(HERE / "run"), "thaw", "--force"], check=True, env=environment)
    for role, constants in (("ground", "ground"), ("decoder", "check"), ("manifest", "check")):
        others = {path: path.read_bytes() for path in bundle.glob("*.onnx") if path.name != f"{role}.onnx"}
        for words in (["calibrate", "--only", constants], ["export", "--only", role]):
            subprocess.run([str(HERE / "run"), *words], check=True, env=environment)
        for path, content in others.items():
            if path.read_bytes() != content:
                raise SystemExit(f"{path.name} was written too")


def main(folder: Path, stages: list[str]) -> None:
    if not folder.exists():
        folder.mkdir(parents=True)
        make(folder)
    environment = {
        **os.environ,
        "LOOKOUT_DATA": str(folder / "data"),
        "LOOKOUT_POOL": str(folder / "pool"),
        "LOOKOUT_WORK": str(folder / "work"),
        "LOOKOUT_OUT": str(folder / "bundle"),
        "LOOKOUT_LOG": str(folder / "log.jsonl"),
        "LOOKOUT_SENTENCES": "1200",
    }
    for stage in stages or STAGES:
        trained = stage in ("text", "align", "names", "patch", "polish", "answers", "ground")
        subprocess.run([str(HERE / "run"), stage, *(["--passes", "1"] if trained else [])], check=True, env=environment)
    if not stages:
        one_network(folder / "bundle", environment)
        subprocess.run([sys.executable, str(HERE / "on_gpu.py")], check=True, env=environment)
    print("a bundle in miniature:", folder / "bundle")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
