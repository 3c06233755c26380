"""A switchover under the load of an application: examples/chat in front of the lab in FOLDER, with clients.

Shows what the clients saw, and ends with status 1 when one of these does not hold: reads go on, no client is ever shown
less than it has written or seen before, and every row that was acknowledged is there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import psycopg
from demo_app_clients import AUTHORS, READERS, Crowd, Kind, Outcome, Seen, longest_gap, longest_wait

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
START_SECONDS = 60
END_SECONDS = 30
HEALTHY = "healthy"
SWITCHOVER = {False: "a switchover", True: "no switchover"}


@dataclass(frozen=True, slots=True)
class Promotion:
    """A `replctl promote` that is over; its moments in monotonic seconds."""

    node: str
    begin: float
    end: float
    exit_code: int
    outage_ms: float | None
    """How long writes were down by its own measure."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the clients saw. Times in milliseconds."""

    reads_answered: int
    reads_failed: int
    reads_answered_during_promotion: int
    reads_answered_while_writes_were_down: int
    longest_read_gap_ms: float
    """The longest time that one client was without an answer to a read."""
    rows_acknowledged: int
    writes_refused: int
    write_outage_ms: float
    """The longest time in which no client's write was acknowledged."""
    promotion_exit_code: int | None
    promotion_outage_ms: float | None
    violations: int
    rows_lost: int
    health: str

    def broken(self) -> list[str]:
        """What does not hold."""
        promises = {
            "the switchover failed": self.promotion_exit_code in {None, 0},
            "no read was answered": self.reads_answered > 0,
            "reads failed": self.reads_failed == 0,
            "no read was answered during the switchover": self.promotion_exit_code is None
            or self.reads_answered_during_promotion > 0,
            "no row was acknowledged": self.rows_acknowledged > 0,
            "clients were shown less than they had written or seen": self.violations == 0,
            "rows that were acknowledged are not there": self.rows_lost == 0,
            "the application did not come back to its replicas": self.health == HEALTHY,
        }
        return [problem for problem, holds in promises.items() if not holds]


