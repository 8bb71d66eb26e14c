"""Stage `polish`: self-critical training of the speaker (Rennie and others, arXiv 1612.00563).

Several captions of each train picture are drawn from the speaker, and weighed by CIDEr-D against the mean of the others
of the same picture; the best and the worst are learned from (as in arXiv 2504.13818). A part of the loss stays the likelihood of true captions and answers. Head and grounder are left as
they are, so the patch tokens are computed once. Resumes after every pass. At the end the speaker in `patch.pt` is replaced
by a mean: a part of the one before (which is kept there too), and the rest the running mean of the polished one, as in
arXiv 2109.01903: the train captions fit less and the dev captions more.
"""

import argparse
import copy
import random
import time

import torch
import torch.nn.functional as F

from .device import HALF, load, mixed
from .learning import Learning
from .marks import measure
from .model import Speaker
from .patch import Teaching, Views, all_patches, answer_loss, caption_loss, question_views, tower
from .paths import SEED, WORK, keep, record
from .voice import LENGTH_PENALTY, sample
from .words import END, START, clean, speaker_tokenizer
from .worth import Worth

PASSES, BATCH, EACH, SPOKEN, QUESTIONS, MOST = 5, 40, 5, 2, 32, 20
RATE, KEEP, CAPTION_WEIGHT, ANSWER_WEIGHT, MEASURED = 2e-4, 0.99, 0.1, 0.3, 2
SHARE = 0.75


def rewarded(speaker, quick, patches, group, worth, tok):
    """The loss of sampled captions, and their mean worth."""
    start, end = tok.token_to_id(START), tok.token_to_id(END)
    ids = sample(quick, patches.to(HALF), EACH, tok, MOST)
    said = [row[: row.index(end)] if end in row else row for row in ids.tolist()]
    words = tok.decode_batch(said)
    value = torch.tensor([worth(group[n // EACH], w) for n, w in enumerate(words)]).view(-1, EACH)
    others = (value.sum(1, keepdim=True) - value) / (EACH - 1)
    # The best and the worst of a picture say most; the others are left out of the backward pass.
    picked = torch.stack([value.argmax(1), value.argmin(1)], 1)
    gain = (value - others).gather(1, picked).view(-1, 1)
    ids = ids[(picked + torch.arange(len(group))[:, None] * EACH).flatten()]
    ended = (ids == end).int().cumsum(1)
    counts = (ended - (ids == end).int()) == 0  # up to and with the first end token
    before = torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], 1)
    with mixed():
        logits = speaker(before, patches)
    surprise = F.cross_entropy(logits.flatten(0, 1).float(), ids.flatten(), reduction="none").view_as(ids)
    return (gain * surprise * counts).sum() / counts.sum(), value.mean().item()


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--passes", type=int, default=PASSES)
    asked.add_argument("--steps", type=int, help="of a pass, to try something out")
    asked.add_argument("--rate", type=float, default=RATE)
    asked.add_argument("--share", type=float, default=SHARE, help="of the polished weights in the speaker that is kept")
    asked = asked.parse_args()
    torch.manual_seed(SEED)
    began, tok = time.time(), speaker_tokenizer()
    head, text = tower()
    patched, path = WORK / "patch" / "patch.pt", WORK / "patch" / "polishing.pt"
    start = load(patched)
    before = start.get("speaker_before", start["speaker"])
    head.load_patches(start["head"])
    speaker = Speaker(tok.get_vocab_size())
    speaker.load_state_dict(before)
    teaching = Teaching(None, tok)
    views = [all_patches(head, Views(head, "flickr8k/train", v)) for v in range(2)]
    rooms = [all_patches(head, view) for view in question_views(head)]
    dev = all_patches(head, Views(head, "flickr8k/dev", 0))
    worth = Worth([[clean(c) for c in row["captions"]] for row in teaching.rows])
    each = asked.steps or max(len(teaching.rows) // BATCH, 1)
    learning = Learning(path, speaker, asked.rate, 0.01, asked.passes * each)
    mean = learning.mean
    print("ready", round(time.time() - began), "s", flush=True)
    for epoch in range(learning.passes, asked.passes):
        dice = random.Random(SEED + 1000 + epoch)
        order = list(range(len(teaching.rows)))
        dice.shuffle(order)
        sums = torch.zeros(3)
        for step in range(each):
            group = order[step * BATCH : (step + 1) * BATCH]
            flip = [dice.random() < 0.5 for _ in group]
            patches = torch.stack([views[f][i] for f, i in zip(flip, group)]).float()
            speaker.eval()
            gain, value = rewarded(speaker, copy.deepcopy(speaker).to(HALF), patches, group, worth, tok)
            speaker.train()
            with mixed():
                caption = caption_loss(speaker, patches, teaching, group, flip, dice, SPOKEN)
                answer = answer_loss(speaker, lambda view, places: rooms[view][places].float(), teaching, QUESTIONS, len(rooms), dice)
            loss = gain + CAPTION_WEIGHT * caption + ANSWER_WEIGHT * answer
            learning.step(loss, KEEP)
            sums += torch.tensor([value, caption.item(), answer.item()])
            if step % 25 == 24:
                print(epoch, step, [round(v / (step + 1), 3) for v in sums.tolist()], round(time.time() - began), "s", flush=True)
        learning.keep(epoch + 1)
        if epoch % MEASURED == MEASURED - 1 and epoch < asked.passes - 1:
            print("dev", measure(mean, dev, rooms[0], tok, False), round(time.time() - began), "s", flush=True)
    mean.load_state_dict({k: before[k].lerp(v, asked.share) for k, v in mean.state_dict().items()})
    # Read anew: the grounder may have been trained meanwhile.
    kept = {name: part for name, part in load(patched).items() if name != "speaker_unsure"}  # `answers` begins with this one
    keep(patched, kept | {"speaker": mean.state_dict(), "speaker_before": before})
    record("polish", passes=asked.passes, share=asked.share, length_penalty=LENGTH_PENALTY, seconds=round(time.time() - began), **measure(mean, dev, rooms[0], tok))


if __name__ == "__main__":
    main()
