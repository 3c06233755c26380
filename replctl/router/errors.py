"""What the router raises. No message holds a password."""

from __future__ import annotations

from collections.abc import Mapping


class RouterError(Exception):
    """All errors of the router."""


class ConfigurationError(RouterError, ValueError):
    """A setting that cannot be used. ``variable`` is where it stands."""

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable}: {problem}")
        self.variable = variable


class UnavailableError(RouterError):
    """There is no server for this unit of work now; a moment later there may be. Status 503 in HTTP.

    ``reasons`` says of each host why it was not taken.
    """

    def __init__(self, message: str, reasons: Mapping[str, str]) -> None:
        told = "; ".join(f"{host}: {reason}" for host, reason in reasons.items())
        super().__init__(f"{message} ({told})" if told else message)
        self.reasons = dict(reasons)


class PrimaryUnavailableError(UnavailableError):
    """Nothing can be written now."""


class NoReadableHostError(UnavailableError):
    """No replica can be read from now, and the primary may not or must not stand in for it."""


class ManagerClosedError(RouterError):
    """The manager was disposed of."""


class SessionEndedError(RouterError):
    """A session that was ended for good is used: one of an HTTP request, after its answer."""


class InvalidTokenError(RouterError, ValueError):
    """A token that is damaged, forged, or of another key."""
