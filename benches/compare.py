"""`compare.py [--quick] [--bundle BUNDLE] [--others DIR]`: lookout against other engines on the same networks.

All engines run as separate processes, in turns, each with its own best form of the network. The time of a form is the
median over all its runs; a ratio is ours divided by the other's, and the ratio of the shortest times stands beside it,
which a busy machine disturbs less. Writes results.json and RESULTS.md beside this file, and prints the latter.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from engines import Refused, Runner, fastest, rounds
from machine import describe, int8_peak, kernel, load
from prepare import is_prepared, prepare
from report import markdown

HERE = Path(__file__).parent
OURS_AVX2, TRACT_AVX2 = "lookout avx2", "tract avx2"
# What runs on each network: engine and form.
FIELD = {
    "image": [
        ("lookout", ""), (OURS_AVX2, ""),
        ("onnxruntime", "float"), ("onnxruntime", "dynamic"), ("onnxruntime", "qdq"),
        ("tract", "float"), ("tract", "dynamic"), (TRACT_AVX2, "float"),
        ("rten", "float"), ("rten", "dynamic"),
    ],
    "text": [("lookout", ""), ("onnxruntime", "float"), ("onnxruntime", "dynamic"), ("tract", "float"), ("rten", "dynamic")],
    "decoder": [("lookout", ""), ("onnxruntime", "float"), ("onnxruntime", "dynamic")],
}
# Cosine, or share of equal words, below which a figure of ours does not count.
AGREES = 0.99
TITLE = {"image": "image tower", "text": "text tower", "decoder": "12-word caption"}


class Bench:
    def __init__(self, bundle: Path, work: Path, quick: bool):
        self.bundle, self.work, self.quick = bundle, work, quick
        progress("the networks in every engine's forms")
        self.prepared = prepare(bundle, work)
        self.tables, self.notes, self.rows = [], [], []
        # Milliseconds of as many multiply-adds as the image tower has, in registers only: median and shortest, by kernel.
        self.registers = {}

    def run(self, others: Path | None) -> dict:
        peak = int8_peak(1 if self.quick else 3)
        begin_load = load()
        for role in self.prepared["roles"]:
            for threads in (1, 2):
                self.race(role, threads)
        for threads in (1, 2):
            self.targets(threads)
        self.memory()
        for name, rate in int8_peak(1 if self.quick else 3).items():
            peak[name] = max(peak[name], rate)
        self.share()
        self.static_keys()
        self.architectures(others)
        self.arm64()
        return {
            "machine": describe() | {"load": [begin_load, load()], "int8_peak_gmacs": peak},
            "bundle": self.prepared["bundle"], "quick": self.quick,
            "multiply_adds": self.prepared.get("multiply_adds"), "of_these_depthwise": self.prepared.get("of_these_depthwise"),
            "rows": self.rows, "tables": self.tables, "notes": self.notes,
        }

    def race(self, role: str, threads: int) -> None:
        """All engines on one network."""
        progress(TITLE[role], threads)
        known, runners = self.prepared["roles"][role], []
        for engine, form in FIELD[role]:
            # Which file of a form is the fastest was found with one thread.
            earlier = [e["file"] for e in self.entries(role, 1) if (e["engine"], e["form"]) == (engine, form)]
            files = [self.work / name for name in earlier or known[form]] if form else [self.bundle]
            runner, tried = fastest(engine, form, role, files, known["input"], threads)
            for name, outcome in tried.items():
                if isinstance(outcome, str) and outcome != "the only one":
                    self.note(f"{TITLE[role]}, {name}: {outcome}")
            if runner:
                runners.append(runner)
                runner.tried = tried
        if not any(runner.engine == "lookout" for runner in runners):
            raise SystemExit(f"lookout itself does not run the {TITLE[role]}")
        idle = self.idle_registers() if (role, threads) == ("image", 1) else []
        rounds(runners + idle, *((4, 2) if self.quick else (24, 4)))
        for runner in idle:
            self.registers[runner.form] = (runner.median, runner.best)
            runner.server.close()
        reference = next((r.server.answer() for r in runners if r.name == "onnxruntime float"), None)
        entries = []
        for runner in runners:
            peak, growth = runner.server.memory()
            entries.append({
                "engine": runner.engine, "form": runner.form, "file": runner.file, "median_ms": runner.median,
                "min_ms": runner.best, "runs": len(runner.times), "load_ms": runner.load_ms, "peak_mb": peak,
                "growth_mb": growth, "tried_ms": runner.tried,
                "agrees": agreement(role, runner.server.answer(), reference),
            })
            runner.server.close()
        self.tables.append({"role": role, "title": TITLE[role], "threads": threads, "entries": entries})
        wrong = [e for e in entries if e["engine"].startswith("lookout") and e["agrees"] is not None and e["agrees"] < AGREES]
        for entry in wrong:
            self.note(f"{TITLE[role]}: {entry['engine']} agrees with onnxruntime's float32 only to {entry['agrees']:.4f}")

    def idle_registers(self) -> list[Runner]:
        """The instructions of both kernels of ours, with nothing to wait for."""
        runners, work = [], [str(self.prepared["multiply_adds"])]
        for name in dict.fromkeys((kernel(), "avx2")):
            try:
                runners.append(Runner.start("registers", name, name, "registers", work, 1))
            except Refused:
                pass
        return runners

    def entries(self, role: str, threads: int) -> list[dict]:
        return next((t["entries"] for t in self.tables if (t["role"], t["threads"]) == (role, threads)), [])

    def ratio(self, what, role, threads, engine, forms, target, aim, ours="lookout") -> None:
        """A row of the table: ours over the fastest of `forms`. Targets are for one thread."""
        entries = self.entries(role, threads)
        mine = next((e for e in entries if e["engine"] == ours), None)
        theirs = [e for e in entries if e["engine"] == engine and e["form"] in forms]
        if not mine or not theirs:
            return self.skip(what, threads, f"no {engine} of this network")
        other = min(theirs, key=lambda e: e["median_ms"])
        self.rows.append({
            "what": f"{what} ({other['form']})" if len(forms) > 1 else what, "threads": threads,
            "ours": mine["median_ms"], "other": other["median_ms"], "unit": "ms",
            "ratio": mine["median_ms"] / other["median_ms"], "ratio_min": mine["min_ms"] / other["min_ms"],
            "target": target if threads == 1 else None, "aim": aim if threads == 1 else None,
            "wrong": mine["agrees"] is not None and mine["agrees"] < AGREES,
        })

    def targets(self, threads: int) -> None:
        every = ("float", "dynamic", "qdq")
        self.ratio("image tower, onnxruntime's best", "image", threads, "onnxruntime", every, 0.75, 0.5)
        self.ratio("image tower, tract float32", "image", threads, "tract", ("float",), 0.22, 0.15)
        self.ratio("image tower, rten dynamic int8", "image", threads, "rten", ("dynamic",), 0.6, 0.4)
        self.ratio("image tower, both AVX2 only, tract float32", "image", threads, TRACT_AVX2, ("float",), 0.45, 0.3, OURS_AVX2)
        self.ratio("12-word greedy caption, onnxruntime's best", "decoder", threads, "onnxruntime", every, 0.75, 0.5)
        self.ratio("text tower, onnxruntime's best", "text", threads, "onnxruntime", every, None, None)

    def memory(self) -> None:
        """The most a process needed that loaded the image tower and ran it, one thread. Against the least of
        onnxruntime's forms, whole processes; then what was added to a started Python or program."""
        entries = self.entries("image", 1)
        mine = next(e for e in entries if e["engine"] == "lookout")
        theirs = [e for e in entries if e["engine"] == "onnxruntime"]
        if not theirs:
            return self.skip("peak memory", 1, "no onnxruntime")
        for key, what, target, aim in (
            ("peak_mb", "peak memory, onnxruntime in Python", 0.5, 0.35),
            ("growth_mb", "the same above `import onnxruntime`", None, None),
        ):
            other = min(theirs, key=lambda e: e[key])
            self.rows.append({
                "what": f"{what} ({other['form']})", "threads": 1, "ours": mine[key], "other": other[key], "unit": "MB",
                "ratio": mine[key] / other[key], "target": target, "aim": aim,
            })

    def share(self) -> None:
        """The time that the network's multiply-adds take in registers only, by the kernel's own instruction and in the same
        turns, as a share of the time that the network takes."""
        for engine, name in (("lookout", kernel()), (OURS_AVX2, "avx2")):
            mine = next((e for e in self.entries("image", 1) if e["engine"] == engine), None)
            what = f"image tower, share of int8 peak, {name}"
            if name not in self.registers or not mine:
                self.skip(what, 1, "no micro-benchmark for this kernel")
                continue
            median, best = self.registers[name]
            rate = lambda ms: self.prepared["multiply_adds"] / ms / 1e6
            wanted = {"target": 0.45, "aim": 0.65} if engine == "lookout" else {"target": None, "aim": None}
            self.rows.append({
                "what": what, "threads": 1, "ours": rate(mine["median_ms"]), "other": rate(median), "unit": "G/s",
                "ratio": median / mine["median_ms"], "ratio_min": best / mine["min_ms"], "more_is_better": True, **wanted,
            })

    def static_keys(self) -> None:
        from keys import pairs

        for what, static, full, target, aim in pairs(self.bundle, self.work / "keys"):
            self.duel(what, [("lookout", "static keys", static), ("lookout", "full attention", full)], static, target, aim)

    def architectures(self, others: Path | None) -> None:
        """Other people's towers, int8 by onnxruntime, through lookout's graph pass."""
        for name in ("clip-vit-b-32-int8", "tinyclip-vit-8m-16-int8"):
            what = f"{name.removesuffix('-int8')} at random weights, onnxruntime dynamic int8"
            bundle = others / name if others else None
            if bundle is None or not (bundle / "image.onnx").exists():
                self.skip(what, 1, "give a folder of such bundles with --others (models/recipe/tried/architectures.py makes them)")
                continue
            self.duel(what, [("lookout", "", bundle), ("onnxruntime", "", bundle / "image.onnx")], bundle, 1.0, None)

    def duel(self, what: str, pair: list, bundle: Path, target, aim) -> None:
        import tomllib

        rules = tomllib.loads((bundle / "lookout.toml").read_text())["picture"]
        pixels = self.work / "random.f32"
        np.random.default_rng(0).normal(size=(1, 3, rules["height"], rules["width"])).astype(np.float32).tofile(pixels)
        for threads in (1, 2):
            progress(what, threads)
            runners = []
            try:
                for engine, form, model in pair:
                    runners.append(Runner.start(engine, form, "image", model, [pixels], threads))
                rounds(runners, *((4, 2) if self.quick else (16, 3)))
                ours, other = runners
                self.rows.append({
                    "what": what, "threads": threads, "ours": ours.median, "other": other.median, "unit": "ms",
                    "ratio": ours.median / other.median, "ratio_min": ours.best / other.best,
                    "target": target if threads == 1 else None, "aim": aim if threads == 1 else None,
                })
            except Refused as cause:
                self.skip(what, threads, str(cause)[:160])
            for runner in runners:
                runner.server.close()

    def arm64(self) -> None:
        """Instructions counted by arm64.sh, which is run apart: it builds for another processor."""
        counted = HERE / "arm64.json"
        for cpu, target, aim in (("dot product", 0.25, 0.15), ("cortex-a72", 0.5, 0.35)):
            what = f"arm64 instructions, {cpu}, tract float32"
            counts = json.loads(counted.read_text()).get(cpu) if counted.exists() else None
            if not counts:
                self.skip(what, 1, "run benches/arm64.sh first")
                continue
            ours, other = (counts[name] / 1e6 for name in ("lookout", "tract"))
            self.rows.append({
                "what": what, "threads": 1, "ours": ours, "other": other, "unit": "million", "ratio": ours / other,
                "target": target, "aim": aim,
            })

    def skip(self, what: str, threads: int, why: str) -> None:
        if threads == 1:
            self.rows.append({"what": what, "threads": 1, "skipped": why})

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def progress(what: str, threads: int = 0) -> None:
    print(time.strftime("%H:%M:%S"), what, *([f"({threads} thread{'s' if threads > 1 else ''})"] if threads else []), file=sys.stderr, flush=True)


def agreement(role: str, answer: list[float], reference: list[float] | None) -> float | None:
    """Cosine of two embeddings, or the share of equal words."""
    if reference is None:
        return None
    if role == "decoder":
        return sum(a == b for a, b in zip(answer, reference)) / len(reference)
    a, b = np.array(answer), np.array(reference)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one to five minutes, and noisier")
    parser.add_argument("--bundle", type=Path, default=HERE.parent / "models" / "default")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="for networks made from the bundle")
    parser.add_argument("--others", type=Path, help="a folder of bundles of other architectures")
    options = parser.parse_args()
    bundle, work = options.bundle.resolve(), options.work.resolve()
    results = Bench(bundle, work, options.quick).run(options.others)
    if not is_prepared(bundle, work):
        raise SystemExit("the bundle changed while it was measured: run this again")
    text = markdown(results)
    if not options.quick:
        (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "RESULTS.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
