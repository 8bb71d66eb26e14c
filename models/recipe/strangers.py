"""`python strangers.py IMAGES.tar LABELS.jsonl [NAMED.txt]`: how the default bundle captions pictures of things that its speaker
never learned, and whether it knows. The pictures are one of each ImageNet class: 118 are of dogs, and the speaker sees dogs in
many others. Prints how many of its sentences name a dog, and how many of these are still what is shown with a score of 0.5 or
more, where there is one and where there is none (other beasts of the dog's kind count as none); then of all captions how many
have such a score, and how many of these are names in a sentence's place. NAMED.txt gets those, beside the class, to be read.

Needs `target/release/lookout` (or `LOOKOUT_BINARY`). The convolutions were trained on these pictures; their captions were not.
"""

import json
import re
import sys
import tarfile
import tempfile
from pathlib import Path

from gallery import lookout

# ImageNet's classes 151 to 268, in the order of their WordNet numbers, are breeds of dogs.
DOGS = range(151, 269)
SAYS_DOG = re.compile(r"\b(dogs?|pupp(y|ies))\b")


def main(images: Path, labels: Path, out: Path | None = None) -> None:
    rows = [json.loads(line) for line in labels.read_text().splitlines()]
    rows.sort(key=lambda row: row["image"])
    if len(rows) != 1000:
        raise SystemExit(f"{labels} has {len(rows)} rows, not one of each of a thousand classes")
    dogs = {True: [], False: []}
    sure, named = 0, []
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(images) as tar:
            tar.extractall(folder, filter="data")
        for place, row in enumerate(rows):
            said = lookout("caption", str(Path(folder) / row["image"]))
            by_name = "instead_of" in said
            sure += said["score"] >= 0.5
            if by_name:
                named.append(f"{row['label']}: {said['caption']} ({said['score']:.2f}), instead of {said['instead_of']}")
            if SAYS_DOG.search(said["instead_of"] if by_name else said["caption"]):
                dogs[place in DOGS].append(said["score"] >= 0.5 and not by_name)
            print(f"\r{place + 1}/{len(rows)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    for there, shown in dogs.items():
        print(json.dumps({"there is a dog": there, "sentences that name one": len(shown), "shown with 0.5 or more": sum(shown)}))
    print(json.dumps({"captions": len(rows), "with 0.5 or more": sure, "of these by name": len(named)}))
    if out:
        out.write_text("".join(line + "\n" for line in named))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
