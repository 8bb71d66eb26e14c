"""Where a stage computes: on a GPU where PyTorch finds one, else on the processor. LOOKOUT_DEVICE names another, such as
`cpu` or `cuda:1`. New tensors lie there by themselves; what comes from files and arrays is brought by the functions here.
"""

import os
import re
from pathlib import Path

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


def _multiplies_bfloat16() -> bool:
    """GPUs do. A processor that says so does; one that does not takes ten times as long as in float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    return DEVICE.type != "cpu" or re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", flags) is not None


HALF = torch.bfloat16 if _multiplies_bfloat16() else torch.float32


def mixed():
    """Products in bfloat16, where the machine has them."""
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=HALF == torch.bfloat16)
