"""CLIP's tokenizer as a `tokenizer.json`, for models exported from OpenCLIP, which carries only the vocabulary.

OpenCLIP repairs text with ftfy first. Of that the curly quotes and the f-ligatures are done here; full-width letters,
wrong decodings (`Ã¨`) and HTML entities are not.
"""

import gzip
import importlib.util
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
REPAIRS = [("[\u2018-\u201b]", "'"), ("[\u201c-\u201f]", '"'), ("ﬀ", "ff"), ("ﬁ", "fi"), ("ﬂ", "fl"), ("ﬃ", "ffi"), ("ﬄ", "ffl")]


def openclip() -> Tokenizer:
    """The 49,408 tokens of CLIP, from the installed package `open_clip_torch` (which need not be importable)."""
    package = importlib.util.find_spec("open_clip")
    if package is None:
        raise ModuleNotFoundError("`--tokenizer openclip` reads the vocabulary of the package open_clip_torch; install it")
    path = Path(package.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    return from_merges(gzip.decompress(path.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1])


def from_merges(lines: list[str]) -> Tokenizer:
    """A byte-level BPE with `</w>` at the end of words; no line gives the 514 tokens of single bytes."""
    merges = [tuple(line.split()) for line in lines]
    letters = list(byte_letters().values())
    words = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges] + [START, END]
    vocab = {word: index for index, word in enumerate(words)}
    bpe = models.BPE(vocab=vocab, merges=merges, end_of_word_suffix="</w>", continuing_subword_prefix="", unk_token=END)
    tokenizer = Tokenizer(bpe)
    repairs = [normalizers.Replace(Regex(old), new) for old, new in REPAIRS]
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), *repairs, normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    split = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.add_special_tokens([AddedToken(START, special=True, normalized=False), AddedToken(END, special=True, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=[(START, vocab[START]), (END, vocab[END])])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_letters() -> dict[int, str]:
    """CLIP's order of bytes: those with a printable letter first, the others as letters from U+0100 on."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in shown]
    return {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}
