"""The results as Markdown."""


def markdown(results: dict) -> str:
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        "# lookout against other engines",
        "",
        f"Made by `make bench`{' (quick)' if results['quick'] else ''} on {machine['date']}: {machine['processor']}, "
        f"{machine['cores']} cores, {machine['system']}, {' '.join(machine['flags'])}. lookout's kernel: {machine['kernel']}. "
        f"Load average {machine['load'][0]} before, {machine['load'][1]} after. {versions}.",
        "",
        f"Bundle {results['bundle']}: its image tower does {results['multiply_adds'] / 1e6:.0f} million multiply-adds, "
        f"{results['of_these_depthwise'] / 1e6:.0f} million of them in depthwise convolutions. One core's int8 peak, "
        "registers only, in 10^9 multiply-adds a second at best: "
        + ", ".join(f"{name} {rate:.0f}" for name, rate in machine["int8_peak_gmacs"].items()) + ".",
        "",
        "Ratio: ours divided by the other, of medians; in brackets of the shortest times. A target is for one thread. The share of "
        "the peak is of the peak in the same turns.",
        "",
        "| against | threads | ours | other | ratio | target | aim | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [row(entry) for entry in results["rows"]]
    for table in results["tables"]:
        threads = "one thread" if table["threads"] == 1 else f"{table['threads']} threads"
        lines += [
            "", f"## {table['title'].capitalize()}, {threads}", "",
            "| engine | form | median ms | shortest ms | load and first run ms | peak MB | above start MB | agrees |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for e in sorted(table["entries"], key=lambda e: e["median_ms"]):
            form = e["file"].removesuffix(".onnx") if e["form"] else "bundle"
            agrees = "" if e["agrees"] is None else f"{e['agrees']:.4f}"
            lines.append(
                f"| {e['engine']} | {form} | {e['median_ms']:.2f} | {e['min_ms']:.2f} | {e['load_ms']:.0f} "
                f"| {e['peak_mb']:.0f} | {e['growth_mb']:.0f} | {agrees} |"
            )
    lines += [
        "",
        "Agrees: the cosine with onnxruntime's float32 run of the same weights on the demo picture (static int8 was "
        "calibrated on it, among others), or the share of equal words of a caption. Of each form the fastest file was "
        "taken in each engine; results.json has what the others took. onnxruntime runs in Python, whose share is inside "
        "`peak` and not in `above start`; its time is that of `run` alone. tract's threads are its own for products of "
        "matrices. AVX2 only: `LOOKOUT_KERNEL=avx2` for lookout and `TRACT_CPU_ISA` for tract; onnxruntime and rten have no "
        "such switch.",
    ]
    lines += ["", *(f"- {note}" for note in results["notes"])] if results["notes"] else []
    return "\n".join(lines) + "\n"


def row(entry: dict) -> str:
    what, threads = entry["what"], entry["threads"]
    if "skipped" in entry:
        return f"| {what} | {threads} | | | | | | left out: {entry['skipped']} |"
    percent = entry.get("more_is_better")
    show = (lambda v: f"{v:.0%}") if percent else (lambda v: f"{v:.2f}")
    ratio = show(entry["ratio"]) + (f" ({show(entry['ratio_min'])})" if "ratio_min" in entry else "")
    target, aim = (f"{'>=' if percent else '<='} {show(v)}" if v else "" for v in (entry["target"], entry["aim"]))
    amount = lambda v: f"{v:.2f} {entry['unit']}" if v < 100 else f"{v:.0f} {entry['unit']}"
    return f"| {what} | {threads} | {amount(entry['ours'])} | {amount(entry['other'])} | {ratio} | {target} | {aim} | {verdict(entry)} |"


def verdict(entry: dict) -> str:
    if entry.get("wrong"):
        return "does not count: the answers differ"
    if not entry["target"]:
        return ""
    reached = (lambda limit: limit and entry["ratio"] >= limit) if entry.get("more_is_better") else (lambda limit: limit and entry["ratio"] <= limit)
    return "aim reached" if reached(entry["aim"]) else "target reached" if reached(entry["target"]) else "missed"
