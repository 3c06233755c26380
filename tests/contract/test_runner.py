"""What every Runner promises, over every way to a host."""

from __future__ import annotations

import hashlib
import os
import pwd
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from replctl.model.errors import CommandFailedError, InterruptedByOperator, WaitTimeoutError
from replctl.model.secret import Secret
from replctl.remote.shell_runner import ShellRunner
from tests.contract.routes import OS_USER, Interrupt, Route, closing, eventually, running

MIB = 1 << 20
HOSTILE = [
    "",
    " ",
    "a b",
    "-n",
    "--",
    "$(touch /tmp/canary)",
    "`id`",
    "; exit 9",
    "'",
    '"',
    "\\",
    "line\nline\n",
    "\ttab\r",
    "*",
    "~",
    "$HOME",
    "!!",
    "é\x81漢字🐘",
    "\x01\x7f",
    "#",
    "&& false",
]


@pytest.fixture
def marker() -> Iterator[str]:
    """Sleeps for a time that no one else sleeps: shows in its arguments."""
    marker = f"4{uuid.uuid4().int % 10**12:012d}"
    yield marker
    assert eventually(lambda: not running(marker)), "a process was left behind"


def test_arguments_arrive_as_they_are(runner: ShellRunner) -> None:
    result = runner.run(["printf", "%s\\0", *HOSTILE], timeout=10)
    assert result.stdout == b"".join(argument.encode() + b"\0" for argument in HOSTILE)
    assert result.stderr == b""


def test_bytes_that_are_no_utf_8_arrive(runner: ShellRunner) -> None:
    argument = b"\xff\xfe\x81".decode("utf-8", "surrogateescape")
    assert runner.run(["printf", "%s", argument], timeout=10).stdout == b"\xff\xfe\x81"


def test_a_nul_is_refused(runner: ShellRunner) -> None:
    with pytest.raises(ValueError, match="NUL"):
        runner.run(["echo", "a\0b"], timeout=10)


def test_a_long_argument_arrives(runner: ShellRunner) -> None:
    assert runner.run(["printf", "%s", "x" * 60_000], timeout=10).stdout == b"x" * 60_000


def test_exit_statuses(runner: ShellRunner) -> None:
    for status in (0, 1, 42, 126, 255):
        assert runner.run(["sh", "-c", f"exit {status}"], timeout=10, check=False).status == status


def test_a_signal_is_minus_one(runner: ShellRunner) -> None:
    assert runner.run(["sh", "-c", "kill -KILL $$"], timeout=10, check=False).status == -1


def test_a_missing_program(runner: ShellRunner) -> None:
    assert runner.run(["/no/such/program"], timeout=10, check=False).status == 127


def test_failure_names_node_and_program(runner: ShellRunner) -> None:
    with pytest.raises(CommandFailedError) as caught:
        runner.run(["sh", "-c", r"printf 'no \033[31mway\n' >&2; exit 3"], timeout=10)
    error = caught.value
    assert (error.status, error.node, error.stderr) == (3, "db1", "no \x1b[31mway\n")
    assert error.message == r"sh on db1 ended with status 3: no \x1b[31mway"
    assert "db1" in error.hint


def test_failure_keeps_the_end_of_stderr(runner: ShellRunner) -> None:
    with pytest.raises(CommandFailedError) as caught:
        runner.run(["sh", "-c", "seq 100000 >&2; echo the reason >&2; exit 1"], timeout=10)
    assert caught.value.stderr.endswith("the reason\n")
    assert len(caught.value.stderr) <= 4096
    assert len(caught.value.message) < 700


def test_surroundings(runner: ShellRunner) -> None:
    script = 'id -un; pwd; echo "$LC_ALL"; echo "$PATH"; echo ~; echo "$HOME"; echo "${PGHOST-unset}"'
    user, folder, locale, path, home, home_variable, pghost = runner.run(["sh", "-c", script], timeout=10).text.split()
    assert (user, folder, locale, pghost) == (OS_USER, "/", "C", "unset")
    assert home == home_variable
    assert {"/usr/sbin", "/sbin", "/usr/local/sbin"} <= set(path.split(":"))


