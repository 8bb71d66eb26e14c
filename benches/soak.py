"""Leaves a daemon running beside everything that goes wrong in a house, and counts what was lost.

    make soak                      # one hour
    make soak SOAK_OPTIONS="--minutes 10"

A camera by HTTP shows two pictures in turns, so that many triggers begin and end events all the time; now and then it
stalls. The broker (a real mosquitto) is restarted every minute. Noise comes in on the serial line, with a question in
between. At the end every message in the daemon's memory is looked for among those that an independent subscriber got.
Needs mosquitto and its clients, and nothing but Python's standard library.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import pty
import random
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import tty

from mjpeg import Camera

HERE = pathlib.Path(__file__).resolve().parent
BINARY = HERE.parent / "target/release/lookout"


class Line(threading.Thread):
    """The other end of the serial line: noise, and a question that must be answered every ten seconds."""

    def __init__(self, seed):
        super().__init__(daemon=True)
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.path = os.ttyname(self.slave)
        self.random = random.Random(seed)
        self.asked = self.answered = self.noise = 0
        self.times = []
        self.ending = False

    def run(self):
        while not self.ending:
            garbage = bytes(self.random.randrange(256) for _ in range(self.random.randrange(1, 400)))
            self.noise += len(garbage)
            os.write(self.master, garbage)
            time.sleep(1.5)
            self.drain(0.2)
            # Line ends take what is left of the noise with them.
            os.write(self.master, b"\r\n\r\n")
            self.drain(0.3)
            begin = time.monotonic()
            os.write(self.master, b'{"task":"label","labels":["a dog"],"id":"soak"}\r\n')
            self.asked += 1
            if b'"soak"' in self.drain(10, until=b'"soak"'):
                self.answered += 1
                self.times.append((time.monotonic() - begin) * 1e3)
            time.sleep(8)

    def drain(self, seconds, until=None):
        end, got = time.monotonic() + seconds, b""
        while time.monotonic() < end and not (until and until in got):
            if select.select([self.master], [], [], 0.05)[0]:
                got += os.read(self.master, 65536)
        return got


class Broker:
    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.config = folder / "mosquitto.conf"
        # As root it would change to a user that cannot write the folder, and forget the subscriber at every restart.
        user = "user root\n" if os.geteuid() == 0 else ""
        self.config.write_text(
            f"{user}listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {folder}/\nmax_queued_messages 0\nmax_inflight_messages 0\nlog_type none\n"
        )
        self.restarts = -1
        self.start()

    def start(self):
        self.process = subprocess.Popen(["mosquitto", "-c", self.config], stderr=subprocess.DEVNULL)
        self.restarts += 1

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        if not (self.config.parent / "mosquitto.db").exists():
            sys.exit("mosquitto kept nothing over its end: what the subscriber misses would count as lost")


def configuration(folder, camera, line, broker, triggers):
    text = f"""
device = "soak"
threads = 1
[memory]
folder = "{folder}/memory"
[mqtt]
url = "mqtt://127.0.0.1:{broker.port}"
[serial]
port = "{line.path}"
[[camera]]
name = "soak"
source = "{camera.url}"
fps = {camera.fps}
stall = "3s"
"""
    for number in range(triggers):
        text += f"""
