"""How long writes are refused by a switchover, as a client sees it: against one by hand, without SSH.

A writer of its own process commits one row after the other; the outage is its longest gap between two acknowledged
commits. replctl and the hand (bench/by_hand.py) promote in turns, each the other one of two nodes, with a third that
follows. Three figures: with the writer alone; with clients of pgbench that write as well; and with every SSH connection
of replctl over a line that holds each byte up, to count the round trips that fall into the outage.

No row that was acknowledged may be missing afterwards: that is asked after every switchover, of either kind.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

from psycopg.conninfo import make_conninfo

from bench.by_hand import fetch, switch_over, until
from bench.lan import PARAMETERS, VERSION, build, fill, hosts, pgbench, server_version, take
from bench.measure import REPOSITORY, Circumstances, Row, bar, interleaved, options, ratios, say, write_rows
from bench.writer import TABLE
from tests.real.hosts import Operator
from tests.real.hosts.operator import DATABASES, ROLES
from tests.real.relay import Line, over

NAMES = ("db1", "db2", "db3")
SCALE = 20
CLIENTS = 16
DELAY_SECONDS = 0.01
"""Each way."""
ROUND_TRIPS = 6
MAX_RATIO = 1.5
MAX_WHOLE_SECONDS = 1.5
REPLCTL, BY_HAND = "replctl", "by hand"
AFTERWARDS = 200
"""Rows that the writer commits before a switchover counts as over."""

Outages = Mapping[str, list[float]]
"""Seconds of every round, by who switched over."""


class Client:
    """The writer, as long as its context is open."""

    def __init__(self, operator: Operator) -> None:
        addresses = ",".join(operator.lan[name].address for name in operator.lan.names)
        conninfo = make_conninfo(
            host=addresses,
            port=5432,
            user=ROLES["app"],
            password=operator.passwords["app"],
            dbname=DATABASES["app"],
            connect_timeout=2,
            target_session_attrs="read-write",
        )
        argv = [sys.executable, "-m", "bench.writer"]
        pipe = subprocess.PIPE
        self._program = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=REPOSITORY)
        self._send(conninfo)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.terminate()
        self._program.communicate()

    def tell(self) -> dict[str, float]:
        """What it saw since it was last asked."""
        assert self._program.stdout is not None
        self._send("")
        return json.loads(self._program.stdout.readline())

    @contextmanager
    def silent(self) -> Iterator[None]:
        """It writes nothing, and takes no processor time from what is measured."""
        self._program.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._program.send_signal(signal.SIGCONT)

    def outage(self, switch: Callable[[], object]) -> float:
        """The longest gap in seconds while ``switch`` runs, and until rows come as ever."""
        self.tell()
        switch()
        told = [self.tell()]

        def comes() -> bool:
            told.append(self.tell())
            return told[-1]["acknowledged"] >= told[0]["acknowledged"] + AFTERWARDS

        until(comes)
        return max(each["gap"] for each in told)

    def _send(self, line: str) -> None:
        assert self._program.stdin is not None
        self._program.stdin.write(f"{line}\n")
        self._program.stdin.flush()


@dataclass
class Field:
    """The cluster under test, and which of the first two nodes is its primary."""

    operator: Operator
    client: Client
    version: int
    primary: str = NAMES[0]
    clients: int = 0

    def by_replctl(self) -> float:
        new = self._other()
        return self._measured(lambda: self._promote(new), new)

    def whole(self) -> float:
        """Of replctl's run from start to end, while nobody writes."""
        new = self._other()
        with self.client.silent():
            seconds = self._promote(new)
        self.primary = new
        return seconds

    def _promote(self, new: str) -> float:
        return take(self.operator, "promote", new, "--yes").seconds

    def by_hand(self) -> float:
        new = self._other()
        gap = self._measured(lambda: switch_over(self.operator, self.primary, new, self.version), new)
        take(self.operator, "promote", self.primary, "--yes")  # the old primary and the others follow: not by hand
        return gap

    def _other(self) -> str:
        return next(name for name in NAMES[:2] if name != self.primary)

    def _measured(self, switch: Callable[[], object], new: str) -> float:
        with self._writing():
            gap = self.client.outage(switch)
        self.primary = new
        self._nothing_is_lost()
        return gap

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if not self.clients:
            yield
            return
        with pgbench(self.operator, self.primary, "-c", str(self.clients), "-j", "2", "-T", "600") as program:
            until(lambda: self._sessions() >= self.clients)
            yield
            program.kill()  # its clients ended with the old primary
            program.communicate()

    def _sessions(self) -> int:
        with self.operator.connect(self.primary) as connection:
            return int(fetch(connection, "select count(*) from pg_stat_activity where application_name = 'pgbench'"))

    def _nothing_is_lost(self) -> None:
        acknowledged = self.client.tell()["acknowledged"]
        with self.operator.connect(self.primary, "app") as connection:
            rows = int(fetch(connection, f"select count(*) from {TABLE}"))
        if rows < acknowledged:
            raise SystemExit(f"{acknowledged - rows:.0f} rows that were acknowledged are missing on {self.primary}")