def test_supplementary_groups_are_the_users(runner: ShellRunner) -> None:
    wanted = {str(group) for group in os.getgrouplist(OS_USER, pwd.getpwnam(OS_USER).pw_gid)}
    assert set(runner.run(["id", "-G"], timeout=10).text.split()) == wanted


def test_each_command_leads_a_process_group(runner: ShellRunner) -> None:
    pid, stat = runner.run(["sh", "-c", "echo $$; cat /proc/$$/stat"], timeout=10).text.split("\n", 1)
    assert stat.rpartition(")")[2].split()[2] == pid


def test_empty_stdin_ends(runner: ShellRunner) -> None:
    assert runner.run(["cat"], timeout=10).stdout == b""


def test_big_stdin(runner: ShellRunner) -> None:
    text = os.urandom(10 * MIB)
    result = runner.run(["sha256sum"], stdin=text, timeout=30)
    assert result.text.split()[0] == hashlib.sha256(text).hexdigest()


def test_stdin_that_nobody_reads(runner: ShellRunner) -> None:
    assert runner.run(["true"], stdin=b"x" * 4 * MIB, timeout=20).status == 0


def test_stdin_with_any_byte(runner: ShellRunner) -> None:
    text = bytes(range(256)) * 64
    assert runner.run(["cat"], stdin=text, timeout=10).stdout == text


@pytest.mark.fault("10")
def test_ten_mib_on_both_streams(runner: ShellRunner) -> None:
    script = f"head -c {10 * MIB} /dev/zero & head -c {10 * MIB} /dev/zero >&2; wait"
    result = runner.run(["sh", "-c", script], timeout=30)
    assert (len(result.stdout), len(result.stderr)) == (10 * MIB, 10 * MIB)