[[trigger]]
name = "dog-{number}"
when = "a dog"
unless = ["an empty room", "a wall"]
threshold = 0.3
linger = "0s"
caption = {"true" if number == 0 else "false"}
snapshot = {"true" if number == 0 else "false"}
"""
    path = folder / "lookout.toml"
    path.write_text(text)
    return path


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        kilobytes = next(int(row.split()[1]) for row in status if row.startswith("VmRSS"))
    return kilobytes / 1024, len(os.listdir(f"/proc/{pid}/fd"))


def slope(samples):
    """Least squares: change of the second value with the first."""
    n = len(samples)
    mean_x, mean_y = sum(x for x, _ in samples) / n, sum(y for _, y in samples) / n
    above = sum((x - mean_x) * (y - mean_y) for x, y in samples)
    return above / sum((x - mean_x) ** 2 for x, _ in samples)


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--triggers", type=int, default=60)
    parser.add_argument("--flip", type=float, default=1.0, help="seconds that a picture stays")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, help="write the result here as JSON")
    parser.add_argument("--folder", type=pathlib.Path, help="work in this new folder and leave everything there")
    options = parser.parse_args()
    if options.folder:
        options.folder.mkdir(parents=True)
        result = soak(options.folder.resolve(), options)
    else:
        with tempfile.TemporaryDirectory() as name:
            result = soak(pathlib.Path(name), options)
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    sound = result["messages_lost"] == 0 and result["messages_made"] > 0 and result["questions"]["unanswered"] == 0
    sys.exit(0 if sound else 1)


def soak(folder, options):
    pictures = [(HERE.parent / "models/demo.jpg").read_bytes(), (HERE / "soak-empty.jpg").read_bytes()]
    camera = Camera(pictures, 5, flip=options.flip, every=90, stall=6)
    line, broker = Line(options.seed), Broker(folder)
    config = configuration(folder, camera, line, broker, options.triggers)
    time.sleep(1)
    received = folder / "received"
    subscriber = subprocess.Popen(
        ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-q", "1", "-c", "-i", "soak-subscriber",
         "-t", "lookout/soak/event/#"],
        stdout=open(received, "wb"), stderr=subprocess.DEVNULL)
    log = open(folder / "log", "wb")
    daemon = subprocess.Popen([BINARY, "-v", "run", "-c", config], stderr=log, cwd=HERE.parent)
    line.start()
    begin, samples, next_restart = time.monotonic(), [], 60
    while (since := time.monotonic() - begin) < options.minutes * 60:
        time.sleep(1)
        if daemon.poll() is not None:
            sys.exit("the daemon ended:\n" + (folder / "log").read_text()[-2000:])
        samples.append((since / 3600, *resident(daemon.pid)))
        if since >= next_restart:
            broker.stop()
            time.sleep(3)
            broker.start()
            next_restart += 60
        if sys.stderr.isatty():
            print(f"\r{since / 60:5.1f} of {options.minutes:g} minutes, {samples[-1][1]:.1f} MB", end="", file=sys.stderr)
    cpu = sum(float(x) for x in open(f"/proc/{daemon.pid}/stat").read().rsplit(")", 1)[1].split()[11:13])
    line.ending = True
    # What the outbox still holds goes out; then the daemon says goodbye.
    database = folder / "memory/events.db"
    for _ in range(120):
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            waiting = connection.execute("SELECT count(*) FROM outbox").fetchone()[0]
        if waiting == 0:
            break
        time.sleep(0.5)
    daemon.send_signal(signal.SIGTERM)
    daemon.wait(10)
    time.sleep(2)
    with sqlite3.connect(database) as connection:
        made = {(row[0], sequence) for row in connection.execute("SELECT id, sequence FROM events")
                for sequence in range(row[1] + 1)}
        left = {(m["id"], m["sequence"]) for m in
                (json.loads(row[0]) for row in connection.execute("SELECT message FROM outbox"))}
    subscriber.terminate()
    subscriber.wait()
    broker.stop()
    got = [(message["id"], message["sequence"]) for message in map(json.loads, received.read_bytes().splitlines())]
    settled = [sample for sample in samples if sample[0] > samples[-1][0] / 3]
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "minutes": options.minutes,
        "triggers": options.triggers,
        "events": len({identity for identity, _ in made}),
        "messages_made": len(made),
        "messages_lost": len(made - set(got) - left),
        "messages_repeated": len(got) - len(set(got)),
        "messages_left_in_outbox_at_the_end": len(left),
        "broker_restarts": broker.restarts,
        "camera_stalls": camera.stalls,
        "serial_noise_bytes": line.noise,
        "questions": {
            "asked": line.asked, "unanswered": line.asked - line.answered,
            "median_ms": quantile(line.times, 0.5), "p95_ms": quantile(line.times, 0.95),
        },
        "resident_mb": {
            "first_third_end": settled[0][1], "end": settled[-1][1], "most": max(sample[1] for sample in samples),
            "slope_mb_an_hour": round(slope([(sample[0], sample[1]) for sample in settled]), 3),
        },
        "descriptors": {"least": min(s[2] for s in settled), "most": max(s[2] for s in settled)},
        "cpu_share_of_one_core": round(cpu / os.sysconf("SC_CLK_TCK") / (options.minutes * 60), 3),
    }


if __name__ == "__main__":
    main()
