#!/usr/bin/python3
"""Takes the events of all devices from a broker into PostgreSQL, and finds them by words.

    fleet.py setup                                   # makes the table
    fleet.py take --broker mqtts://broker.example    # runs for good: a service
    fleet.py index                                   # once there are many events
    fleet.py search "a dog on the sofa" --since 2d

Devices send what a search by words needs with `embeddings = true` in the table [mqtt] of their configuration. Needs the
Debian packages python3-paho-mqtt, python3-psycopg2 and mosquitto or another broker with MQTT 5, PostgreSQL with pgvector
0.7 or newer, and for `search` the program lookout with the devices' bundle. README.md beside this file has the rest.
"""

import argparse
import base64
import datetime
import json
import logging
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

import paho.mqtt.client as mqtt
import psycopg2
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from psycopg2.extras import execute_values

SCHEMA = pathlib.Path(__file__).resolve().parent / "schema.sql"

# Messages that may be under way to this program without being in the database, and that go into one transaction.
WINDOW = 1000
# How long a transaction waits for more messages, in seconds.
GATHER = 0.1
# How long the broker keeps what this program missed, in seconds.
SESSION = 30 * 86400

log = logging.getLogger("fleet")


class Refused(Exception):
    """A message that is no event."""


def parse(topic, payload):
    """The columns of a message, by name. `topic` is PREFIX/DEVICE/event/TRIGGER."""
    levels = topic.split("/")
    if len(levels) < 4 or levels[-2] != "event":
        raise Refused("its topic is not one of events")
    try:
        event = json.loads(payload)
        row = {name: event[name] for name in ("id", "sequence", "phase", "trigger", "camera", "peak", "bundle")}
        row["device"], row["caption"] = levels[-3], event.get("caption")
        row["began"], at = (instant(event[name]) for name in ("began_ms", "at_ms"))
        row["ended"] = at if row["phase"] == "end" else None
        texts = [row[name] for name in ("phase", "trigger", "camera", "bundle")] + [row["caption"] or ""]
        if any(not isinstance(text, str) or "\0" in text for text in texts):
            raise Refused("a text is none")
        whole = [row["id"], row["sequence"]]
        if any(type(number) is not int or number < 0 for number in whole) or row["id"] >= 1 << 53 or row["sequence"] >= 1 << 31:
            raise Refused("its numbers are out of range")
        row["peak"] = float(row["peak"])
        row["embedding"] = direction(event.get("embedding"))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise Refused(f"it is no event: {error!r}") from None
    return row


def instant(ms):
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)


def direction(text):
    """The embedding as pgvector writes it."""
    if text is None:
        return None
    numbers = memoryview(base64.b64decode(text, validate=True)).cast("b")
    if not 0 < len(numbers) <= 4000 or not any(numbers):
        raise Refused("its embedding has no direction, or over 4000 numbers")
    return str(numbers.tolist())


COLUMNS = "device id sequence phase trigger camera began ended peak caption bundle embedding".split()
# A repeated or a late message changes nothing; the first one alone has the embedding.
STORE = f"""
    INSERT INTO events ({", ".join(COLUMNS)}) VALUES %s
    ON CONFLICT (device, id) DO UPDATE SET
        sequence = EXCLUDED.sequence, phase = EXCLUDED.phase, ended = EXCLUDED.ended, peak = EXCLUDED.peak,
        caption = coalesce(EXCLUDED.caption, events.caption),
        embedding = coalesce(EXCLUDED.embedding, events.embedding)
    WHERE events.sequence < EXCLUDED.sequence"""


def fold(rows):
    """One row for each event: a statement may change a row once."""
    events = {}
    for row in sorted(rows, key=lambda row: row["sequence"]):
        before = events.setdefault((row["device"], row["id"]), row)
        if before is not row:
            for name in ("caption", "embedding"):
                if row[name] is None:
                    row[name] = before[name]
            events[row["device"], row["id"]] = row
    # In one order, so that two such programs never wait for each other's rows.
    return [events[key] for key in sorted(events)]


class Store:
    """The table, over a connection that is made again when it breaks."""

    def __init__(self, database, stopping=None):
        self.database, self.stopping, self.connection = database, stopping or threading.Event(), None

    def store(self, rows):
        """Returns once all rows are in the table, False where the program was ended before."""
        wait = 0.5
        while True:
            try:
                if self.connection is None:
                    self.connection = psycopg2.connect(self.database)
                self.write(fold(rows))
                return True
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                log.warning("the database does not take events, which wait at the broker: %s", str(error).strip())
                self.connection = None
                if self.stopping.wait(wait):
                    return False
                wait = min(2 * wait, 30)

    def write(self, rows):
        try:
            with self.connection, self.connection.cursor() as cursor:
                values = [[row[name] for name in COLUMNS] for row in rows]
                execute_values(cursor, STORE, values, page_size=len(values))
        except psycopg2.DataError as error:
            if len(rows) == 1:
                log.error("event %s of %s is left out: %s", rows[0]["id"], rows[0]["device"], str(error).strip())
                return
            # Whichever it is, the others must not wait for it.
            for row in rows:
                self.write([row])


