"""Where the recipe reads its data and keeps its work. Both can be moved by environment variables."""

import json
import os
import time
from pathlib import Path

RECIPE = Path(__file__).resolve().parent.parent
REPOSITORY = RECIPE.parent.parent
DATA = Path(os.environ.get("LOOKOUT_DATA", REPOSITORY.parent / "shared" / "data"))
WORK = Path(os.environ.get("LOOKOUT_WORK", RECIPE / "work"))
# Where `export` puts the bundle, and what the stages measured.
BUNDLE = Path(os.environ.get("LOOKOUT_OUT", REPOSITORY / "models" / "default"))
LOG = Path(os.environ.get("LOOKOUT_LOG", RECIPE / "log.jsonl"))
SEED = 20260412


def record(stage: str, **result) -> None:
    """Appends one line of a stage's measured result to `log.jsonl`, which the model card quotes."""
    row = {"stage": stage, "date": time.strftime("%Y-%m-%d"), **result}
    with open(LOG, "a") as log:
        log.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


def keep(path: Path, state: dict) -> None:
    """Saves a checkpoint whole or not at all."""
    import torch

    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)
