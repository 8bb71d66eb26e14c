"""What stands in the rooms that questions are asked about, for `answers`: lists of objects, and a network that finds them.

DAQUAR's rooms are those of NYU Depth v2 (Silberman and others, 2012), which SUN RGB-D (Song and others, 2015) contains; for
each of its objects a public repository lists the pictures. Only lists of rooms whose answers are learned are looked at.
"""

import csv
import io
import re
from collections import defaultdict

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from . import data
from .device import mixed, tensor
from .patch import HELD_QUESTIONS, all_patches
from .pool import Repository
from .words import clean

LISTS = "crmauceri/SUNRGBD_COCO", "seglistall.csv"
FIRST, UNASKED = 6975, 366  # SUN RGB-D's number of the first train room; NYU's of the one that nobody asked about
ROOMS_EACH = 3  # an object is in so many rooms, or is left out
FOLDS, PASSES, BATCH, RATE, FINDERS = 5, 60, 64, 3e-4, 2
PROMPTS = ("what is in the room", "what is in the picture", "what objects are there", "what can be seen", "what do you see")


def part_of(place, rooms: int):
    """Which of the `FOLDS` parts of the list a room is in; neighbours are often one room."""
    return place * FOLDS // rooms


def usual(there, rooms: list[int]) -> torch.Tensor:
    """The log-odds of each object in these rooms."""
    return torch.logit(there[rooms].mean(0).clamp(0.002, 0.9))


def things() -> tuple[list[str], torch.Tensor]:
    """Names of objects, and which rooms they are in `[rooms, names]`; held rooms have none."""
    numbers = [int(re.search(r"\d+", image)[0]) for image in data.images("daquar/train")]
    rank = {number: place for place, number in enumerate(sorted(numbers))}
    listed = {FIRST + rank[n] + (n > UNASKED): place for place, n in enumerate(numbers) if place % HELD_QUESTIONS}
    repository, path = LISTS
    rooms = defaultdict(set)
    for name, _, _, _, _, pictures, _ in csv.reader(io.StringIO(Repository(repository).git("show", f"HEAD:{path}").removeprefix("\ufeff"))):
        if re.fullmatch(r"[\[\]\d ;]+", pictures):  # of walls and floors it tells only how many there are
            rooms[clean(name.replace("_", " "))] |= {listed[int(n)] for n in re.findall(r"\d+", pictures) if int(n) in listed}
    names = sorted(name for name, found in rooms.items() if name and len(found) >= ROOMS_EACH)
    there = torch.zeros(len(numbers), len(names))
    for i, name in enumerate(names):
        there[sorted(rooms[name]), i] = 1
    return names, there


@torch.inference_mode()
def whole(head, view) -> torch.Tensor:
    """Mean and largest value of the convolutional features and of the patch tokens `[rooms, channels]`."""
    parts = []
    for at in range(0, len(view.fine), 50):
        with mixed():
            features = head.coarse(tensor(view.fine[at : at + 50], np.float32))[1].float()
        parts.append(torch.cat([features.mean(1), features.amax(1)], 1))
    patches = all_patches(head, view).float()
    return torch.cat([torch.cat(parts), patches.mean(1), patches.amax(1)], 1).clone()


def finder(seen: list[torch.Tensor], there, rooms: list[int], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Dropout(0.3), nn.Linear(seen[0].shape[1], 192), nn.ReLU(), nn.Dropout(0.5), nn.Linear(192, there.shape[1]))
    net[-1].bias.data.copy_(usual(there, rooms))
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.05)
    steps, rooms = PASSES * -(-len(rooms) // BATCH), torch.tensor(rooms)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    for step in range(steps):
        some = rooms[torch.randint(len(rooms), (BATCH,))]
        loss = F.binary_cross_entropy_with_logits(net(seen[step % len(seen)][some]), there[some], reduction="none").sum(1).mean()
        optimiser.zero_grad(), loss.backward()
        optimiser.step(), schedule.step()
    return net.eval()


def found(head, views, there) -> torch.Tensor:
    """How much more probable than elsewhere each object is in each room `[rooms, names]`, in log-odds. Of a learned room it
    is said by finders that were taught rooms of other parts of the list."""
    seen = [whole(head, view) for view in views]
    everywhere = [p for p in range(len(there)) if p % HELD_QUESTIONS]
    spread = seen[0][everywhere].std(0) + 0.1
    seen = [(s - seen[0][everywhere].mean(0)) / spread for s in seen]
    sure, asked = torch.zeros_like(there), torch.zeros(len(there), 1)
    for fold in range(FOLDS):
        others = [p for p in everywhere if part_of(p, len(there)) != fold]
        mine = [p for p in range(len(there)) if part_of(p, len(there)) == fold or p % HELD_QUESTIONS == 0]
        for n in range(FINDERS):
            net = finder(seen, there, others, FINDERS * fold + n)
            with torch.no_grad():
                sure[mine] += net(seen[0][mine])
            asked[mine] += 1
    return sure / asked - usual(there, everywhere)
