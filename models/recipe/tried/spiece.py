"""A stand-in for SigLIP's tokenizer, whose trained vocabulary no package carries: a unigram model in the same form
(lower case, no punctuation, `</s>` at the end, 32,000 ids) over single letters."""

import string

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors


def sentence_pieces() -> Tokenizer:
    letters = ["▁", *string.ascii_lowercase, *string.digits, *("▁" + c for c in string.ascii_lowercase + string.digits)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)] + [(piece, -3.0 - 0.05 * i) for i, piece in enumerate(letters)]
    pieces += [(f"<unused{i}>", -99.0) for i in range(32_000 - len(pieces))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    return tokenizer
