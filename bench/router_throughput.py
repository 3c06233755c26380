"""Reads a second through the router with 0, 1, 2 and 3 replicas, when the servers are what limits them.

Each server has the same share of a core: 20 %, in periods of 10 ms. Four of them use less than one core, so that on
two cores the client is not what limits; how much it used is told. A read is an aggregate that costs the server some
milliseconds, and the client a small part of one. 24 clients read, whatever the number of replicas, each with a
connection of its own: enough to have something wait at every server all the time. Without replicas all reads go to the
primary, which is the reference. With some, all go to them, and the primary is left to its writes.

One round measures every number of replicas with each strategy, one after the other; the clients have read once, and so
have their connections, when the clock starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event, Thread

import psycopg
from sqlalchemy import text

from bench.cpu_share import Controller, Throttling, limited, preferred
from bench.measure import Circumstances, Row, bar, interleaved, options, ratios, say, write_rows
from bench.router_lab import postmaster, router_lab, server_version, urls
from replctl.router import Connecting, DatabaseConfig, ReadReplicaManager, RouterOptions, Strategy, Token

STRATEGIES = (Strategy.ROUND_ROBIN, Strategy.LEAST_CONNECTIONS)
BARS = {2: 1.9, 3: 2.7}
"""Times the reads of the primary alone, by the number of replicas."""
ALONE = "primary alone"
FIRST_READ_SECONDS = 60
MESSAGES = 4000
TABLE = (
    "create table bench_message (id int primary key, body text not null)",
    f"insert into bench_message select i, repeat(md5(i::text), 4) from generate_series(1, {MESSAGES}) i",
    # Rows that vacuum has seen need no look into the commit log: the first reads cost what the last ones do.
    "vacuum (freeze, analyze) bench_message",
)
READ = text("select max(md5(body)), count(*) from bench_message where id > :least")


@dataclass
class Clients:
    """Threads that read as fast as they are answered."""

    manager: ReadReplicaManager
    number: int
    stopped: Event = field(default_factory=Event)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reads = [0] * self.number

    def read(self, client: int) -> None:
        try:
            while not self.stopped.is_set():
                with self.manager.get_read_session() as session:
                    session.execute(READ, {"least": client}).one()
                self.reads[client] += 1
        except BaseException as failure:
            self.failures.append(failure)
            raise

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """All of them have been answered once when it begins. Raises what a read raised."""
        threads = [Thread(target=self.read, args=(client,)) for client in range(self.number)]
        for thread in threads:
            thread.start()
        try:
            deadline = time.monotonic() + FIRST_READ_SECONDS
            while not all(self.reads) and not self.failures and time.monotonic() < deadline:
                self.stopped.wait(0.01)
            yield
        finally:
            self.stopped.set()
            for thread in threads:
                thread.join()
        if self.failures:
            raise self.failures[0]


@dataclass(frozen=True)
class Bench:
    """Measures one combination after the other."""

    config: DatabaseConfig
    groups: Mapping[str, Path]
    clients: int
    seconds: float
    cores_used: list[float] = field(default_factory=list)
    """By the client's process, of each measurement."""
    busy: list[float] = field(default_factory=list)
    """The least busy server's part of periods in which its share was used up, of each measurement."""

    def reads_per_second(self, strategy: Strategy, replicas: int) -> float:
        with self._manager(strategy, replicas) as manager:
            clients = Clients(manager, self.clients)
            with clients.at_work():
                return self._counted(clients, replicas)

    def _counted(self, clients: Clients, replicas: int) -> float:
        nodes = list(self.groups)
        readers = [self.groups[node] for node in (nodes[1 : replicas + 1] or nodes[:1])]
        throttled = [Throttling.of(group) for group in readers]
        begin, cpu, reads = time.monotonic(), time.process_time(), sum(clients.reads)
        clients.stopped.wait(self.seconds)
        seconds = time.monotonic() - begin
        reads = sum(clients.reads) - reads
        self.cores_used.append((time.process_time() - cpu) / seconds)
        self.busy.append(min(Throttling.of(group).since(was) for group, was in zip(readers, throttled, strict=True)))
        return reads / seconds

    @contextmanager
    def _manager(self, strategy: Strategy, replicas: int) -> Iterator[ReadReplicaManager]:
        """With its defaults, but for pools that have a connection for each client."""
        connecting = Connecting(pool={"pool_size": self.clients})
        to = self.config.read_replica_urls[:replicas]
        manager = ReadReplicaManager(
            self.config.primary_url, to, strategy, options=RouterOptions(connecting=connecting)
        )
        try:
            manager.start()
            yield manager
            refuse_stand_ins(manager, replicas)
        finally:
            manager.dispose()


