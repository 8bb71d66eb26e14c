"""Compares two files of answers, one JSON object a line: labels, boxes and captions of the same picture."""

import json
import sys

# Probabilities, and pixels of the original picture. The kernels of an instruction set round the same sums; what differs is
# the order of floating-point additions, and steps of a quantised activation that then fall the other way.
SCORE, PIXELS = 0.01, 4.0


def labels(reply):
    return {found["label"]: found["score"] for found in reply["labels"]}


def main(native, emulated, cpu, seconds):
    wanted, found = ({(reply := json.loads(line))["task"]: reply for line in open(path)} for path in (native, emulated))
    ours, theirs = labels(wanted["label"]), labels(found["label"])
    assert ours.keys() == theirs.keys(), (ours, theirs)
    score = max(abs(ours[label] - theirs[label]) for label in ours)
    a, b = wanted["ground"]["boxes"], found["ground"]["boxes"]
    assert a and len(a) == len(b), (a, b)
    pixels = max(abs(x - y) for one, other in zip(a, b) for x, y in zip(one["box"], other["box"]))
    score = max([score] + [abs(one["score"] - other["score"]) for one, other in zip(a, b)])
    said = ""
    if "caption" in found:
        said = f', "{found["caption"]["caption"]}"'
        assert wanted["caption"]["caption"] == found["caption"]["caption"], (wanted["caption"], found["caption"])
        score = max(score, abs(wanted["caption"]["score"] - found["caption"]["score"]))
    assert score <= SCORE and pixels <= PIXELS, f"{cpu}: scores differ by {score}, boxes by {pixels} pixels"
    print(f"{cpu}: scores within {score:.5f}, boxes within {pixels:.2f} pixels{said}, {seconds} s")


main(*sys.argv[1:])
