"""The one manager of an application, for code that is not handed one."""

from __future__ import annotations

import threading
from typing import Any

from replctl.router.config import DatabaseConfig
from replctl.router.errors import RouterError
from replctl.router.manager import ReadReplicaManager, RouterOptions
from replctl.router.sessions import AsyncReadSession, AsyncWriteSession, ReadSession, WriteSession
from replctl.router.tokens import Token

_lock = threading.Lock()
_current: ReadReplicaManager | None = None


def init_replica_manager(*args: Any, options: RouterOptions | None = None, **settings: Any) -> ReadReplicaManager:
    """Makes the application's manager: with ReadReplicaManager's arguments, or without any from the environment.

    One that was made before is disposed of. Raises ConfigurationError.
    """
    if args or settings:
        manager = ReadReplicaManager(*args, options=options, **settings)
    else:
        manager = ReadReplicaManager.from_config(DatabaseConfig.from_environ(), options)
    use_replica_manager(manager)
    return manager


def use_replica_manager(manager: ReadReplicaManager | None) -> None:
    """Makes this one the application's manager; None: there is none any more. An earlier one is disposed of."""
    global _current
    with _lock:
        before, _current = _current, manager
    if before is not None and before is not manager:
        before.dispose()


def get_replica_manager() -> ReadReplicaManager:
    """The application's manager. Raises RouterError before ``init_replica_manager``."""
    manager = _current
    if manager is None:
        raise RouterError("there is no manager yet: init_replica_manager() makes it")
    return manager


def get_write_session() -> WriteSession:
    """The application's manager's."""
    return get_replica_manager().get_write_session()


def get_read_session(token: Token | None = None) -> ReadSession:
    """The application's manager's."""
    return get_replica_manager().get_read_session(token)


def get_async_write_session() -> AsyncWriteSession:
    """The application's manager's."""
    return get_replica_manager().get_async_write_session()


def get_async_read_session(token: Token | None = None) -> AsyncReadSession:
    """The application's manager's."""
    return get_replica_manager().get_async_read_session(token)
