"""What is done for the application, as data: the part of replctl.model.actions that writes its env file."""

from __future__ import annotations

from dataclasses import dataclass

from replctl.model.values import NodeName


@dataclass(frozen=True, slots=True)
class PublishEnv:
    """Write the env file: the primary, and the replicas that are proven in their role now."""

    primary: NodeName
    replicas: tuple[NodeName, ...]


@dataclass(frozen=True, slots=True)
class PushEnv:
    """Have a file on a host of the application say what the env file says, and run its reload command."""

    app_host: str
    """Its label in the inventory."""


@dataclass(frozen=True, slots=True)
class EndAppSessions:
    """End the application's sessions on a node that the env file does not list: they came by an older one."""


@dataclass(frozen=True, slots=True)
class CountAppSessions:
    """Ask every node that answers how many sessions the application has there."""