class Client(mqtt.Client):
    """A client that acknowledges when it is told to, not when it has received."""

    # paho 1.6 of Debian 12 acknowledges by itself, and can be kept from it here alone; paho 2 has a way of its own.
    by_hand = hasattr(mqtt.Client, "manual_ack_set")

    def __init__(self, name):
        if self.by_hand:
            super().__init__(mqtt.CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5, manual_ack=True)
        else:
            super().__init__(name, protocol=mqtt.MQTTv5)

    def _send_puback(self, mid):
        return super()._send_puback(mid) if self.by_hand else mqtt.MQTT_ERR_SUCCESS

    def acknowledge(self, mid):
        super().ack(mid, 1) if self.by_hand else super()._send_puback(mid)


class Taker:
    """Events from the broker into the table. The broker hears that a message arrived once it is in the table."""

    def __init__(self, options):
        self.options, self.stopping, self.inbox, self.link = options, threading.Event(), queue.Queue(), 0
        self.store = Store(options.database, self.stopping)
        self.client = client = Client(options.name)
        client.on_connect, client.on_disconnect, client.on_message = self.connected, self.disconnected, self.received
        if options.username:
            password = pathlib.Path(options.password_file).read_text().splitlines()[0] if options.password_file else None
            client.username_pw_set(options.username, password)
        client.reconnect_delay_set(1, 30)

    def run(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopping.set())
        url = urllib.parse.urlsplit(self.options.broker)
        if url.scheme not in ("mqtt", "mqtts") or not url.hostname:
            sys.exit(f"{self.options.broker} is no broker: write mqtt://HOST or mqtts://HOST")
        if url.scheme == "mqtts":
            self.client.tls_set(self.options.ca, self.options.cert, self.options.key)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval, properties.ReceiveMaximum = SESSION, WINDOW
        port = url.port or (8883 if url.scheme == "mqtts" else 1883)
        self.client.connect_async(url.hostname, port, keepalive=30, clean_start=False, properties=properties)
        self.client.loop_start()
        while not self.stopping.is_set():
            batch = self.gather()
            rows = [row for row, _, _ in batch if row]
            if rows and not self.store.store(rows):
                break
            for _, mid, link in batch:
                # The numbers of an earlier connection may mean other messages now. It sends again what they meant.
                if link == self.link:
                    self.client.acknowledge(mid)
        self.client.disconnect()
        self.client.loop_stop()

    def gather(self):
        batch, end = [], None
        while len(batch) < WINDOW:
            try:
                batch.append(self.inbox.get(timeout=0.5 if end is None else max(0, end - time.monotonic())))
            except queue.Empty:
                break
            end = end or time.monotonic() + GATHER
        return batch

    def connected(self, client, _, flags, reason, properties=None):
        if reason != 0:
            log.error("the broker lets nobody in as %s: %s", self.options.name, reason)
            return
        log.info("connected to %s", self.options.broker)
        client.subscribe(f"{self.options.prefix}/+/event/+", qos=1)

    def disconnected(self, *arguments):
        self.link += 1
        if not self.stopping.is_set():
            log.warning("the broker is gone; what comes meanwhile waits there")

    def received(self, _, __, message):
        row = None
        try:
            row = parse(message.topic, message.payload)
        except Refused as error:
            log.error("a message on %s is left out: %s", message.topic, error)
        self.inbox.put((row, message.mid, self.link))


def words_to_direction(lookout, words):
    """The embedding of `words` and the bundle that made it, from the program lookout."""
    command = [*lookout.split(), "embed", "--json", "--text", words]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        sys.exit(f"{lookout} cannot be run: {error}; name the program with --lookout")
    if done.returncode:
        sys.exit(f"lookout cannot embed these words: {done.stdout or done.stderr}")
    answer = json.loads(done.stdout)
    return answer["bundle"], answer["embedding"]


