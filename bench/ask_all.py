"""What `status` is measured against: opens a psycopg connection to every server, a thread each, and asks one question.

Standard input has a JSON list of what psycopg.connect takes, one for each server.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg


def main() -> None:
    servers = json.load(sys.stdin)
    with ThreadPoolExecutor(len(servers)) as pool:
        for answer in pool.map(ask, servers):
            sys.stdout.write(f"{answer}\n")


def ask(server: dict[str, Any]) -> Any:
    with psycopg.connect(**server) as connection:
        row = connection.execute("select pg_is_in_recovery()").fetchone()
    return None if row is None else row[0]


if __name__ == "__main__":
    main()
