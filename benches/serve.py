"""A server under clients: rows per second beside pyarrow's own Flight server, latency beside the same statement in
process, connections that are dropped or idle, and memory under mixed load.

    python benches/serve.py GSTORE --store STORE [--statement STATEMENT-BINARY] [--minutes 30] [--out FILE.jsonl]

GSTORE and STATEMENT-BINARY (`target/release/statement`) are release builds; STORE is made by `influence make` (see
benches/influence.sh), or any other store with a large feature. Ratios are taken inside one round, ours and the peer's
in turn. Needs pyarrow.
"""

import argparse
import json
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as flight

OPTIONS = [("grpc.max_receive_message_length", -1)]


class Peer(flight.FlightServerBase):
    """pyarrow's server over a mapped file."""

    def __init__(self, file):
        super().__init__("grpc://127.0.0.1:0")
        self.reader = pa.ipc.open_file(pa.memory_map(file))

    def do_get(self, context, ticket):
        part, parts = json.loads(ticket.ticket)
        numbers = range(self.reader.num_record_batches)[part::parts]
        batches = (self.reader.get_batch(i) for i in numbers)
        return flight.GeneratorStream(self.reader.schema, batches)


class Server:
    """A server and a token for it; `stop` ends both."""

    def __init__(self, options):
        self.gstore, self.store, self.name = options.gstore, options.store, f"bench-{os.getpid()}"
        self.token, self.process = None, None

    def tokens(self, *words):
        command = [self.gstore, "token", *words, "--store", self.store]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def start(self):
        self.token = self.tokens("create", self.name, "--scope", "read", "--expires", "1d")
        self.log = tempfile.NamedTemporaryFile(prefix="gstore-serve-", suffix=".log")
        limits = ["--connections", "20000", "--statements", "64", "--statements-each", "64", "--waiting", "4096"]
        command = [self.gstore, "serve", "--store", self.store, "--listen", "127.0.0.1:0", "--log-level", "warn"]
        self.process = subprocess.Popen([*command, *limits], stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.address = self.process.stdout.readline().strip().replace("grpc://", "grpc+tcp://")
        self.options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {self.token}".encode())])

    def client(self):
        return flight.FlightClient(self.address, generic_options=OPTIONS)

    def status(self, key):
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(key))

    def rss(self):
        """MiB."""
        return self.status("VmRSS") / 1024

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def running(self, client):
        answer = next(iter(client.do_action(flight.Action("health", b""), self.options)))
        return json.loads(answer.body.to_pybytes())["running"]

    def ask(self, client, sql):
        """One statement to its last row, by the plain way: two calls."""
        descriptor = flight.FlightDescriptor.for_command(json.dumps({"sql": sql}).encode())
        info = client.get_flight_info(descriptor, self.options)
        return client.do_get(info.endpoints[0].ticket, self.options).read_all().num_rows

    def stop(self):
        """The exit code."""
        try:
            if self.process:
                self.process.terminate()
                return self.process.wait(60)
        finally:
            if self.token:
                self.tokens("revoke", self.name)


def middle(values):
    return statistics.median(values)


