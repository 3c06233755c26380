"""The router's settings, from the environment or from an env file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dotenv import dotenv_values

from replctl.router.errors import ConfigurationError
from replctl.router.urls import DatabaseUrl, parse_url, parse_urls

ENABLED = "DB_READ_REPLICAS_ENABLED"
SINGLE_URL = "DB_URL"
PRIMARY_URL = "DB_PRIMARY_URL"
REPLICA_URLS = "DB_READ_REPLICA_URLS"
STRATEGY = "DB_READ_REPLICA_STRATEGY"
FALLBACK = "DB_READ_REPLICA_FALLBACK"
INTERVAL = "DB_READ_REPLICA_HEALTH_CHECK_INTERVAL"
MAX_LAG = "DB_MAX_REPLICATION_LAG_MS"
LAG_CHECK = "DB_LAG_CHECK_ENABLED"
ENV_FILE = "DB_ENV_FILE"

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


class Strategy(StrEnum):
    """How a read's replica is chosen among the usable ones."""

    ROUND_ROBIN = "round_robin"
    LEAST_CONNECTIONS = "least_connections"
    RANDOM = "random"
    LEAST_LAG = "least_lag"


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """The settings; as they stand in the environment, with the defaults of what does not."""

    primary: DatabaseUrl
    replicas: tuple[DatabaseUrl, ...] = ()
    read_replicas_enabled: bool = True
    read_replica_strategy: Strategy = Strategy.ROUND_ROBIN
    read_replica_fallback: bool = True
    read_replica_health_check_interval: float = 30.0
    """Seconds."""
    max_replication_lag_ms: float = 1000.0
    lag_check_enabled: bool = True
    env_file: Path | None = None
    """The file that is watched for new hosts; None: the settings are what they are."""

    @property
    def primary_url(self) -> str:
        """With its password."""
        return self.primary.text

    @property
    def read_replica_urls(self) -> tuple[str, ...]:
        """With their passwords."""
        return tuple(url.text for url in self.replicas)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> DatabaseConfig:
        """From the process's environment, or another mapping. What a file that DB_ENV_FILE names says goes first.

        Raises ConfigurationError that names the variable, and OSError for a file that cannot be read.
        """
        values = dict(os.environ if environ is None else environ)
        if values.get(ENV_FILE, "").strip():
            return cls.from_env_file(Path(values[ENV_FILE].strip()), values)
        return _config(values, None)

    @classmethod
    def from_env_file(cls, path: Path, environ: Mapping[str, str] | None = None) -> DatabaseConfig:
        """From the env file that replctl publishes; keys that it lacks come from ``environ``.

        Raises ConfigurationError that names the variable, and OSError for a file that cannot be read.
        """
        with path.open(encoding="utf-8") as file:
            said = dotenv_values(stream=file, interpolate=False)
        known = {key: value for key, value in said.items() if value is not None}
        return _config({**(environ or {}), **known}, path)


def _config(values: Mapping[str, str], env_file: Path | None) -> DatabaseConfig:
    enabled = _flag(values, ENABLED, default=bool(values.get(REPLICA_URLS, "").strip()))
    variable = PRIMARY_URL if enabled or values.get(PRIMARY_URL, "").strip() else SINGLE_URL
    text = values.get(variable, "").strip()
    if not text:
        raise ConfigurationError(PRIMARY_URL, "is not set")
    replicas = values.get(REPLICA_URLS, "") if enabled else ""
    return DatabaseConfig(
        primary=parse_url(text, variable),
        replicas=parse_urls(replicas, REPLICA_URLS),
        read_replicas_enabled=enabled,
        read_replica_strategy=strategy_of(values.get(STRATEGY, "").strip() or Strategy.ROUND_ROBIN, STRATEGY),
        read_replica_fallback=_flag(values, FALLBACK, default=True),
        read_replica_health_check_interval=_number(values, INTERVAL, 30.0),
        max_replication_lag_ms=_number(values, MAX_LAG, 1000.0),
        lag_check_enabled=_flag(values, LAG_CHECK, default=True),
        env_file=env_file,
    )


def strategy_of(text: str, variable: str) -> Strategy:
    """Raises ConfigurationError for a strategy that there is not."""
    try:
        return Strategy(text)
    except ValueError:
        raise ConfigurationError(variable, f"{text!r} is none of {', '.join(Strategy)}") from None


def positive(value: float, variable: str) -> float:
    """Raises ConfigurationError for anything but a positive, finite number."""
    if not 0 < value < float("inf"):
        raise ConfigurationError(variable, f"{value:g} is not a positive number")
    return value


def _number(values: Mapping[str, str], variable: str, default: float) -> float:
    text = values.get(variable, "").strip()
    try:
        return positive(float(text), variable) if text else default
    except ValueError as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(variable, f"{text!r} is not a number") from None


def _flag(values: Mapping[str, str], variable: str, *, default: bool) -> bool:
    text = values.get(variable, "").strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if text:
        raise ConfigurationError(variable, f"{text!r} is neither true nor false")
    return default
