"""One error tree.

A message is lower-case, without a period, and names the node; a hint is a sentence that says what to do.
"""

from __future__ import annotations

from enum import IntEnum

from replctl.model.values import NodeName


class ExitCode(IntEnum):
    """The documented exit codes of every command (docs/exit-codes.md)."""

    DONE = 0
    USAGE = 2
    REFUSED = 3
    DIFFERENT = 4
    UNDONE = 5
    INCOMPLETE = 6
    UNREACHABLE = 7
    DEGRADED = 10
    CRITICAL = 11
    BUG = 70
    INTERRUPTED = 130


class ReplctlError(Exception):
    """Anything that replctl can explain. ``hint`` is never empty; ``code`` is a stable name for scripts."""

    exit_code = ExitCode.UNDONE
    code = "failed"

    def __init__(self, message: str, *, hint: str, node: NodeName | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.node = node
        if code is not None:
            self.code = code


class UsageError(ReplctlError):
    """The command line cannot be carried out as written; nothing was contacted."""

    exit_code = ExitCode.USAGE
    code = "usage"


class InventoryError(ReplctlError):
    """The inventory, a template or a file that it names is not usable; nothing was contacted."""

    exit_code = ExitCode.USAGE
    code = "inventory"


class SecretError(ReplctlError):
    """A password could not be read from where the inventory says it is; nothing was contacted."""

    exit_code = ExitCode.USAGE
    code = "secret"


class RefusedError(ReplctlError):
    """A check says no; nothing was changed."""

    exit_code = ExitCode.REFUSED
    code = "refused"


class UnreachableError(ReplctlError):
    """A node could not be contacted or did not let us in."""

    exit_code = ExitCode.UNREACHABLE
    code = "unreachable"


class ConnectionLostError(ReplctlError):
    """A connection that was up broke: the outcome of what ran on it is unknown."""

    code = "connection-lost"


class CommandFailedError(ReplctlError):
    """A command on a host ended with another status than 0."""

    code = "command-failed"

    def __init__(self, message: str, *, hint: str, node: NodeName | None, status: int, stderr: str) -> None:
        super().__init__(message, hint=hint, node=node)
        self.status = status
        self.stderr = stderr


class WaitTimeoutError(ReplctlError):
    """A deadline passed. Whether the awaited thing still happens is unknown."""

    code = "timeout"


class SqlError(ReplctlError):
    """PostgreSQL refused a statement. ``sqlstate`` is its five-character code, or None without one."""

    code = "sql"

    def __init__(self, message: str, *, hint: str, node: NodeName | None, sqlstate: str | None) -> None:
        super().__init__(message, hint=hint, node=node)
        self.sqlstate = sqlstate


class LockLostError(ReplctlError):
    """The lock on a node can no longer be relied on: no further change may be made."""

    code = "lock-lost"


class InterruptedByOperator(ReplctlError):  # noqa: N818 - an event, not an error of anyone's
    """SIGINT, SIGTERM or SIGHUP arrived."""

    exit_code = ExitCode.INTERRUPTED
    code = "interrupted"
