"""What the figures were measured on."""

import datetime
import os
import platform
import subprocess
import tomllib
from pathlib import Path

import onnxruntime

from engines import OURS, PEERS

ROOT = Path(__file__).parent.parent
# The processor's flags that any of the engines' kernels asks for.
FLAGS = "avx2 fma avx_vnni avx512f avx512bw avx512vl avx512_vnni avx512_bf16 amx_int8 asimd asimddp i8mm".split()


def describe() -> dict:
    cpu = Path("/proc/cpuinfo").read_text()
    named = lambda *keys: next((line.split(":", 1)[1].strip() for line in cpu.splitlines() if line.startswith(keys)), "")
    has = named("flags", "Features").split()
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    version = {package["name"]: package["version"] for package in packages}
    return {
        "processor": named("model name", "Model") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in FLAGS if flag in has],
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.date.today().isoformat(),
        "kernel": kernel(),
        "versions": {
            "lookout": version["lookout"] + commit(),
            "onnxruntime": onnxruntime.__version__,
            "tract": version["tract-onnx"],
            "rten": version["rten"],
            "python": platform.python_version(),
        },
    }


def commit() -> str:
    """What the source is, where git knows."""
    git = lambda *words: subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True)
    head = git("rev-parse", "--short", "HEAD")
    if head.returncode:
        return ""
    changed = git("diff", "--quiet", "HEAD", "--", "src", "Cargo.toml", "Cargo.lock").returncode
    return f" ({head.stdout.strip()}{', changed' if changed else ''})"


def load() -> float:
    """Processes that wanted a core in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def kernel() -> str:
    return subprocess.run([OURS, "kernel"], capture_output=True, text=True, check=True).stdout.strip()


def int8_peak(seconds: float) -> dict[str, float]:
    """Of one core, by kernel: 10^9 multiply-adds a second with all operands in registers."""
    lines = subprocess.run([PEERS, "peak", str(seconds)], capture_output=True, text=True, check=True).stdout
    return {name: float(rate) for name, rate in (line.split() for line in lines.splitlines())}
