"""Stage `swaps`: sentences that are wrong in one word, made from the captions of Flickr8k dev.

One noun, colour or count word of a caption is replaced by another of the same kind and number that no caption of the
picture uses, nor a word that may mean the same. The words, and how often each is drawn, are mined from the phrases and
captions of the train part. Writes `checks.jsonl`: rows for `lookout eval check`, and the halves that `calibrate` fits
on (`checks-fit.jsonl`) and that the published numbers are measured on (`checks-held.jsonl`).
"""

import json
import random
import re
from collections import Counter, defaultdict

from . import data
from .paths import SEED, WORK, record

COLOURS = "black white red blue green yellow brown orange pink purple gray".split()
COUNTS = "two three four five six".split()
ONE = ("one", "single")
# Words that may be said of the same thing: none of a group replaces another, or stands where another was said.
SAME = [
    "person people someone man men guy guys male woman women lady ladies female adult adults group crowd family couple team",
    "person people someone child children kid kids toddler baby teenager teenagers boy boys girl girls group crowd family couple team",
    "guy man gentleman male", "lady woman female", "men guys", "women ladies", "boy child kid toddler baby", "girl child kid toddler baby",
    "boys children kids", "girls children kids", "man player skateboarder snowboarder rider skier surfer biker climber hiker cyclist bicyclist motorcyclist racer runner skater",
    "man boy guy", "woman girl lady", "men boys guys", "women girls ladies", "biker cyclist bicyclist rider motorcyclist racer",
    "bike bicycle motorcycle motorbike scooter vehicle", "bikes bicycles motorbikes vehicles", "car truck vehicle jeep suv", "cars vehicles trucks",
    "dog puppy animal greyhound poodle retriever terrier collie beagle pitbull doberman", "dogs puppies animals greyhounds poodles",
    "bird duck swan pigeon seagull", "birds ducks geese pigeons seagulls swans", "cow bull", "horse pony", "boat raft canoe kayak",
    "water ocean lake river pool pond stream creek wave waves sea waters puddle fountain shore beach waterfall", "grass field lawn yard park garden backyard",
    "snow slope mountain hill", "hill mountain cliff mountains hills trail path rock rocks landscape ledge", "street road sidewalk pavement path track trail lot",
    "building house store shop city restaurant bar", "beach sand shore ocean", "ramp slide rail railing", "fence rail railing wall", "sidewalk walkway path",
    "shirt t-shirt top jersey outfit uniform clothes clothing sweater sweatshirt", "jacket coat sweater hoodie vest sweatshirt", "hat cap helmet headband bandanna", "pants jeans trunks shorts",
    "suit outfit costume uniform clothes clothing wetsuit swimsuit", "dress outfit costume", "bikini swimsuit", "sunglasses glasses goggles", "bag backpack purse", "collar leash harness",
    "mouth face head lips teeth tongue nose smile", "hair head", "hand hands arm arms finger fingers", "leg legs feet", "face faces head heads eyes",
    "ball toy basketball football baseball frisbee soccer volleyball object", "stick branch log pole", "rock wall ledge", "table chair bench couch bed", "phone cellphone camera",
    "stairs steps", "tree trees branch leaves woods forest", "sign picture paper", "rope swing", "skateboard board surfboard snowboard surf", "bottle cup drink glass",
    "orange yellow red", "gray white black", "gray blue", "brown red", "brown black", "purple blue", "pink red", "brown orange", "pink purple", "green yellow",
]
VAGUE = set("one ones something object others other all open back outside outdoors someone area equipment structure gear top surface edge spot spots line range corner stand patch ride surf course race obstacle material couple group crowd team teams family person people animal animals pet creature vehicle vehicles clothing clothes attire outfit".split())
NUMBERS_OF_MANY = set("people children men women teeth feet sheep geese bleachers pants jeans shorts sunglasses glasses goggles clothes overalls pajamas trunks stairs steps headphones".split())


def words(sentence: str) -> list[str]:
    return re.findall(r"[a-z]+(?:-[a-z]+)*", sentence.lower())


def many(word: str) -> bool:
    return word in NUMBERS_OF_MANY or (word.endswith("s") and not word.endswith("ss"))


def groups() -> dict[str, set[str]]:
    alike = defaultdict(set)
    for group in SAME:
        for word in group.split():
            alike[word].update(group.split())
    return alike


def lists() -> dict[str, tuple[tuple, int]]:
    """Each word that can be swapped: its kind (with its number) and how often it occurs in the train captions."""
    count, typed = Counter(), defaultdict(Counter)
    for row in data.rows("flickr8k/train"):
        for caption in row["captions"]:
            count.update(words(caption))
        for phrase in row["phrases"]:
            found = words(phrase["phrase"])
            if found:
                typed[found[-1]][phrase["type"].split("/")[0]] += 1
    made = {}
    for word, types in typed.items():
        kind, often = types.most_common(1)[0]
        if often >= 15 and word not in VAGUE and word not in COLOURS:
            made[word] = (("noun", kind, many(word)), often)
    made |= {c: (("colour",), count[c]) for c in COLOURS}
    made |= {c: (("count",), count[c]) for c in COUNTS}
    return made


class Swapper:
    def __init__(self):
        self.words, self.alike = lists(), groups()
        self.kinds = defaultdict(list)
        for word, (kind, often) in sorted(self.words.items()):
            self.kinds[kind].append((word, often))

    def swap(self, caption: str, captions: list[str], dice: random.Random) -> tuple[str, str] | None:
        """The caption with one word replaced, and the kind of that word; None where there is nothing to replace."""
        used = {w for c in captions for w in words(c)}
        used |= {f"{w}s" for w in used} | {w.removesuffix("s") for w in used}
        alike = used | {a for w in used for a in self.alike.get(w, ())}
        places = defaultdict(list)
        for found in re.finditer(r"[A-Za-z]+(?:-[A-Za-z]+)*", caption):
            kind = self.words.get(found[0].lower(), (None,))[0]
            if kind:
                places[kind[0]].append((found, kind))
        for name in dice.sample(sorted(places), len(places)):
            found, kind = dice.choice(places[name])
            # How many there are is not what another caption counts otherwise.
            taken = used if name == "count" else alike
            choices = [(w, n) for w, n in self.kinds[kind] if w not in taken]
            if not choices:
                continue
            new = dice.choices([w for w, _ in choices], [n for _, n in choices])[0]
            new = new.capitalize() if found[0][0].isupper() else new
            before = re.sub(r"\b([Aa])n?(?= $)", lambda a: a[1] + ("n" if new[0].lower() in "aeiou" else ""), caption[: found.start()])
            return before + new + caption[found.end() :], name
        return None


def checks(name: str = "flickr8k/dev") -> list[dict]:
    """Rows with `image`, `captions`, `swapped` (pairs of a true and a wrong sentence) and the `kinds` of the words."""
    swapper, dice, made = Swapper(), random.Random(SEED), []
    for row in data.rows(name):
        pairs = [(c, swapper.swap(c, row["captions"], dice)) for c in row["captions"]]
        pairs = [(c, *swapped) for c, swapped in pairs if swapped]
        made.append({"image": row["image"], "captions": row["captions"], "swapped": [[c, s] for c, s, _ in pairs], "kinds": [k for _, _, k in pairs]})
    return made


def main() -> None:
    made, folder = checks(), WORK / "checks"
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in {"checks": made, "checks-fit": made[0::2], "checks-held": made[1::2]}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    kinds = Counter(k for row in made for k in row["kinds"])
    record("swaps", pictures=len(made), pairs=sum(kinds.values()), **kinds)


if __name__ == "__main__":
    main()
