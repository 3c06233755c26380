"""How long `replctl init-primary` takes: against initdb, a start and the same SQL, by hand without SSH.

Both make the same server on the same empty host, in turns: checksums, locale, settings, roles, database, with fsync.
"""

from __future__ import annotations

import time
from statistics import median

from bench import hand_made
from bench.lan import VERSION, hosts, server_version, take
from bench.measure import Circumstances, Row, bar, interleaved, options, ratios, say, write_rows
from tests.real.hosts import Operator

NODE = "db1"
MAX_RATIO = 1.2
MORE_SECONDS = 0.5
REPLCTL, BY_HAND = "replctl", "by hand"


def main() -> None:
    parser = options(__doc__, rounds=9)
    parser.add_argument("--postgres", type=int, default=VERSION, help="major version")
    chosen = parser.parse_args()
    with hosts([NODE], version=chosen.postgres) as operator:
        say("the files of a server that replctl makes are those of both")
        take(operator, "init-primary", NODE, "--yes")
        config = hand_made.config_of(operator, NODE, chosen.postgres)
        run = Circumstances.now(("paramiko", "psycopg"), server_version(operator, NODE))

        def by_replctl() -> float:
            empty(operator)
            return take(operator, "init-primary", NODE, "--yes").seconds

        def by_hand() -> float:
            empty(operator)
            began = time.perf_counter()
            hand_made.init_primary(operator, NODE, chosen.postgres, config)
            return time.perf_counter() - began

        took = interleaved({BY_HAND: by_hand, REPLCTL: by_replctl}, chosen.rounds)
    write_rows(chosen.results, [row(run, took[REPLCTL], took[BY_HAND])])


def empty(operator: Operator) -> None:
    """A host as if newly installed, and an operator who knows of no cluster."""
    operator.lan.wipe()
    operator.env_file.unlink(missing_ok=True)


def row(run: Circumstances, seconds: list[float], reference: list[float]) -> Row:
    return run.row(
        "init-primary",
        f"`replctl init-primary db1`: {median(seconds):.2f} s",
        f"initdb, start and the same SQL by hand: {median(reference):.2f} s",
        ratios(seconds, reference),
        bar(
            f"<= {MAX_RATIO:g} x + {MORE_SECONDS:g} s",
            met=median(seconds) <= MAX_RATIO * median(reference) + MORE_SECONDS,
        ),
    )


if __name__ == "__main__":
    main()
