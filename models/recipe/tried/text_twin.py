"""`python text_twin.py [--passes N]`: the text tower with full attention, trained as stage `text` trains the one with
static keys. Resumes; kept in `LOOKOUT_WORK/attention`. To be held against `held_cosine` of stage `text`."""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lookout_recipe import text  # noqa: E402
from lookout_recipe.model import TextTower  # noqa: E402
from lookout_recipe.paths import SEED, WORK, record  # noqa: E402
from kinds import FullAttention  # noqa: E402


def main(passes: int) -> None:
    torch.manual_seed(SEED)
    tower, path = TextTower(), WORK / "attention" / "text-full.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    for block in tower.blocks:
        block.attention = FullAttention(block.attention.width, block.attention.heads, block.attention.keys)
    parameters = sum(p.numel() for p in tower.parameters())
    record("text twin", attention="full", parameters=parameters, **text.train(tower, path, passes))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="the text tower with full attention")
    options.add_argument("--passes", type=int, default=text.PASSES)
    main(**vars(options.parse_args()))