def nth(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def drain(stream):
    size = 0
    for chunk in stream:
        size += chunk.data.nbytes
    return size


def rows_per_second(server, options, report):
    client = server.client()
    path = flight.FlightDescriptor.for_path("vectors", options.dataset, options.feature)
    info = client.get_flight_info(path, server.options)
    whole = [client.do_get(endpoint.ticket, server.options).read_all() for endpoint in info.endpoints]
    file = str(Path(options.scratch) / "peer.arrow")
    with pa.OSFile(file, "wb") as out, pa.ipc.new_file(out, whole[0].schema) as writer:
        for part in whole:
            for batch in part.to_batches():
                writer.write_batch(batch)
    del whole
    process = subprocess.Popen([sys.executable, __file__, "peer", file], stdout=subprocess.PIPE, text=True)
    other = flight.FlightClient(process.stdout.readline().strip(), generic_options=OPTIONS)

    def ours(streams):
        with ThreadPoolExecutor(streams) as pool:
            return sum(pool.map(lambda e: drain(client.do_get(e.ticket, server.options)), info.endpoints))

    def theirs(streams):
        tickets = [flight.Ticket(json.dumps([i, streams]).encode()) for i in range(streams)]
        with ThreadPoolExecutor(streams) as pool:
            return sum(pool.map(lambda ticket: drain(other.do_get(ticket)), tickets))

    for streams in (1, 4):
        ours(streams), theirs(streams)
        rates = {"ours": [], "pyarrow": []}
        for number in range(options.rounds):
            pair = [("ours", ours), ("pyarrow", theirs)]
            for name, get in pair[:: -1 if number % 2 else 1]:
                began = time.perf_counter()
                size = get(streams)
                rates[name].append(size / (time.perf_counter() - began) / 1e9)
        ratio = middle([a / b for a, b in zip(rates["ours"], rates["pyarrow"])])
        report("do_get", streams=streams, ours_gb_s=middle(rates["ours"]), pyarrow_gb_s=middle(rates["pyarrow"]), ratio=ratio)
    process.kill()


def latency(server, options, report):
    sql = options.sql or f"SELECT count(*) FROM \"{options.dataset}\""
    here = None
    if options.statement:
        command = [options.statement, "--store", options.store, "--runs", "500", sql]
        here = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["ms"]
        report("in process", p50_ms=middle(here), p99_ms=nth(here, 0.99))
    # The server keeps the plans of the last statements; one that has another text each time is planned each time.
    for clients, text in [(1, "same"), (16, "same"), (64, "same"), (1, "new"), (16, "new")]:
        times, lock = [], threading.Lock()

        def work(number):
            client, own = server.client(), []
            server.ask(client, sql)
            for i in range(max(20, 1000 // clients)):
                asked = sql if text == "same" else f"{sql} -- {clients}, {number}, {i}"
                began = time.perf_counter()
                server.ask(client, asked)
                own.append((time.perf_counter() - began) * 1e3)
            with lock:
                times.extend(own)

        began = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(work, range(clients)))
        rate = len(times) / (time.perf_counter() - began)
        added = middle(times) - middle(here) if here else None
        report("latency", clients=clients, text=text, p50_ms=middle(times), p99_ms=nth(times, 0.99), per_second=rate, added_p50_ms=added)


def dropped(server, options, report):
    before = (server.rss(), server.files())
    sql = "SELECT range, repeat('x', 1000) AS x FROM range(100000000)"
    descriptor = flight.FlightDescriptor.for_command(json.dumps({"sql": sql}).encode())

    def drop(_):
        client = server.client()
        info = client.get_flight_info(descriptor, server.options)
        reader = client.do_get(info.endpoints[0].ticket, server.options)
        reader.read_chunk()
        client.close()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(drop, range(options.dropped)))
    watch, running = server.client(), 1
    for _ in range(100):
        running = server.running(watch)
        if running == 0:
            break
        time.sleep(0.1)
    watch.close()
    time.sleep(2)
    files = server.files() - before[1]
    report("dropped", connections=options.dropped, running_after=running, mib_more=server.rss() - before[0], files_more=files)


def idle(server, options, report):
    before = server.rss()
    host, port = server.address.removeprefix("grpc+tcp://").rsplit(":", 1)
    held, refused = [], 0
    for _ in range(options.idle):
        try:
            held.append(socket.create_connection((host, int(port)), timeout=5))
        except OSError:
            refused += 1
    time.sleep(2)
    client = server.client()
    began = time.perf_counter()
    server.ask(client, "SELECT 1")
    took = (time.perf_counter() - began) * 1e3
    kib = (server.rss() - before) * 1024 / max(len(held), 1)
    report("idle", held=len(held), refused=refused, kib_each=kib, a_query_then_ms=took)
    for connection in held:
        connection.close()


def mixed(server, options, report):
    end = time.monotonic() + options.minutes * 60
    errors, counts, memory = [], [0] * options.clients, []
    statements = [
        "SELECT 1",
        f'SELECT count(*) FROM "{options.dataset}"',
        f'SELECT * FROM "{options.dataset}" ORDER BY row LIMIT 100',
        "SELECT range % 100 AS g, count(*) FROM range(200000) GROUP BY g",
    ]
    vectors = {"vectors": {"dataset": options.dataset, "feature": options.feature, "rows": [0, 2000]}}

    def work(number):
        draw, client = random.Random(number), server.client()
        while time.monotonic() < end:
            try:
                what = draw.randrange(6)
                if what == 4:
                    command = flight.FlightDescriptor.for_command(json.dumps(vectors).encode())
                    info = client.get_flight_info(command, server.options)
                    drain(client.do_get(info.endpoints[0].ticket, server.options))
                elif what == 5:
                    client.close()
                    client = server.client()
                else:
                    server.ask(client, statements[what])
                counts[number] += 1
            except Exception as error:  # every kind of error counts
                errors.append(str(error).splitlines()[0])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(options.clients)]
    [thread.start() for thread in threads]
    while time.monotonic() < end:
        time.sleep(min(5, max(0.1, options.minutes * 6)))
        memory.append(server.rss())
    [thread.join() for thread in threads]
    quarter = max(1, len(memory) // 4)
    # The first minutes fill caches.
    early, late = middle(memory[quarter : 2 * quarter] or memory), middle(memory[-quarter:])
    report("mixed", minutes=options.minutes, requests=sum(counts), errors=len(errors), early_mib=early, late_mib=late, first_errors=errors[:3])


def measure(server, options, report, about):
    if not (options.dataset and options.feature):
        sql = "SELECT dataset, number, vectors, dim, dtype FROM gstore.features ORDER BY vectors * dim DESC LIMIT 1"
        descriptor = flight.FlightDescriptor.for_command(json.dumps({"sql": sql}).encode())
        info = server.client().get_flight_info(descriptor, server.options)
        [largest] = server.client().do_get(info.endpoints[0].ticket, server.options).read_all().to_pylist()
        options.dataset, options.feature = largest["dataset"], str(largest["number"])
        about.update({name: largest[name] for name in ("vectors", "dim", "dtype")})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    parts = {"do_get": rows_per_second, "latency": latency, "dropped": dropped, "idle": idle, "mixed": mixed}
    for name in options.only.split(","):
        parts[name](server, options, report)


def main():
    if sys.argv[1:2] == ["peer"]:
        peer = Peer(sys.argv[2])
        print(f"grpc+tcp://127.0.0.1:{peer.port}", flush=True)
        return peer.serve()
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("gstore")
    arguments.add_argument("--store", required=True)
    arguments.add_argument("--statement", help="the binary `statement`, for the time in process")
    arguments.add_argument("--dataset", help="the largest feature's, if not given")
    arguments.add_argument("--feature", help="label or number")
    arguments.add_argument("--sql", help="the small statement")
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--dropped", type=int, default=1000)
    arguments.add_argument("--idle", type=int, default=10000)
    arguments.add_argument("--minutes", type=float, default=30)
    arguments.add_argument("--clients", type=int, default=8, help="of the mixed load")
    arguments.add_argument("--scratch", default=tempfile.gettempdir(), help="for the peer's file")
    arguments.add_argument("--only", default="do_get,latency,dropped,idle,mixed")
    arguments.add_argument("--out")
    options = arguments.parse_args()
    model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    lines = [{"machine": model.split(":")[1].strip(), "cores": os.cpu_count()}]

    def report(what, **figures):
        lines.append({"what": what, **figures})
        shown = (f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items())
        print(f"{what:10} {', '.join(shown)}", flush=True)

    server = Server(options)
    try:
        server.start()
        measure(server, options, report, lines[0])
    finally:
        code = server.stop()
    report("stopped", code=code)
    if options.out:
        with open(options.out, "w") as out:
            out.writelines(json.dumps(line) + "\n" for line in lines)


main()