def refuse_stand_ins(manager: ReadReplicaManager, replicas: int) -> None:
    """Reads that the primary served in a replica's place would be no replica's throughput."""
    live = manager.live
    if replicas and live is not None and live.reader.units:
        raise SystemExit(f"the primary served {live.reader.units} reads, and replicas were to serve all of them")


def main() -> None:
    parser = options(__doc__, rounds=5)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=4, help="of one measurement")
    parser.add_argument("--share", type=float, default=0.2, help="of one core, for each server")
    chosen = parser.parse_args()
    controller = Controller.of_machine()
    with router_lab(chosen.folder) as lab:
        config = urls(lab)
        version = prepare(config)
        postmasters = {node: postmaster(lab, node) for node in lab.ports}
        with preferred(controller), limited(controller, postmasters, chosen.share) as groups:
            bench = Bench(config, groups, chosen.clients, chosen.seconds)
            run = Circumstances.now(("sqlalchemy", "psycopg"), version)
            figures = interleaved(subjects(bench), chosen.rounds)
    say(f"client: {median(bench.cores_used):.2f} of a core ({max(bench.cores_used):.2f} at most); {busy(bench)}")
    write_rows(chosen.results, rows(run, figures))


def prepare(config: DatabaseConfig) -> str:
    """Fills the table, and waits until every replica has it. Returns PostgreSQL's version."""
    with psycopg.connect(config.primary_url, autocommit=True) as connection:
        for statement in TABLE:
            connection.execute(statement)
    manager = ReadReplicaManager(config.primary_url, config.read_replica_urls)
    try:
        with manager.get_write_session() as session:
            token = session.take_token()
        await_everywhere(manager, token)
        return server_version(manager)
    finally:
        manager.dispose()


def await_everywhere(manager: ReadReplicaManager, token: Token) -> None:
    live, ticks = manager.live, Event()
    assert live is not None
    deadline = time.monotonic() + FIRST_READ_SECONDS
    while not all(member.state.covers(token) for member in live.board.snapshot.replicas):
        if time.monotonic() > deadline:
            raise SystemExit("the replicas do not catch up")
        live.hurry()
        ticks.wait(0.02)


def subjects(bench: Bench) -> dict[str, Callable[[], float]]:
    measured = {
        f"{strategy} {replicas}": partial(bench.reads_per_second, strategy, replicas)
        for strategy in STRATEGIES
        for replicas in range(1, len(bench.config.replicas) + 1)
    }
    return {ALONE: partial(bench.reads_per_second, Strategy.ROUND_ROBIN, 0), **measured}


def rows(run: Circumstances, figures: Mapping[str, list[float]]) -> list[Row]:
    alone = figures[ALONE]
    measured = ((*name.split(), reads) for name, reads in figures.items() if name != ALONE)
    return [row(run, strategy, int(replicas), reads, alone) for strategy, replicas, reads in measured]


def row(run: Circumstances, strategy: str, replicas: int, reads: list[float], alone: list[float]) -> Row:
    times = ratios(reads, alone)
    least = BARS.get(replicas)
    return run.row(
        f"router-throughput-{strategy}-{replicas}",
        f"reads from {replicas} replica{'s' if replicas > 1 else ''} by {strategy}: {median(reads):.0f}/s",
        f"reads from the primary alone: {median(alone):.0f}/s",
        times,
        bar(f">= {least}", met=median(times) >= least) if least else "none",
    )


def busy(bench: Bench) -> str:
    return f"servers' shares were used up in {median(bench.busy):.0%} of the periods ({min(bench.busy):.0%} at least)"


if __name__ == "__main__":
    main()
