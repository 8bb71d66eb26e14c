"""`python strangers.py IMAGES.tar LABELS.jsonl`: what the default bundle captions pictures of things that its speaker never
learned, and whether its scores know. The pictures are one of each ImageNet class: 118 are of dogs, and the speaker sees
dogs in many others. Prints how many captions name a dog, and how many of these score 0.5 or more, where there is one and
where there is none (other beasts of the dog's kind count as none), and the share of all captions that do.

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


def main(images: Path, labels: Path) -> None:
    rows = [json.loads(line) for line in labels.read_text().splitlines()]
    rows.sort(key=lambda row: row["image"])
    if len(rows) != 1000:
        raise SystemExit(f"{labels} has {len(rows)} rows, not one of each of a thousand classes")
    found = {True: [], False: []}
    every = []
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(images) as tar:
            tar.extractall(folder, filter="data")
        for place, row in enumerate(rows):
            said = lookout("caption", str(Path(folder) / row["image"]))
            every.append(said["score"] >= 0.5)
            if SAYS_DOG.search(said["caption"]):
                found[place in DOGS].append(said["score"] >= 0.5)
            print(f"\r{place + 1}/{len(rows)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    for there, scores in found.items():
        print(json.dumps({"there is a dog": there, "captions that name one": len(scores), "of these 0.5 or more": sum(scores)}))
    print(json.dumps({"captions": len(every), "of these 0.5 or more": sum(every)}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
