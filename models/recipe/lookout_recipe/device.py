"""Where a stage computes: on a GPU where PyTorch finds one, else on the processor. LOOKOUT_DEVICE names another, such as
`cpu` or `cuda:1`. New tensors lie there by themselves; what comes from files and arrays is brought by the functions here.
"""

import os

import numpy as np
import torch

DEVICE = torch.device(os.environ.get("LOOKOUT_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu"))
if DEVICE.type != "cpu":
    torch.set_default_device(DEVICE)


def tensor(array, dtype=None) -> torch.Tensor:
    """A numpy array, copied where its type or place changes."""
    return torch.from_numpy(np.asarray(array, dtype)).to(DEVICE)


def load(path):
    """A checkpoint of `paths.keep`."""
    return torch.load(path, map_location=DEVICE, weights_only=False)


def mixed():
    """Products in bfloat16."""
    return torch.autocast(DEVICE.type, torch.bfloat16)
