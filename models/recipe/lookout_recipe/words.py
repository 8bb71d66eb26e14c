"""What the speaker learns to say: its word pieces, captions, questions and answers."""

import json
import re
from collections import Counter

from tokenizers import Tokenizer

from . import data
from .minilm import tokenizer
from .paths import WORK

START, END, QUESTION, ANSWER = "[CLS]", "[SEP]", "[unused1]", "[unused2]"
COLOURS = "black white red blue green yellow brown orange pink purple grey gray tan blond".split()
NUMBERS = "two three four five six".split()


def clean(caption: str) -> str:
    """Lower case without punctuation, as captions are scored."""
    return " ".join(re.sub(r"[^a-z0-9' ]+", " ", caption.lower().replace("-", " ")).split())


def speaker_tokenizer() -> Tokenizer:
    """The text tower's WordPiece with only the pieces that captions and answers use, and all single letters."""
    path = WORK / "speaker" / "tokenizer.json"
    if not path.exists():
        whole = tokenizer()
        count = Counter()
        said = [clean(c) for row in data.rows("flickr8k/train") for c in row["captions"]]
        said += [clean(s) for s in data.sentences()]
        said += [clean(row["question"] + " " + row["answer"].replace("_", " ")) for row in data.rows("daquar/train")] * 3
        for encoding in whole.encode_batch(said, add_special_tokens=False):
            count.update(encoding.tokens)
        kept = {piece for piece, n in count.items() if n >= 5}
        special = ["[PAD]", "[UNK]", START, END, "[MASK]", QUESTION, ANSWER]
        letters = [p for p in whole.get_vocab() if re.fullmatch(r"(##)?[a-z0-9']", p)]
        pieces = special + sorted((kept | set(letters)) - set(special))
        form = json.loads(whole.to_str())
        form["model"]["vocab"] = {piece: index for index, piece in enumerate(pieces)}
        form["added_tokens"] = [
            {"id": i, "content": p, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            for i, p in enumerate(special)
        ]
        form["post_processor"], form["padding"], form["truncation"] = None, None, None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(form, ensure_ascii=False, separators=(",", ":")))
    return Tokenizer.from_file(str(path))


def asked_of_phrases(row: dict) -> list[tuple[str, str]]:
    """Questions of colour and number that the annotated phrases answer."""
    made = []
    for phrase in {p["phrase"].lower() for p in row["phrases"]}:
        words = phrase.split()
        if len(words) == 3 and words[0] in ("a", "the", "an") and words[1] in COLOURS:
            made.append((f"what color is the {words[2]}", words[1]))
        if len(words) == 2 and words[0] in NUMBERS:
            digit = str(NUMBERS.index(words[0]) + 2)  # as DAQUAR writes numbers
            made.append((f"how many {words[1]} are there", digit))
            made.append((f"how many {words[1]}", digit))
    return sorted(made)
