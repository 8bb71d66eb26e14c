"""What the daemon costs: processor share on still and busy scenes, triggers, and questions over its links.

    make bench-daemon

Pictures come from an MJPEG server in this script (640 x 480). Shares are of one core, from the kernel's accounting of
the process. Needs mosquitto and its clients (paho is not needed), and nothing but Python's standard library.
"""

import argparse
import json
import os
import pathlib
import platform
import pty
import re
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import tty
import urllib.request

from mjpeg import Camera

HERE = pathlib.Path(__file__).resolve().parent
BINARY = HERE.parent / "target/release/lookout"


class Daemon:
    def __init__(self, pictures, fps, triggers, more=""):
        self.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self.folder.name)
        self.camera = Camera(pictures, fps)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        text = (f'device = "bench"\nthreads = 1\n[memory]\nfolder = "{folder}/memory"\n[web]\nlisten = "127.0.0.1:{self.port}"\n'
                f'{more}\n[[camera]]\nname = "bench"\nsource = "{self.camera.url}"\nfps = {fps}\n')
        for number in range(triggers):
            text += f'[[trigger]]\nname = "t{number}"\nwhen = "thing {number}"\nunless = ["nothing", "another {number}"]\nthreshold = 1.0\n'
        (folder / "lookout.toml").write_text(text)
        self.process = subprocess.Popen([BINARY, "run", "-c", folder / "lookout.toml"], cwd=HERE.parent)
        end = time.monotonic() + 60
        while True:
            try:
                if self.status()["looks"] >= 1:
                    break
            except OSError:
                pass
            if time.monotonic() > end:
                raise SystemExit("the daemon gave no answer within a minute")
            time.sleep(0.2)

    def status(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/status", timeout=10) as answer:
            return json.load(answer)

    def used(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        self.camera.shutdown()
        self.folder.cleanup()


def shares(still, busy, seconds):
    rows = []
    for scene, pictures in (("still", still), ("busy", busy)):
        for fps in (1, 5, 15):
            daemon = Daemon(pictures, fps, 3)
            time.sleep(3)
            used, looks, begin = daemon.used(), daemon.status()["looks"], time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - begin
            status = daemon.status()
            rows.append({
                "scene": scene, "fps": fps, "frames_a_second": round(status["cameras"][0]["fps"], 2),
                "looks_a_second": round((status["looks"] - looks) / took, 2),
                "percent_of_one_core": round(100 * (daemon.used() - used) / took, 2),
            })
            daemon.stop()
    return rows


def triggers(busy, seconds):
    """Milliseconds of a look with one trigger and with a hundred, in turns."""
    one, hundred = Daemon(busy, 10, 1), Daemon(busy, 10, 100)
    samples = ([], [])
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for daemon, sample in ((one, samples[0]), (hundred, samples[1])):
            sample.append(daemon.status()["look_ms"])
            time.sleep(0.11)
    one.stop()
    hundred.stop()
    first, second = map(statistics.median, samples)
    return {"one_ms": first, "hundred_ms": second, "ratio": round(second / first, 3)}


def quantiles(times):
    times = sorted(times)
    return {"median_ms": round(statistics.median(times), 2), "p95_ms": round(times[int(0.95 * len(times))], 2)}


def questions(busy, count):
    """From sending a question to having its answer, and what of it the answer itself says it took."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    broker = subprocess.Popen(["mosquitto", "-p", str(port)], stderr=subprocess.DEVNULL)
    master, slave = pty.openpty()
    tty.setraw(slave)
    daemon = Daemon(busy, 1, 1, f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\nhome_assistant = false\n[serial]\nport = "{os.ttyname(slave)}"\n')
    time.sleep(2)
    question = {"task": "label", "labels": ["a dog", "a cat"]}
    result = {}

    def measure(name, ask):
        whole, inside = [], []
        for number in range(count):
            begin = time.perf_counter()
            reply = ask(number)
            whole.append((time.perf_counter() - begin) * 1e3)
            inside.append(reply["ms"])
        result[name] = {**quantiles(whole), "answer_itself": quantiles(inside),
                        "overhead": quantiles([a - b for a, b in zip(whole, inside)])}

    def http_ask(number):
        request = urllib.request.Request(f"http://127.0.0.1:{daemon.port}/api/ask", json.dumps(question).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def serial_ask(number):
        os.write(master, json.dumps({**question, "id": number}).encode() + b"\r\n")
        got = b""
        while not re.search(rb'\{[^\n]*"id":\s*%d\D[^\n]*\n' % number, got):
            got += os.read(master, 65536)
        return json.loads(re.search(rb'\{[^\n]*"id":\s*%d\D[^\n]*' % number, got)[0])

    measure("http", http_ask)
    measure("serial (PTY)", serial_ask)
    daemon.stop()
    broker.terminate()
    broker.wait()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=30, help="of each measurement")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    frames = [(HERE / name).read_bytes() for name in ("daemon-still.jpg", "daemon-busy.jpg")]
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "processor_share": shares(frames[:1], frames, options.seconds),
        "triggers": triggers(frames, options.seconds),
        "questions": questions(frames, options.questions),
    }
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
