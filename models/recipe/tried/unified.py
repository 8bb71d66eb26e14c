"""`python unified.py [--passes N]`: two forms of the speaker, trained alike.

- cross: words look at the patch tokens by cross-attention, as in the bundle (`model.Speaker`);
- unified: patch tokens and words in one sequence through one transformer; 2 x 2 patch tokens make one place of it, which
  makes the two cost about the same.

Both from the same seed, for the same passes, on the same captions and questions, each with a projection to patch tokens of
its own. Greedy, on the dev part. Resumes: what was trained is kept in `LOOKOUT_WORK/unified`.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lookout_recipe.device import mixed  # noqa: E402
from lookout_recipe.marks import answer_marks, caption_marks, held_questions  # noqa: E402
from lookout_recipe.model import GRID, PATCH, ImageHead, Speaker  # noqa: E402
from lookout_recipe.patch import Teaching, Views, all_patches, answer_loss, caption_loss, question_views, tower  # noqa: E402
from lookout_recipe.paths import SEED, WORK, keep, record  # noqa: E402
from lookout_recipe.voice import never_said  # noqa: E402
from lookout_recipe.words import ANSWER, END, QUESTION, START, speaker_tokenizer  # noqa: E402

WIDTH, LAYERS, HEADS, BATCH, SPOKEN, QUESTIONS, RATE, ANSWER_WEIGHT = 256, 3, 4, 48, 3, 24, 1e-3, 0.4
PLACES = (GRID // 2) ** 2
CAPTION_WORDS, BEAMS = 12, 3


class UnifiedBlock(nn.Module):
    def __init__(self, dropout: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask):
        rows, tokens, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(rows, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, mask)
        x = x + self.dropout(self.out(y.transpose(1, 2).reshape(rows, tokens, WIDTH)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))


class UnifiedSpeaker(nn.Module):
    """Token ids `[B * each, T]` and patches `[B, 256, C]` to logits `[B * each, T, V]`, as `model.Speaker`."""

    def __init__(self, vocabulary: int, dropout: float = 0.2):
        super().__init__()
        self.table = nn.Embedding(vocabulary, WIDTH)
        nn.init.normal_(self.table.weight, std=0.05)
        self.position = nn.Parameter(torch.randn(PLACES + Speaker.MAX, WIDTH) * 0.02)
        self.norm_patches, self.enter = nn.LayerNorm(PATCH), nn.Linear(PATCH, WIDTH)
        self.blocks = nn.ModuleList(UnifiedBlock(dropout) for _ in range(LAYERS))
        self.norm, self.dropout = nn.LayerNorm(WIDTH), nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, ids, patches):
        half = GRID // 2
        places = patches.view(-1, half, 2, half, 2, PATCH).mean((2, 4)).flatten(1, 2)
        places = self.enter(self.norm_patches(places)).repeat_interleave(len(ids) // len(patches), 0)
        x = self.dropout(torch.cat([places, self.table(ids).to(places.dtype)], 1) + self.position[: PLACES + ids.shape[1]])
        # Places see places, words see places and the words up to them.
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        mask[:PLACES, :PLACES] = True
        for block in self.blocks:
            x = block(x, mask)
        return F.linear(self.norm(x[:, PLACES:]), self.table.weight, self.bias)


FORMS = {"cross": Speaker, "unified": UnifiedSpeaker}


def multiply_adds(form: str, vocabulary: int) -> int:
    """Of a caption of 12 words by a beam of three, with a cache."""
    feed, square, words = 8 * WIDTH * WIDTH, WIDTH * WIDTH, CAPTION_WORDS * BEAMS
    near = 2 * WIDTH * CAPTION_WORDS // 2
    if form == "cross":
        across = 2 * WIDTH * HEADS * PATCH + 2 * GRID * GRID * HEADS * PATCH
        return words * (LAYERS * (4 * square + near + across + feed) + vocabulary * WIDTH)
    places = PLACES * (LAYERS * (4 * square + 2 * PLACES * WIDTH + feed) + PATCH * WIDTH)
    return places + words * (LAYERS * (4 * square + near + 2 * PLACES * WIDTH + feed) + vocabulary * WIDTH)


@torch.inference_mode()
def greedy(speaker, patches, prompts, tok, most: int) -> list[str]:
    """What follows each prompt, all of one length."""
    end, banned, ids = tok.token_to_id(END), never_said(tok), torch.tensor(prompts)
    start, done = ids.shape[1], torch.zeros(len(prompts), dtype=torch.bool)
    for _ in range(most):
        with mixed():
            scores = speaker(ids, patches)[:, -1].float()
        scores[:, banned] = -torch.inf
        ids = torch.cat([ids, scores.argmax(1).masked_fill(done, end)[:, None]], 1)
        done |= ids[:, -1] == end
        if done.all():
            break
    said = [row[: row.index(end)] if end in row else row for row in ids[:, start:].tolist()]
    return tok.decode_batch(said)


def worth(speaker, dev, rooms, tok) -> dict:
    speaker.eval()
    start, question, answer = (tok.token_to_id(t) for t in (START, QUESTION, ANSWER))
    said = [c for part in dev.split(100) for c in greedy(speaker, part.float(), [[start]] * len(part), tok, 20)]
    held, given = held_questions(), []
    for place, row in held:
        prompt = [start, question, *tok.encode(row["question"], add_special_tokens=False).ids[:32], answer]
        given += greedy(speaker, rooms[place : place + 1].float(), [prompt], tok, 6)
    return caption_marks(said, False) | answer_marks(given, held)


def train(form: str, head, teaching, views, rooms, passes: int):
    torch.manual_seed(SEED)
    fresh, speaker = ImageHead(), FORMS[form](teaching.tok.get_vocab_size())
    for name in ("patch_fine", "patch_coarse"):
        getattr(head, name).load_state_dict(getattr(fresh, name).state_dict())
    projection = [*head.patch_fine.parameters(), *head.patch_coarse.parameters()]
    learned = [*speaker.parameters(), *projection]
    optimiser = torch.optim.AdamW(learned, RATE, betas=(0.9, 0.98), weight_decay=0.03)
    each, path, first = len(teaching.rows) // BATCH, WORK / "unified" / f"{form}.pt", 0
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, passes * each, pct_start=0.06)
    if path.exists():
        state = torch.load(path, weights_only=False)
        first = state["pass"]
        for name, part in (("speaker", speaker), ("head", head), ("optimiser", optimiser), ("schedule", schedule)):
            part.load_state_dict(state[name])
    for epoch in range(first, passes):
        dice, began, total = random.Random(SEED + epoch), time.time(), torch.zeros(2)
        order = dice.sample(range(len(teaching.rows)), len(teaching.rows))
        speaker.train()
        for step in range(each):
            group = order[step * BATCH : (step + 1) * BATCH]
            flip = [dice.random() < 0.5 for _ in group]
            fine, tokens = (torch.cat(p) for p in zip(*[views[f].take([i]) for f, i in zip(flip, group)]))
            look = lambda view, places: head.patches(*rooms[view].take(places))
            with mixed():
                caption = caption_loss(speaker, head.patches(fine, tokens), teaching, group, flip, dice, SPOKEN)
                answer = answer_loss(speaker, look, teaching, QUESTIONS, len(rooms), dice)
            loss = caption + ANSWER_WEIGHT * answer
            optimiser.zero_grad(), loss.backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimiser.step(), schedule.step()
            total += torch.tensor([caption.item(), answer.item()])
        print(form, epoch, [round(v / each, 3) for v in total.tolist()], round(time.time() - began), "s", flush=True)
        keep(path, {"speaker": speaker.state_dict(), "head": head.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "pass": epoch + 1})
    return speaker


def main(passes: int) -> None:
    (WORK / "unified").mkdir(parents=True, exist_ok=True)
    tok, (head, _), made = speaker_tokenizer(), tower(), []
    head.requires_grad_(False), head.patch_fine.requires_grad_(True), head.patch_coarse.requires_grad_(True)
    teaching = Teaching(None, tok)
    views, rooms = [Views(head, "flickr8k/train", v) for v in range(2)], question_views(head)
    dev = Views(head, "flickr8k/dev", 0)
    for form in FORMS:
        speaker = train(form, head, teaching, views, rooms, passes)
        parameters, cost = sum(p.numel() for p in speaker.parameters()), multiply_adds(form, tok.get_vocab_size())
        made.append({"form": form, "parameters": parameters, "multiply_adds": cost, **worth(speaker, all_patches(head, dev), all_patches(head, rooms[0]), tok)})
        print(json.dumps(made[-1]), flush=True)
    record("unified", passes=passes, results=made)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="two forms of the speaker, trained alike")
    options.add_argument("--passes", type=int, default=5)
    main(**vars(options.parse_args()))
