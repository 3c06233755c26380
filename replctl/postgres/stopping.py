"""How a server is stopped on its host, with or without waiting for its end."""

from __future__ import annotations

from replctl.postgres.scripts import ALIVE_FUNCTIONS, script


def stop_until_shutdown_record(data_dir: str, bin_dir: str, *, seconds: float) -> tuple[str, ...]:
    """Fast stop; prints pg_controldata once it reads ``shut down``, some 40 ms before the postmaster is gone.

    Whether the postmaster lives is asked before pg_control is read: on a busy host it ends in between. Programs take
    processor time from the server that is about to stop, so that most turns start but two.

    Status 3: not within ``seconds``; 4: no postmaster; 5: it ended without a clean shutdown.
    """
    return script(
        "data=$1 bin=$2"
        + ALIVE_FUNCTIONS
        + r"""
        alive || exit 4
        kill -s INT "$pid" || exit 4
        deadline=$(($(date +%s) + $3 + 1)) turn=0
        while :; do
            turn=$(((turn + 1) % 16)) gone=
            kill -s 0 "$pid" 2>/dev/null && { [ "$turn" != 0 ] || alive; } || gone=yes
            seen=$("$bin/pg_controldata" -D "$data")
            case $seen in *"Database cluster state:"*" shut down
"*) printf '%s\n' "$seen"; exit 0;; esac
            [ -z "$gone" ] || exit 5
            [ "$turn" != 0 ] || ! late "$deadline" || exit 3
            sleep 0.002
        done
        """,
        data_dir,
        bin_dir,
        str(max(1, round(seconds))),
    )


def stop(data_dir: str, *, seconds: float) -> tuple[str, ...]:
    """Fast stop, until the postmaster is gone. A smart stop under way becomes a fast one.

    Status 3: not within ``seconds``; 4: there is no postmaster.
    """
    return script(
        "data=$1"
        + ALIVE_FUNCTIONS
        + r"""
        alive || exit 4
        kill -s INT "$pid"
        deadline=$(($(date +%s) + $2 + 1))
        while alive; do
            late "$deadline" && exit 3
            sleep 0.01
        done
        """,
        data_dir,
        str(max(1, round(seconds))),
    )
