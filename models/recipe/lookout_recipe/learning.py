"""A speaker that learns: its running mean, its optimiser and its schedule, kept after every pass and taken up again."""

import copy
from pathlib import Path

import torch

from .device import load
from .paths import keep


class Learning:
    def __init__(self, path: Path, speaker, rate: float, decay: float, steps: int):
        """`path`: where it is kept. One that began with another speaker is not taken up."""
        self.path, self.speaker, self.mean = path, speaker, copy.deepcopy(speaker)
        self.of = speaker.table.weight.detach().clone()
        self.optimiser = torch.optim.AdamW(speaker.parameters(), rate, betas=(0.9, 0.98), weight_decay=decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, rate, steps, pct_start=0.1, final_div_factor=50)
        self.passes = 0
        if path.exists() and torch.equal((state := load(path))["of"], self.of):
            speaker.load_state_dict(state["learning"]), self.mean.load_state_dict(state["mean"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.schedule.load_state_dict({k: state["schedule"][k] for k in ("last_epoch", "_step_count", "_last_lr")})  # not how many passes
            self.passes = state["pass"]

    def step(self, loss: torch.Tensor, share: float) -> None:
        """Learns from a loss; `share` of the mean stays."""
        self.optimiser.zero_grad(), loss.backward()
        torch.nn.utils.clip_grad_norm_(self.speaker.parameters(), 1.0)
        self.optimiser.step(), self.schedule.step()
        with torch.no_grad():
            for kept, now in zip(self.mean.parameters(), self.speaker.parameters()):
                kept.lerp_(now, 1 - share)

    def keep(self, passes: int) -> None:
        parts = {"mean": self.mean, "learning": self.speaker, "optimiser": self.optimiser, "schedule": self.schedule}
        keep(self.path, {name: part.state_dict() for name, part in parts.items()} | {"pass": passes, "of": self.of})
