"""The way to the primary and the replicas that DB_ENV_FILE names: the router's, with this application's options."""

from __future__ import annotations

from replctl.router import DatabaseConfig, ReadReplicaManager, RouterOptions


def make_replica_manager() -> ReadReplicaManager:
    """Follows the env file, so that a switchover needs no restart. Raises ConfigurationError."""
    return ReadReplicaManager.from_config(DatabaseConfig.from_environ(), RouterOptions())