def test_a_flood_is_refused(runner: ShellRunner, marker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replctl.remote.process.MAX_OUTPUT_BYTES", 4 * MIB)
    with pytest.raises(CommandFailedError, match="more than 4 MiB"):
        runner.run(["sh", "-c", f"head -c {9 * MIB} /dev/zero; sleep {marker}"], timeout=30)


def test_time_out_ends_the_whole_group(runner: ShellRunner, marker: str) -> None:
    started = time.monotonic()
    with pytest.raises(WaitTimeoutError, match=r"sh on db1 did not end within 0\.5 s"):
        runner.run(["sh", "-c", f"sleep {marker} & (sleep {marker}); wait"], timeout=0.5)
    assert time.monotonic() - started < 12
    assert running(marker) == []


def test_time_out_ends_what_ignores_sigterm(runner: ShellRunner, marker: str) -> None:
    script = f"trap '' TERM; while :; do sleep {marker} & wait; done"
    with pytest.raises(WaitTimeoutError):
        runner.run(["sh", "-c", script], timeout=0.3)
    assert eventually(lambda: not running(marker))


@pytest.mark.fault("11")
def test_a_child_that_keeps_stdout_open_does_not_hold_us(runner: ShellRunner, marker: str) -> None:
    started = time.monotonic()
    with pytest.raises(WaitTimeoutError):
        runner.run(["sh", "-c", f"sleep {marker} & echo started"], timeout=0.5)
    assert time.monotonic() - started < 12


def test_cancel_ends_the_group(route: Route, marker: str) -> None:
    interrupt = Interrupt()
    with closing(route.open(interrupt)) as runner:
        runner.run(["true"], timeout=5)
        timer = threading.Timer(0.3, lambda: setattr(interrupt, "now", True))
        timer.start()
        with pytest.raises(InterruptedByOperator):
            runner.run(["sh", "-c", f"sleep {marker} & wait"], timeout=30)
        timer.join()
        assert running(marker) == []


def test_cancel_before_the_command_has_begun(route: Route, marker: str) -> None:
    interrupt = Interrupt()
    with closing(route.open(interrupt)) as runner:
        runner.run(["true"], timeout=5)
        timer = threading.Timer(0.01, lambda: setattr(interrupt, "now", True))
        timer.start()
        with pytest.raises(InterruptedByOperator):
            runner.run(["sh", "-c", f"sleep {marker} & wait"], timeout=30)
        timer.join()
        assert running(marker) == []


def test_a_shielded_runner_is_deaf(route: Route) -> None:
    interrupt = Interrupt()
    with closing(route.open(interrupt)) as runner:
        runner.run(["true"], timeout=5)
        interrupt.now = True
        assert runner.shielded().run(["echo", "undone"], timeout=5).text == "undone\n"
        with pytest.raises(InterruptedByOperator):
            runner.run(["true"], timeout=5)


def test_a_command_waits_for_its_go(runner: ShellRunner) -> None:
    clock = ["sh", "-c", 'date +%s%N; cat; echo "$1" >&2', "sh", "it's"]
    runner.get_ready(clock)
    before = time.time_ns()
    assert runner.run(["echo", "another one"], timeout=10).text == "another one\n"
    result = runner.run(clock, stdin=b"line\nline", timeout=10)
    began, _, given = result.text.partition("\n")
    assert int(began) > before
    assert (given, result.error_text) == ("line\nline", "it's\n")
    assert int(runner.run(clock, timeout=10).text) > int(began), "the next run is a new command"


def test_a_command_without_its_go_does_nothing(route: Route, marker: str) -> None:
    with closing(route.open()) as runner:
        runner.get_ready(["sleep", marker])
        assert eventually(lambda: running(marker)), "it waits on the host"


def test_a_command_that_does_not_wait_any_more_begins_anew(runner: ShellRunner, marker: str) -> None:
    argv = ["sh", "-c", "echo here", "sh", marker]
    runner.get_ready(argv)
    assert eventually(lambda: running(marker))
    for pid in running(marker):
        os.kill(pid, 9)
    assert eventually(lambda: not running(marker))
    runner.run(["true"], timeout=10)  # what the host says of the one that ended comes before
    runner.run(["true"], timeout=10)
    assert runner.run(argv, timeout=10).text == "here\n"


def test_what_waited_can_be_interrupted_or_shielded(route: Route, marker: str) -> None:
    interrupt = Interrupt()
    with closing(route.open(interrupt)) as runner:
        for argv in (["sleep", marker], ["echo", "undone"]):
            runner.get_ready(argv)
        interrupt.now = True
        assert runner.shielded().run(["echo", "undone"], timeout=5).text == "undone\n"
        with pytest.raises(InterruptedByOperator):
            runner.run(["sleep", marker], timeout=30)


def test_what_leaves_the_group_survives(route: Route) -> None:
    marker = f"5{uuid.uuid4().int % 10**12:012d}"
    with closing(route.open()) as runner:
        runner.run(["sh", "-c", f"setsid sleep {marker} </dev/null >/dev/null 2>&1 &"], timeout=5)
    assert running(marker)
    for pid in running(marker):
        os.kill(pid, 9)


def test_threads_share_a_runner(runner: ShellRunner) -> None:
    with ThreadPoolExecutor(8) as threads:
        texts = list(threads.map(lambda number: runner.run(["echo", str(number)], timeout=20).text, range(24)))
    assert texts == [f"{number}\n" for number in range(24)]


def test_a_secret_shows_nowhere(runner: ShellRunner, tmp_path: Path) -> None:
    canary = f"canary-{uuid.uuid4().hex}"
    seen: list[Path] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for folder in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        if canary.encode() in (folder / name).read_bytes():
                            seen.append(folder / name)
                    except OSError:
                        continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    result = runner.run(["sh", "-c", 'read -r x; sleep 0.4; printf %s "$x" | wc -c'], stdin=Secret(canary), timeout=10)
    done.set()
    watcher.join()
    assert result.text.split() == [str(len(canary))]
    assert seen == []
