"""`onnx_server.py THREADS`: onnxruntime behind the line protocol of runner/src/serve.rs. The roles' inputs are the same;
a decoder's cache goes from each step's outputs to the next step's inputs without a copy."""

import sys
import time


def status(key: str) -> int:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key))


import numpy as np
import onnxruntime as ort

IMPORTED_KIB = status("VmRSS:")


def session(model: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def shape_of(run: ort.InferenceSession, name: str) -> list:
    return next(i.shape for i in run.get_inputs() if i.name == name)


def tower(run: ort.InferenceSession, array: np.ndarray):
    feed = {run.get_inputs()[0].name: array}
    names = [o.name for o in run.get_outputs()]
    at = names.index("embedding") if "embedding" in names else 0
    return lambda: run.run(None, feed)[at].ravel()


def image(run, path):
    name = run.get_inputs()[0].name
    return tower(run, np.fromfile(path, np.float32).reshape(shape_of(run, name)))


def text(run, ids):
    return tower(run, np.array([[int(i) for i in ids.split(",")]], np.int64))


def decoder(run, path, start, words):
    """As many words as asked for, each the most probable, whether or not the sentence ends before."""
    of = ort.OrtValue.ortvalue_from_numpy
    patches = of(np.fromfile(path, np.float32).reshape(shape_of(run, "patches")))
    *batch, layers, heads, _, width = shape_of(run, "keys")
    names = ["logits", "new_keys", "new_values"]

    def caption():
        keys = values = of(np.zeros((*[1] * len(batch), layers, heads, 0, width), np.float32))
        token, said = int(start), []
        for position in range(int(words)):
            feed = {"token": of(np.array([[token]])), "position": of(np.array([position])), "patches": patches,
                    "keys": keys, "values": values}
            logits, keys, values = run.run_with_ort_values(names, feed)
            token = int(logits.numpy().argmax())
            said.append(token)
        return np.array(said)

    return caption


def main(threads: int) -> None:
    run = answer = None
    for line in sys.stdin:
        words = line.split()
        try:
            if words[:1] == ["load"]:
                begin = time.perf_counter()
                run = {"image": image, "text": text, "decoder": decoder}[words[1]](session(words[2], threads), *words[3:])
                answer = run()
                reply = f"{(time.perf_counter() - begin) * 1e3:.4f}"
            elif words[:1] == ["time"]:
                times = []
                for _ in range(int(words[1])):
                    begin = time.perf_counter()
                    answer = run()
                    times.append(f"{(time.perf_counter() - begin) * 1e3:.4f}")
                reply = " ".join(times)
            elif words == ["answer"]:
                reply = " ".join(str(v) for v in answer)
            elif words == ["memory"]:
                reply = f"{status('VmHWM:')} {status('VmRSS:')} {IMPORTED_KIB}"
            else:
                reply = f"error not a request: {line.strip()}"
        except Exception as error:  # Told, as every engine does; the driver decides.
            reply = f"error {str(error)[:400]}".replace("\n", " ")
        print(reply, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
