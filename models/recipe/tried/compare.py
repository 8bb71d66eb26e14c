"""The tried bundles in lookout against onnxruntime with the same files, one thread, in turns: the times of TRIED.md.

    cargo build --release --package lookout-bench --features ours --bin ours
    python tried/compare.py [FOLDER]      bundles as architectures.py leaves them; default $LOOKOUT_WORK/tried/bundles

Milliseconds are the medians of 48 runs, the sentence has 10 tokens.
"""

import sys
import tempfile
import tomllib
from pathlib import Path

from tokenizers import Tokenizer

RECIPE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(RECIPE), str(RECIPE / "tried"), str(RECIPE.parent.parent / "benches")]
from architectures import SENTENCES, WORK, blocks, shaped  # noqa: E402
from engines import Runner, rounds  # noqa: E402


def inputs(bundle: Path, folder: Path) -> dict[str, str]:
    """What each tower gets: a file of pixels, token ids."""
    manifest = tomllib.loads((bundle / "lookout.toml").read_text())
    pixels = folder / "pixels.f32"
    blocks(2, manifest["picture"]["width"]).tofile(pixels)
    text = manifest["text"]
    ids = shaped(Tokenizer.from_file(str(bundle / "tokenizer.json")), SENTENCES[1], text, text["fixed_length"])
    return {"image": str(pixels), "text": ",".join(map(str, ids))}


def main() -> None:
    bundles = Path(sys.argv[1]) if sys.argv[1:] else WORK / "bundles"
    with tempfile.TemporaryDirectory() as folder:
        for bundle in sorted(path.parent for path in bundles.glob("*/lookout.toml")):
            for role, value in inputs(bundle, Path(folder)).items():
                pair = [Runner.start("lookout", "", role, bundle, [value], 1), Runner.start("onnxruntime", "", role, bundle / f"{role}.onnx", [value], 1)]
                rounds(pair, 16, 3)
                ours, theirs = (runner.median for runner in pair)
                least = min(pair[0].times) / min(pair[1].times)
                print(f"{bundle.name} {role}: {ours:.1f} ({theirs:.1f}) ms, ratio {ours / theirs:.2f}, of the least {least:.2f}", flush=True)
                for runner in pair:
                    runner.server.close()


if __name__ == "__main__":
    main()