@contextlib.contextmanager
def application(env_file: Path, log: IO[bytes], *, tokens: bool) -> Iterator[str]:
    """The URL of examples/chat, which runs in a process of its own."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        settings = {
            "DB_ENV_FILE": str(env_file),
            "CHAT_TOKEN_KEY": secrets.token_hex(32),
            "CHAT_TOKENS": "on" if tokens else "off",
            "CHAT_SECURE_COOKIES": "off",
            "PYTHONPATH": str(EXAMPLES),
        }
        program = [sys.executable, "-m", "uvicorn", "chat.main:app", "--fd", str(listening.fileno())]
        options = ["--log-level", "warning", "--no-access-log"]
        server = subprocess.Popen(
            [*program, *options],
            env=os.environ | settings,
            pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        wait_until_it_serves(url, server)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_until_it_serves(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if health(url) == HEALTHY:
                return
        time.sleep(0.05)
    raise SystemExit("the application did not start")


def health(url: str) -> str:
    return httpx.get(f"{url}/health/database", timeout=START_SECONDS, trust_env=False).json()["status"]


async def replctl(folder: Path, *arguments: str) -> tuple[int, Any]:
    """Its exit code and its document. One that is broken off ends in good order first."""
    command = ["replctl", *arguments, "-o", "json"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()
        raise
    return process.returncode or 0, json.loads(output)


async def promote(folder: Path) -> Promotion:
    """To the first replica that streams."""
    _, status = await replctl(folder, "status")
    node = next(node["name"] for node in status["nodes"] if node["state"] == "streaming")
    sys.stdout.write(f"\n$ replctl promote {node} --yes\n")
    sys.stdout.flush()
    begin = time.monotonic()
    code, document = await replctl(folder, "promote", node, "--yes")
    return Promotion(node, begin, time.monotonic(), code, document["write_outage_ms"])


async def load(crowd: Crowd, folder: Path, wishes: argparse.Namespace) -> Promotion | None:
    """Clients at work: for ``seconds`` before the switchover, during it, and as long after it."""
    async with crowd:
        await asyncio.sleep(wishes.seconds)
        promotion = None if wishes.without_promotion else await promote(folder)
        await asyncio.sleep(wishes.seconds)
    return promotion


def rows_lost(env_file: Path, room: str, acknowledged: dict[str, int]) -> int:
    """Rows that were acknowledged and are not on the primary."""
    lines = env_file.read_text(encoding="utf-8").splitlines()
    url = next(line.partition("=")[2] for line in lines if line.startswith("DB_PRIMARY_URL="))
    with psycopg.connect(url) as connection:
        found = set(connection.execute("select author, number from messages where room = %s", [room]))
    wanted = {(author, number) for author, last in acknowledged.items() for number in range(1, last + 1)}
    return len(wanted - found)


def count(seen: Seen, promotion: Promotion | None, lost: int, health: str) -> Figures:
    answered, acknowledged = seen.of(Kind.READ, Outcome.ANSWERED), seen.of(Kind.WRITE, Outcome.ANSWERED)
    begin, end = longest_gap(acknowledged)
    return Figures(
        reads_answered=len(answered),
        reads_failed=len(seen.of(Kind.READ)) - len(answered),
        reads_answered_during_promotion=sum(
            promotion.begin < call.end < promotion.end for call in answered if promotion is not None
        ),
        reads_answered_while_writes_were_down=sum(begin < call.end < end for call in answered),
        longest_read_gap_ms=longest_wait(answered) * 1000,
        rows_acknowledged=sum(seen.acknowledged.values()),
        writes_refused=len(seen.of(Kind.WRITE)) - len(acknowledged),
        write_outage_ms=(end - begin) * 1000,
        promotion_exit_code=promotion.exit_code if promotion is not None else None,
        promotion_outage_ms=promotion.outage_ms if promotion is not None else None,
        violations=len(seen.violations),
        rows_lost=lost,
        health=health,
    )


def table(figures: Figures) -> str:
    down = f"{figures.write_outage_ms:.0f} ms"
    if figures.promotion_outage_ms is not None:
        down += f" (by replctl's own measure {figures.promotion_outage_ms:.0f} ms)"
    rows = [
        ("reads answered", f"{figures.reads_answered}"),
        ("  during the switchover", f"{figures.reads_answered_during_promotion}"),
        ("  while no write was taken", f"{figures.reads_answered_while_writes_were_down}"),
        ("reads that failed", f"{figures.reads_failed}"),
        ("longest wait of a client for a read", f"{figures.longest_read_gap_ms:.0f} ms"),
        ("longest time without a write", down),
        ("writes refused, and sent again", f"{figures.writes_refused}"),
        ("rows acknowledged", f"{figures.rows_acknowledged}"),
        ("rows acknowledged and lost", f"{figures.rows_lost}"),
        ("times that a client was shown less than it wrote or saw before", f"{figures.violations}"),
        ("the application's health afterwards", figures.health),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


async def show(wishes: argparse.Namespace, url: str) -> Figures:
    env_file = wishes.folder / "app.env"
    crowd = Crowd(url)
    work = f"{AUTHORS} clients write, and read what they wrote; {READERS} clients read"
    sys.stdout.write(f"\n{work}: {wishes.seconds:g} s, {SWITCHOVER[wishes.without_promotion]}, {wishes.seconds:g} s\n")
    promotion = await load(crowd, wishes.folder, wishes)
    lost = rows_lost(env_file, crowd.room, crowd.seen.acknowledged)
    for told in [*crowd.seen.violations[:3], *failed_reads(crowd.seen)[:3]]:
        sys.stdout.write(f"  {told}\n")
    return count(crowd.seen, promotion, lost, await health_in_the_end(url))


async def health_in_the_end(url: str) -> str:
    """Healthy as soon as the replicas are back, and all of them are taken."""
    deadline = time.monotonic() + END_SECONDS
    while (status := await asyncio.to_thread(health, url)) != HEALTHY and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return status


def failed_reads(seen: Seen) -> list[str]:
    return [f"{call.client}: {call.told}" for call in seen.of(Kind.READ) if call.outcome is not Outcome.ANSWERED]


def wishes() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the lab's, with its app.env")
    parser.add_argument("--seconds", type=float, default=3.0, help="of load before the switchover, and after it: 3")
    parser.add_argument("--figures", type=Path, help="a file to write the figures into, as JSON")
    parser.add_argument("--log", type=Path, help="a file for what the application tells")
    parser.add_argument("--without-tokens", action="store_true", help="clients do not carry what they have seen")
    parser.add_argument("--without-promotion", action="store_true")
    return parser.parse_args()


def show_application(said: argparse.Namespace) -> Figures:
    """Shows what it told, when the clients could not do their work."""
    figures = None
    with said.log.open("w+b") if said.log is not None else tempfile.TemporaryFile() as log:
        try:
            with application(said.folder / "app.env", log, tokens=not said.without_tokens) as url:
                figures = asyncio.run(show(said, url))
        finally:
            if figures is None:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace"))
    return figures


def main() -> int:
    said = wishes()
    said.folder = said.folder.resolve()
    environ = os.environ | {"DB_ENV_FILE": str(said.folder / "app.env"), "PYTHONPATH": str(EXAMPLES)}
    subprocess.run([sys.executable, "-m", "chat.create_tables"], env=environ, check=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        figures = show_application(said)
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(f"\n{table(figures)}\n")
    if said.figures is not None:
        said.figures.write_text(json.dumps(asdict(figures), indent=1) + "\n", encoding="utf-8")
    broken = figures.broken()
    for problem in broken:
        sys.stdout.write(f"DOES NOT HOLD: {problem}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
