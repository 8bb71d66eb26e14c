"""`python gallery.py`: what the default bundle says of ten pictures that it never saw, as a table for the model card.

Nothing is chosen by its answers. Needs `target/release/lookout` (or `LOOKOUT_BINARY`).
"""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LOOKOUT = os.environ.get("LOOKOUT_BINARY", ROOT / "target" / "release" / "lookout")
FIXTURES = "../tests/fixtures/towers"
LABELS = "a dog, a cat, a horse, a bird, a person, a bicycle, a car, a rocket, a cup of coffee, food, a flower, a temple, a street, a kitchen, a beach, coins"
# Picture, from the folder of the card; a phrase to find; a question.
ASKED = [
    ("demo.jpg", "the bicycle", "what colour is the dog?"),
    (f"{FIXTURES}/astronaut.png", "a woman", "what is the woman wearing?"),
    (f"{FIXTURES}/camera.png", "a camera", "what is the man holding?"),
    (f"{FIXTURES}/chelsea.png", "the nose", "what animal is this?"),
    (f"{FIXTURES}/china.png", "the roof", "how many people are there?"),
    (f"{FIXTURES}/coffee.png", "a spoon", "what is on the table?"),
    (f"{FIXTURES}/flower.png", "the flower", "what colour is the flower?"),
    (f"{FIXTURES}/grace_hopper.png", "a hat", "what is the woman wearing?"),
    (f"{FIXTURES}/rocket.png", "the rocket", "what colour is the sky?"),
    ("../benches/daemon-still.jpg", "a person", "what is in the picture?"),
]


def lookout(*words: str) -> dict:
    return json.loads(subprocess.run([str(LOOKOUT), *words, "--json"], check=True, capture_output=True, text=True, cwd=ROOT / "models").stdout)


def main() -> None:
    print("| picture | caption and its score | labels of sixteen | a phrase and its best box | a question |\n|---|---|---|---|---|")
    for picture, phrase, question in ASKED:
        caption, answer = lookout("caption", picture), lookout("ask", picture, question)
        labels = lookout("label", picture, "--labels", LABELS)["labels"][:2]
        boxes = lookout("ground", picture, phrase)["boxes"]
        box = f"{[round(v) for v in boxes[0]['box']]} ({boxes[0]['score']:.2f})" if boxes else "none"
        said = ", ".join(f"{label['label']} {label['score']:.2f}" for label in labels)
        print(f"| <img src=\"{picture}\" width=\"120\"> | {caption['caption']} ({caption['score']:.2f}) | {said} | {phrase}: {box} | {question} {answer['answer']} ({answer['score']:.2f}) |")


if __name__ == "__main__":
    main()