def find(connection, bundle, embedding, top, since=None, device=None, trigger=None, exact=False):
    """The `top` events nearest to `embedding`, best first: dictionaries with the cosine in `score`."""
    width = len(embedding)
    text = f"""
        SELECT device, id, phase, trigger, camera, began, ended, peak, caption,
               1 - (embedding::halfvec({width}) <=> %(at)s::halfvec({width})) AS score
        FROM events WHERE bundle = %(bundle)s AND embedding IS NOT NULL"""
    for name, condition in (("since", "began >= now() - %(since)s"), ("device", "device = %(device)s"),
                            ("trigger", "trigger = %(trigger)s")):
        if locals()[name] is not None:
            text += f" AND {condition}"
    text += f" ORDER BY embedding::halfvec({width}) <=> %(at)s::halfvec({width}) LIMIT %(top)s"
    values = dict(at=json.dumps(embedding), bundle=bundle, top=top, since=since, device=device, trigger=trigger)
    with connection, connection.cursor() as cursor:
        # An index gives what is near whatever else is asked for; it goes on until enough of it fits.
        cursor.execute("SET LOCAL hnsw.ef_search = 400; SET LOCAL hnsw.iterative_scan = strict_order;"
                       "SET LOCAL ivfflat.probes = 20; SET LOCAL ivfflat.iterative_scan = relaxed_order")
        if exact:
            cursor.execute("SET LOCAL enable_indexscan = off")
        cursor.execute(text, values)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row)) for row in cursor.fetchall()]


def make_indexes(connection, kind):
    """An index of the embeddings of each bundle that has none; returns the statements that were run."""
    done = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT bundle, max(vector_dims(embedding)), count(*) FROM events "
                       "WHERE embedding IS NOT NULL GROUP BY bundle")
        for bundle, width, count in cursor.fetchall():
            name = "events_" + re.sub(r"[^a-z0-9]+", "_", bundle.lower())[:50]
            lists = max(10, min(round(count / 1000), 4000))
            more = f"WITH (lists = {lists})" if kind == "ivfflat" else ""
            where = cursor.mogrify("WHERE bundle = %s", [bundle]).decode()
            statement = (f"CREATE INDEX IF NOT EXISTS {name} ON events USING {kind} "
                         f"((embedding::halfvec({width})) halfvec_cosine_ops) {more} {where}")
            cursor.execute(statement)
            done.append(statement)
    connection.commit()
    return done


def span(text):
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not found:
        raise argparse.ArgumentTypeError("write 90s, 20m, 2h or 3d")
    return datetime.timedelta(**{units[found[2]]: int(found[1])})


def search(options):
    bundle, embedding = words_to_direction(options.lookout, options.words)
    connection = psycopg2.connect(options.database)
    found = find(connection, bundle, embedding, options.top, options.since, options.device, options.trigger, options.exact)
    if options.json:
        print(json.dumps({"words": options.words, "bundle": bundle, "events": found}, default=str))
    for event in found if not options.json else []:
        print(f"{event['score']:.3f}  {event['began']:%Y-%m-%d %H:%M:%S}  {event['device']}  {event['trigger']}  "
              f"{event['id']}  {event['caption'] or ''}")


def main():
    options = arguments()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        options.run(options)
    except psycopg2.Error as error:
        sys.exit(f"the database ({options.database!r}): {str(error).strip()}")


def setup(options):
    with psycopg2.connect(options.database) as connection, connection.cursor() as cursor:
        cursor.execute(SCHEMA.read_text())


def index(options):
    print("\n".join(make_indexes(psycopg2.connect(options.database), options.kind)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, run, text):
        one = commands.add_parser(name, help=text)
        one.add_argument("--database", default="dbname=fleet", help="how libpq connects [dbname=fleet]")
        one.set_defaults(run=run)
        return one

    command("setup", setup, "make the table")
    take = command("take", lambda options: Taker(options).run(), "take events from the broker, for good")
    take.add_argument("--broker", default="mqtt://localhost", help="mqtt://HOST:PORT or mqtts://HOST:PORT")
    take.add_argument("--prefix", default="lookout", help="begin of the devices' topics")
    take.add_argument("--name", default="lookout-fleet", help="of the session that the broker keeps; one a program")
    for name in ("username", "password-file", "ca", "cert", "key"):
        take.add_argument(f"--{name}")
    one = command("index", index, "make an index of the embeddings of each bundle")
    one.add_argument("--kind", choices=("ivfflat", "hnsw"), default="ivfflat")
    one = command("search", search, "find events by words")
    one.add_argument("words")
    one.add_argument("--since", type=span, help="how long ago at most: 90s, 20m, 2h, 3d")
    one.add_argument("--device")
    one.add_argument("--trigger")
    one.add_argument("--top", type=int, default=10)
    one.add_argument("--exact", action="store_true", help="without the index")
    one.add_argument("--json", action="store_true")
    one.add_argument("--lookout", default="lookout", help="the program, with its options")
    return parser.parse_args()


if __name__ == "__main__":
    main()
