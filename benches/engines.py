"""The engines as processes that answer one line at a time (the protocol is in runner/src/serve.rs), and fair rounds over
them."""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target"))
OURS, PEERS = TARGET / "release" / "ours", TARGET / "peers" / "peers"
# What takes tract back to AVX2; onnxruntime and rten have no such switch.
TRACT_AVX2 = "-avx512f,-avx512vnni,-avx512fp16,-avxvnni,-amx-int8,-amx-bf16"
REST_S = 0.01


class Refused(Exception):
    """An engine answered with an error, or ended."""


class Server:
    def __init__(self, engine: str, threads: int):
        name, _, limit = engine.partition(" ")
        command = {
            "lookout": [OURS, threads],
            "onnxruntime": [sys.executable, HERE / "onnx_server.py", threads],
            "tract": [PEERS, "tract", threads],
            "rten": [PEERS, "rten", threads],
            "registers": [PEERS, "registers", threads],
        }[name]
        limits = {"": {}, "avx2": {"LOOKOUT_KERNEL": "avx2", "TRACT_CPU_ISA": TRACT_AVX2}}[limit]
        self.name = engine
        self.process = subprocess.Popen(
            [str(word) for word in command], env=os.environ | limits, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )

    def ask(self, *words) -> str:
        try:
            self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        reply = self.process.stdout.readline()
        if not reply or reply.startswith("error"):
            raise Refused(f"{self.name}: {reply[6:].strip() or f'ended with {self.process.wait()}'}")
        return reply.strip()

    def time(self, runs: int) -> list[float]:
        return [float(word) for word in self.ask("time", runs).split()]

    def answer(self) -> list[float]:
        return [float(word) for word in self.ask("answer").split()]

    def memory(self) -> tuple[float, float]:
        """Peak, and how far it lies above the process before it loaded anything: 10^6 bytes."""
        peak, _, before = (int(word) * 1024 / 1e6 for word in self.ask("memory").split())
        return peak, peak - before

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@dataclass
class Runner:
    """An engine with one network loaded, and its times so far."""

    engine: str
    form: str
    file: str
    server: Server
    load_ms: float
    times: list[float] = field(default_factory=list)

    @classmethod
    def start(cls, engine: str, form: str, role: str, model, inputs: list, threads: int) -> "Runner":
        server = Server(engine, threads)
        try:
            load_ms = float(server.ask("load", role, model, *inputs))
        except Refused:
            server.close()
            raise
        return cls(engine, form, Path(model).name, server, load_ms)

    @property
    def name(self) -> str:
        return f"{self.engine} {self.form}".strip()

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def best(self) -> float:
        return min(self.times)


def rounds(runners: list[Runner], count: int, runs: int) -> None:
    """`count` times round all of them, `runs` runs each, from another one first each time. The first run of a turn is
    not counted: the others have emptied the caches, and threads have gone to sleep."""
    for runner in runners:
        runner.server.time(2)
    for turn in range(count):
        at = turn % len(runners)
        for runner in runners[at:] + runners[:at]:
            runner.times += runner.server.time(runs + 1)[1:]
            time.sleep(REST_S)


def fastest(engine: str, form: str, role: str, files: list[Path], inputs: list, threads: int) -> tuple[Runner | None, dict]:
    """The fastest of several files of one form in this engine, and what each took (milliseconds, or why it did not run)."""
    runners, tried = [], {}
    for file in files:
        try:
            runners.append(Runner.start(engine, form, role, file, inputs, threads))
        except Refused as cause:
            tried[file.name] = str(cause)
    if len(runners) > 1:
        rounds(runners, 3, 2)
    runners.sort(key=lambda runner: min(runner.times, default=0.0))
    for runner in runners:
        tried[runner.file] = round(min(runner.times), 3) if runner.times else "the only one"
        runner.times.clear()
    for runner in runners[1:]:
        runner.server.close()
    return (runners[0] if runners else None), tried
