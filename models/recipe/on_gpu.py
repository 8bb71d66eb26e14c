"""Whether all tensors of the networks and losses would lie on a GPU, seen without one: PyTorch's fake tensors have a place and
a shape and no values, and refuse to meet one of another place. Run by `miniature`."""

import os

os.environ["LOOKOUT_DEVICE"] = "cuda"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from lookout_recipe import features, trunk  # noqa: E402
from lookout_recipe.align import class_loss  # noqa: E402
from lookout_recipe.answers import Guesser  # noqa: E402
from lookout_recipe.device import mixed, tensor  # noqa: E402
from lookout_recipe.minilm import MiniLM  # noqa: E402
from lookout_recipe.model import Grounder, ImageHead, Speaker, TextTower  # noqa: E402
from lookout_recipe.patch import at_most_four, grounding_loss, said  # noqa: E402
from lookout_recipe.text import padded  # noqa: E402
from lookout_recipe.voice import Stream  # noqa: E402

BOX, IDS = [0.1, 0.2, 0.5, 0.6], [[101, 7, 102], [101, 8, 9, 102]]


def main() -> None:
    with FakeTensorMode():
        seen = trunk.pretrained()(tensor(np.zeros((2, 3, features.SIZE, features.SIZE)), np.float32))
        head, text = ImageHead(), TextTower()
        head.start_from(trunk.pretrained())
        maps = tensor(np.zeros((2, features.FINE_TOKENS, trunk.FINE)), np.float32)
        with mixed():
            tokens, convolved = head.coarse(maps)
            picture, names, patches = head.embed(tokens, convolved), text(*padded(IDS)), head.patches(maps, tokens)
            boxes, scores = Grounder().doubled()(patches, names)
            ids, want = said([([1, 2], [3, 4]), ([1], [5])])
            speaker = Speaker(100)
            words = speaker(ids, patches)
        losses = [
            class_loss(torch.tensor(2.9).exp(), picture.float(), names.float(), tensor(np.zeros((2, 1000)), np.float32), [0, 1]),
            torch.nn.functional.cross_entropy(words.flatten(0, 1).float(), want.flatten(), ignore_index=-100),
            grounding_loss(boxes.float(), scores.float(), torch.stack([at_most_four([BOX]), at_most_four([])]), Grounder().centres),
            MiniLM().embed(*padded(IDS)).sum(),
            Guesser(9, torch.tensor([0, -1, 1]), 4)((torch.tensor([1, 2, 3]), torch.tensor([0, 2])), names.float(), patches.float(), torch.zeros(2, 4)).sum(),
        ]
        with torch.no_grad():
            losses.append(Stream(speaker, patches, 2).step(torch.tensor([1, 2, 3, 4])).sum())
        assert all(loss.device.type == "cuda" for loss in [*seen, *losses])
    print("every network and loss has its tensors on the GPU")


if __name__ == "__main__":
    main()
