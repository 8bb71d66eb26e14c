"""Does the agreement of several sampled captions tell whether a caption is right?

For the dev pictures: the caption said (beam), five sampled ones, and how alike their text embeddings are to its own, as
`lookout caption --samples 5` reports it. A caption counts as wrong where its CIDEr-D is in the lowest third. Printed is the
AUROC of the agreement, of the cosine of picture and caption (`check`), and of the speaker's own mean log-probability.

    python tried/agreement.py      with `models/recipe` on PYTHONPATH
"""

import torch
import torch.nn.functional as F

from lookout_recipe import data
from lookout_recipe.align import embed_pictures, embed_texts, encode
from lookout_recipe.calibrate import auroc
from lookout_recipe.export import trained
from lookout_recipe.features import arrays
from lookout_recipe.marks import captions
from lookout_recipe.patch import Views, all_patches, said
from lookout_recipe.paths import SEED
from lookout_recipe.voice import MAX_TOKENS, sample
from lookout_recipe.words import END, START, clean, speaker_tokenizer
from lookout_recipe.worth import Worth

SAMPLES, TOGETHER = 5, 100


@torch.no_grad()
def main() -> None:
    torch.manual_seed(SEED)
    _, head, text, speaker, _ = trained()
    tok = speaker_tokenizer()
    start, end = tok.token_to_id(START), tok.token_to_id(END)
    rows, patches = data.rows("flickr8k/dev"), all_patches(head, Views(head, "flickr8k/dev", 0))
    spoken = captions(speaker, patches, tok)
    worth = Worth([[clean(c) for c in row["captions"]] for row in rows])
    value = torch.tensor([worth(i, c) for i, c in enumerate(spoken)])
    right = value > value.quantile(1 / 3)

    drawn = []
    for part in patches.split(TOGETHER):
        ids = sample(speaker, part.float(), SAMPLES, tok, MAX_TOKENS).tolist()
        drawn += tok.decode_batch([row[: row.index(end)] if end in row else row for row in ids])
    embed = lambda sentences: F.normalize(embed_texts(text, encode([s or "." for s in sentences])).float(), dim=1)
    own, others = embed(spoken), embed(drawn).view(len(rows), SAMPLES, -1)
    agreement = torch.einsum("nc,nsc->ns", own, others).mean(1)
    check = (F.normalize(embed_pictures(head, arrays("flickr8k/dev", 0)[0]).float(), dim=1) * own).sum(1)

    log_probability = []
    for at in range(0, len(rows), TOGETHER):
        ids, want = said([([start], [*tok.encode(c, add_special_tokens=False).ids, end]) for c in spoken[at : at + TOGETHER]])
        surprise = F.cross_entropy(speaker(ids, patches[at : at + TOGETHER].float()).flatten(0, 1), want.flatten(), ignore_index=-100, reduction="none")
        log_probability.append(-surprise.view_as(want).sum(1) / (want >= 0).sum(1))
    signals = {"agreement": agreement, "check": check, "log_probability": torch.cat(log_probability)}
    print({"wrong_below": round(value[~right].max().item(), 3)} | {name: round(auroc(v, right), 3) for name, v in signals.items()})


if __name__ == "__main__":
    main()
