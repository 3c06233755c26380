"""What the router costs a read: against a plain sessionmaker that was built once for the same server.

A read is a unit of work: session, connection from the pool, `SELECT 1`, rollback, connection given back. Plain and
routed ones follow each other one by one, in one thread, and change who goes first; a round's ratio is that of their
medians. A second plain sessionmaker takes its turns too: its ratio to the first shows how far the method is to be
trusted.

The client and the servers share one core. On two, a backend that happens to wait on the other core costs some 20 % more
than one that does not, for as long as its connection lasts. For the rest of what differs between two backends, each
round begins with new connections.

Once over TCP on loopback, and once over a Unix socket, where the round trips cost the least and the router shows the
most. The selection is measured alone too, by each strategy and among three replicas.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from time import perf_counter_ns
from timeit import Timer

from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from bench.measure import Circumstances, Row, Spread, bar, options, ratios, say, write_rows
from bench.router_lab import router_lab, server_version, socket_folder, urls
from replctl.router import DatabaseConfig, ReadReplicaManager, Strategy

MAX_SELECTION_US = 2.0
MAX_OVERHEAD = 1.05
FIRST_READS = 20
"""Of a round, which are not counted: they make the connection, and prepare the statement."""
CHOICES = 1000
"""In one figure of the selection, which is too short to be timed alone."""
SELECT = text("select 1")
PLAIN, CONTROL, ROUTED = "plain", "control", "routed"

Microseconds = Mapping[str, list[float]]
"""Each round's median, by who read."""


def main() -> None:
    parser = options(__doc__, rounds=40)
    parser.add_argument("--reads", type=int, default=200, help="of each kind in a round")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the servers inherit it
    with router_lab(chosen.folder) as lab:
        config, sockets = urls(lab), socket_folder(lab)
        with manager_of(config, replicas=1) as manager:
            run = Circumstances.now(("sqlalchemy", "psycopg"), server_version(manager))
        tcp = overhead(config, None, chosen.rounds, chosen.reads)
        unix = overhead(config, sockets, chosen.rounds, chosen.reads)
        rows = [*overhead_rows(run, "tcp", tcp), *overhead_rows(run, "unix", unix)]
        rows += selection_rows(run, config, chosen.rounds, tcp[PLAIN])
    write_rows(chosen.results, rows)


@contextmanager
def manager_of(
    config: DatabaseConfig, replicas: int, sockets: str | None = None, strategy: Strategy = Strategy.ROUND_ROBIN
) -> Iterator[ReadReplicaManager]:
    """A router with its defaults over the first so many replicas."""
    query = f"?host={sockets}" if sockets else ""
    to = [url + query for url in config.read_replica_urls[:replicas]]
    manager = ReadReplicaManager(config.primary_url + query, to, strategy)
    try:
        manager.start()
        yield manager
    finally:
        manager.dispose()


def overhead(config: DatabaseConfig, sockets: str | None, rounds: int, reads: int) -> Microseconds:
    engines = [create_engine(plain_url(config), connect_args={"host": sockets} if sockets else {}) for _ in range(2)]
    try:
        with manager_of(config, replicas=1, sockets=sockets) as manager:
            assert manager.live is not None
            readers = {
                PLAIN: reader(sessionmaker(engines[0])),
                CONTROL: reader(sessionmaker(engines[1])),
                ROUTED: reader(manager.get_read_session),
            }
            return taking_turns(readers, [*engines, manager.live.replicas[0].engine], rounds, reads)
    finally:
        for engine in engines:
            engine.dispose()


def plain_url(config: DatabaseConfig) -> URL:
    """The first replica's."""
    url = config.replicas[0]
    return URL.create("postgresql+psycopg", url.user, url.password, url.host, url.port, url.database)


def reader(sessions: Callable[[], Session]) -> Callable[[], object]:
    def read() -> None:
        with sessions() as session:
            session.execute(SELECT)

    return read


def taking_turns(
    readers: Mapping[str, Callable[[], object]], engines: list[Engine], rounds: int, reads: int
) -> Microseconds:
    medians: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(rounds):
        for engine in engines:
            engine.dispose()
        names = rotated(list(readers), number)
        times = {name: [timed(readers[name]) for _ in range(FIRST_READS)] for name in names}
        for turn in range(reads):
            for name in rotated(names, turn):
                times[name].append(timed(readers[name]))
        for name, found in times.items():
            medians[name].append(median(found[FIRST_READS:]) / 1000)
    return medians


def rotated(names: list[str], turn: int) -> list[str]:
    """Another order at each turn; after twice as many turns as names everybody was followed by everybody."""
    first = turn % len(names)
    order = names[first:] + names[:first]
    return order[::-1] if turn // len(names) % 2 else order


def timed(read: Callable[[], object]) -> int:
    """Nanoseconds."""
    begin = perf_counter_ns()
    read()
    return perf_counter_ns() - begin


def overhead_rows(run: Circumstances, line: str, times: Microseconds) -> Iterator[Row]:
    middle = {name: median(found) for name, found in times.items()}
    figures = ratios(times[ROUTED], times[PLAIN])
    reference = f"the same through a plain sessionmaker: {middle[PLAIN]:.0f} µs"
    yield run.row(
        f"router-overhead-{line}",
        f"SELECT 1 through the router, {line}: {middle[ROUTED]:.0f} µs",
        reference,
        figures,
        bar(f"<= {MAX_OVERHEAD}", met=median(figures) <= MAX_OVERHEAD),
    )
    measured = f"SELECT 1 through a second plain sessionmaker, {line}: {middle[CONTROL]:.0f} µs"
    yield run.row(f"router-overhead-{line}-control", measured, reference, ratios(times[CONTROL], times[PLAIN]), "none")


def selection_rows(run: Circumstances, config: DatabaseConfig, rounds: int, plain: list[float]) -> Iterator[Row]:
    for strategy in Strategy:
        with manager_of(config, replicas=3, strategy=strategy) as manager:
            figures = selection(manager, rounds)
        spread = Spread.of(figures)
        say(f"choice by {strategy}: {spread.median:.2f} µs ({spread.minimum:.2f} to {spread.maximum:.2f})")
        yield run.row(
            f"router-selection-{strategy}",
            f"choice of one of three replicas by {strategy}: {spread.median:.2f} µs",
            f"plain read over TCP: {median(plain):.0f} µs",
            ratios(figures, plain),
            bar(f"<= {MAX_SELECTION_US:g} µs", met=spread.median <= MAX_SELECTION_US),
        )


def selection(manager: ReadReplicaManager, rounds: int) -> list[float]:
    """What goes before a host's pool is asked for a connection; each round's median, in microseconds."""
    session = manager.get_read_session()
    route, live = session._route, manager.live
    session.close()
    timer = Timer(lambda: route._at_once(live))
    return [median(timer.repeat(20, CHOICES)) / CHOICES * 1e6 for _ in range(rounds)]


if __name__ == "__main__":
    main()
