"""The application's side: writes go to the primary, reads to the replicas that the env file lists.

Needs ``pip install replctl[router]``; docs/router.md tells how to use it. An island: nothing here knows the rest of
the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replctl.router.config import DatabaseConfig, Strategy
from replctl.router.default import (
    get_async_read_session,
    get_async_write_session,
    get_read_session,
    get_replica_manager,
    get_write_session,
    init_replica_manager,
    use_replica_manager,
)
from replctl.router.errors import (
    ConfigurationError,
    InvalidTokenError,
    ManagerClosedError,
    NoReadableHostError,
    PrimaryUnavailableError,
    RouterError,
    SessionEndedError,
    UnavailableError,
)
from replctl.router.hosts import Connecting
from replctl.router.manager import ReadReplicaManager, RouterOptions
from replctl.router.sessions import AsyncReadSession, AsyncWriteSession, ReadSession, WriteSession
from replctl.router.snapshot import PrimarySilent
from replctl.router.tokens import Token

if TYPE_CHECKING:
    database_config: DatabaseConfig

__all__ = [
    "AsyncReadSession",
    "AsyncWriteSession",
    "ConfigurationError",
    "Connecting",
    "DatabaseConfig",
    "InvalidTokenError",
    "ManagerClosedError",
    "NoReadableHostError",
    "PrimarySilent",
    "PrimaryUnavailableError",
    "ReadReplicaManager",
    "ReadSession",
    "RouterError",
    "RouterOptions",
    "SessionEndedError",
    "Strategy",
    "Token",
    "UnavailableError",
    "WriteSession",
    "get_async_read_session",
    "get_async_write_session",
    "get_read_session",
    "get_replica_manager",
    "get_write_session",
    "init_replica_manager",
    "use_replica_manager",
]


def __getattr__(name: str) -> Any:
    """``database_config``: the settings as the environment has them now. Raises ConfigurationError."""
    if name == "database_config":
        return DatabaseConfig.from_environ()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