def main() -> None:
    chosen = promotions(__doc__, rounds=9)
    with ground(chosen) as (operator, client, run):
        write_rows(chosen.results, rows(run, Field(operator, client, chosen.postgres), chosen.rounds))


def promotions(text: str | None, *, rounds: int) -> Namespace:
    """The command line of what measures a promotion."""
    parser = options(text, rounds=rounds)
    parser.add_argument("--scale", type=int, default=SCALE, help="of pgbench's tables")
    parser.add_argument("--postgres", type=int, default=VERSION, help="major version")
    return parser.parse_args()


@contextmanager
def ground(chosen: Namespace) -> Iterator[tuple[Operator, Client, Circumstances]]:
    """A primary and two replicas with pgbench's tables, and a client with one of its own."""
    with ExitStack() as stack:
        operator = stack.enter_context(hosts(NAMES, version=chosen.postgres))
        say("a primary and two replicas are built")
        build(operator, NAMES[0], NAMES[1:])
        fill(operator, NAMES[0], chosen.scale)
        with operator.connect(NAMES[0], "app") as connection:
            connection.execute(f"create table {TABLE} (n bigint primary key)")
        run = Circumstances.now(("paramiko", "psycopg"), server_version(operator, NAMES[0]))
        yield operator, stack.enter_context(Client(operator)), run


def rows(run: Circumstances, field: Field, rounds: int) -> Iterator[Row]:
    subjects = {BY_HAND: field.by_hand, REPLCTL: field.by_replctl}
    interleaved(subjects, 1)  # not counted: pages and programs are in memory afterwards
    quiet = interleaved(subjects, rounds)
    yield ratio_row(run, "switchover", quiet, "the writer alone")
    yield whole_row(run, [field.whole() for _ in range(rounds)], quiet)
    field.clients = CLIENTS
    yield ratio_row(run, "switchover-busy", interleaved(subjects, rounds), f"{CLIENTS} clients of pgbench beside it")
    field.clients = 0
    with over(Line(delay=DELAY_SECONDS), field.operator, field.operator.lan, PARAMETERS):
        yield far_row(run, interleaved(subjects, rounds))


def ratio_row(run: Circumstances, name: str, outages: Outages, circumstance: str) -> Row:
    found = ratios(outages[REPLCTL], outages[BY_HAND])
    return run.row(
        name,
        f"writes refused by `replctl promote`, {circumstance}: {ms(outages[REPLCTL])}",
        f"the same by hand, without SSH: {ms(outages[BY_HAND])}",
        found,
        bar(f"<= {MAX_RATIO:g}", met=median(found) <= MAX_RATIO),
    )


def whole_row(run: Circumstances, seconds: list[float], outages: Outages) -> Row:
    """The time of the whole command has an absolute bar; its ratio is to the outage by hand."""
    return run.row(
        "switchover-whole",
        f"`replctl promote` until every node follows, nobody writing: {median(seconds):.2f} s",
        f"writes refused by hand: {ms(outages[BY_HAND])}",
        ratios(seconds, outages[BY_HAND]),
        bar(f"< {MAX_WHOLE_SECONDS:g} s", met=median(seconds) < MAX_WHOLE_SECONDS),
    )


def far_row(run: Circumstances, outages: Outages) -> Row:
    round_trip = 2 * DELAY_SECONDS
    trips = (median(outages[REPLCTL]) - median(outages[BY_HAND])) / round_trip
    return run.row(
        "switchover-far",
        f"the same over SSH with a round trip of {round_trip * 1000:g} ms: {ms(outages[REPLCTL])}, "
        f"{trips:.1f} round trips more than by hand",
        f"by hand, without SSH: {ms(outages[BY_HAND])}",
        ratios(outages[REPLCTL], outages[BY_HAND]),
        bar(f"<= {ROUND_TRIPS} round trips more", met=trips <= ROUND_TRIPS),
    )


def ms(seconds: Iterable[float]) -> str:
    return f"{median(seconds) * 1000:.0f} ms"


if __name__ == "__main__":
    main()
