"""The router's settings: what is taken, and how a bad one is told without telling a password."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

import replctl.router
from replctl.router.config import DatabaseConfig, Strategy
from replctl.router.env_watch import EnvWatch
from replctl.router.errors import ConfigurationError
from replctl.router.manager import ReadReplicaManager
from replctl.router.urls import DatabaseUrl, parse_url

SECRET = "s3cr3t-of-the-app"
PRIMARY = f"postgresql://app:{SECRET}@db1:5432/appdb"
REPLICAS = f"postgresql://app:{SECRET}@db2:5433/appdb,postgresql://app:{SECRET}@[fe80::1]/appdb"
GOOD = {"DB_READ_REPLICAS_ENABLED": "true", "DB_PRIMARY_URL": PRIMARY, "DB_READ_REPLICA_URLS": REPLICAS}
NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=30)


def replicas(text: str) -> tuple[DatabaseUrl, ...]:
    return DatabaseConfig.from_environ(GOOD | {"DB_READ_REPLICA_URLS": text}).replicas


def test_every_setting_is_read() -> None:
    said = {
        "DB_READ_REPLICA_STRATEGY": "least_connections",
        "DB_READ_REPLICA_FALLBACK": "false",
        "DB_READ_REPLICA_HEALTH_CHECK_INTERVAL": "5",
        "DB_MAX_REPLICATION_LAG_MS": "250",
        "DB_LAG_CHECK_ENABLED": "no",
    }
    config = DatabaseConfig.from_environ(GOOD | said)
    assert config.read_replicas_enabled is True
    assert config.primary_url == PRIMARY
    assert ",".join(config.read_replica_urls) == REPLICAS
    assert [url.id for url in (config.primary, *config.replicas)] == [
        "db1:5432/appdb",
        "db2:5433/appdb",
        "[fe80::1]:5432/appdb",
    ]
    assert config.read_replica_strategy is Strategy.LEAST_CONNECTIONS
    assert config.read_replica_fallback is False
    assert config.read_replica_health_check_interval == 5.0
    assert config.max_replication_lag_ms == 250.0
    assert config.lag_check_enabled is False


def test_database_config_is_what_the_environment_says_now(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [key for key in os.environ if key.startswith("DB_")]:
        monkeypatch.delenv(key)
    for key, value in GOOD.items():
        monkeypatch.setenv(key, value)
    assert replctl.router.database_config.primary_url == PRIMARY
    monkeypatch.setenv("DB_PRIMARY_URL", "postgresql://app@db9/appdb")
    assert replctl.router.database_config.primary.id == "db9:5432/appdb"


def test_the_defaults() -> None:
    config = DatabaseConfig.from_environ({"DB_PRIMARY_URL": PRIMARY})
    assert config.replicas == ()
    assert (config.read_replica_strategy, config.read_replica_fallback) == (Strategy.ROUND_ROBIN, True)
    assert (config.read_replica_health_check_interval, config.max_replication_lag_ms) == (30.0, 1000.0)
    assert config.lag_check_enabled is True


@pytest.mark.parametrize(
    "said",
    [
        {"DB_URL": PRIMARY},
        {"DB_URL": PRIMARY, "DB_READ_REPLICAS_ENABLED": "false"},
        {"DB_PRIMARY_URL": PRIMARY, "DB_READ_REPLICAS_ENABLED": "false"},
        {"DB_PRIMARY_URL": PRIMARY, "DB_READ_REPLICA_URLS": REPLICAS, "DB_READ_REPLICAS_ENABLED": "false"},
        {"DB_PRIMARY_URL": PRIMARY, "DB_READ_REPLICA_URLS": "", "DB_READ_REPLICAS_ENABLED": "true"},
        {"DB_URL": PRIMARY, "DB_READ_REPLICA_URLS": "  "},
    ],
)
def test_one_database_works_alone(said: dict[str, str]) -> None:
    config = DatabaseConfig.from_environ(said)
    assert (config.primary.id, config.replicas) == ("db1:5432/appdb", ())


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DB_PRIMARY_URL", ""),
        ("DB_PRIMARY_URL", SECRET),
        ("DB_PRIMARY_URL", f"mysql://app:{SECRET}@db1/appdb"),
        ("DB_PRIMARY_URL", f"postgresql://app:{SECRET}@/appdb"),
        ("DB_PRIMARY_URL", f"postgresql://:{SECRET}@db1/appdb"),
        ("DB_PRIMARY_URL", "postgresql://db1/appdb"),
        ("DB_PRIMARY_URL", f"postgresql://app:{SECRET}@db1"),
        ("DB_PRIMARY_URL", f"postgresql://app:{SECRET}@db1/a/b"),
        ("DB_PRIMARY_URL", f"postgresql://app:{SECRET}#@db1/appdb"),
        ("DB_PRIMARY_URL", f"postgresql://app:{SECRET}/@db1/appdb"),
        ("DB_PRIMARY_URL", f"postgresql://app:{SECRET}@db1:high/appdb"),
        ("DB_PRIMARY_URL", f"postgresql://app:{SECRET}@db1:99999/appdb"),
        ("DB_PRIMARY_URL", f"postgresql://app:{SECRET}@[fe80::1/appdb"),
        ("DB_READ_REPLICA_URLS", f"postgresql://app:{SECRET},x@db2/appdb"),
        ("DB_READ_REPLICA_URLS", f"{PRIMARY},"),
        ("DB_READ_REPLICA_URLS", f"{PRIMARY},{PRIMARY}"),
        ("DB_READ_REPLICA_URLS", f"{PRIMARY},mysql://app:{SECRET}@db2/appdb"),
        ("DB_READ_REPLICA_STRATEGY", "sometimes"),
        ("DB_READ_REPLICA_FALLBACK", "perhaps"),
        ("DB_READ_REPLICA_HEALTH_CHECK_INTERVAL", "-1"),
        ("DB_READ_REPLICA_HEALTH_CHECK_INTERVAL", "0"),
        ("DB_READ_REPLICA_HEALTH_CHECK_INTERVAL", "inf"),
        ("DB_READ_REPLICA_HEALTH_CHECK_INTERVAL", "nan"),
        ("DB_MAX_REPLICATION_LAG_MS", "much"),
        ("DB_MAX_REPLICATION_LAG_MS", "-5"),
        ("DB_LAG_CHECK_ENABLED", "2"),
        ("DB_READ_REPLICAS_ENABLED", "ja"),
    ],
)
def test_a_bad_setting_is_named_and_no_password_told(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DatabaseConfig.from_environ(GOOD | {variable: value})
    assert caught.value.variable.split(",")[0] == variable
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("urls", [f"postgresql://app:{SECRET},x@db2/appdb", f"{PRIMARY},"])
def test_a_comma_in_a_password_is_told_with_what_to_write_instead(urls: str) -> None:
    with pytest.raises(ConfigurationError, match=r"DB_READ_REPLICA_URLS: has a comma .* is written %2C"):
        DatabaseConfig.from_environ(GOOD | {"DB_READ_REPLICA_URLS": urls})


def test_the_second_bad_url_is_told_as_the_second() -> None:
    with pytest.raises(ConfigurationError, match="DB_READ_REPLICA_URLS, URL 2"):
        replicas(f"{PRIMARY},{SECRET}://x")


@given(NAMES, NAMES, NAMES)
def test_any_name_and_password_percent_encoded_comes_back(user: str, password: str, database: str) -> None:
    """As replctl writes them: and as libpq and SQLAlchemy read them too."""
    text = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@db1:6543/{quote(database, safe='')}"
    if "/" in database:  # no database of an application, and what is left of a bad URL otherwise
        with pytest.raises(ConfigurationError):
            parse_url(text, "url")
        return
    url = parse_url(text, "url")
    assert (url.user, url.password, url.database) == (user, password, database)
    libpq = conninfo_to_dict(text)
    assert (libpq["user"], libpq["password"], libpq["dbname"]) == (user, password, database)
    alchemy = make_url(text)
    assert (alchemy.username, alchemy.password) == (user, password)
    assert replicas(f"{text},postgresql://app@db2/appdb")[0] == url


@given(st.text(st.sampled_from("abcXYZ0189-._~ü%@:/,#?"), min_size=12, max_size=30))
def test_a_password_is_shown_nowhere(password: str) -> None:
    said = GOOD | {"DB_PRIMARY_URL": f"postgresql://app:{quote(password, safe='')}@db1/appdb"}
    config = DatabaseConfig.from_environ(said)
    for text in (repr(config), str(config), repr(config.primary), str(config.primary), config.primary.id):
        assert password not in text
        assert quote(password, safe="") not in text


@given(st.text(max_size=60))
def test_whatever_stands_there_no_other_error_is_raised(text: str) -> None:
    for wrong in (text, f"postgresql://{text}", f"postgresql://app:{text}@db1/appdb"):
        with suppress(ConfigurationError):
            replicas(wrong)


@pytest.mark.parametrize(
    "arguments",
    [
        {"primary_url": SECRET},
        {"primary_url": PRIMARY, "replica_urls": [SECRET]},
        {"primary_url": PRIMARY, "strategy": "sometimes"},
        {"primary_url": PRIMARY, "max_lag_ms": -1},
        {"primary_url": PRIMARY, "health_check_interval": 0},
    ],
)
def test_the_managers_own_arguments_are_checked_too(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ReadReplicaManager(**arguments)  # type: ignore[arg-type]
    assert caught.value.variable.split(",")[0] in arguments
    assert SECRET not in str(caught.value)


class Following:
    """Notes what it is told to go over to."""

    def __init__(self, config: DatabaseConfig) -> None:
        self.config = config
        self.applied: list[DatabaseConfig] = []

    def apply(self, config: DatabaseConfig) -> None:
        self.applied.append(config)


def publish(path: Path, text: str) -> None:
    """As replctl does it: another file takes the old one's place."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


@pytest.fixture
def followed(tmp_path: Path) -> tuple[Path, Following, EnvWatch]:
    path = tmp_path / "app.env"
    publish(path, f"DB_PRIMARY_URL={PRIMARY}\n")
    follower = Following(DatabaseConfig.from_env_file(path))
    return path, follower, EnvWatch(path, follower)


def test_what_is_published_is_applied_once(followed: tuple[Path, Following, EnvWatch]) -> None:
    path, follower, watch = followed
    watch.look()
    publish(path, "DB_PRIMARY_URL=postgresql://app@db2/appdb\n")
    for _ in range(3):
        watch.look()
    assert [config.primary.host for config in follower.applied] == ["db1", "db2"]


@pytest.mark.parametrize("text", ["", f"DB_PRIMARY_URL={SECRET}\n", f"DB_PRIMARY_URL=postgresql://app:{SECRET}"])
def test_a_file_that_cannot_be_used_leaves_everything_as_it_was_and_is_told_once(
    followed: tuple[Path, Following, EnvWatch],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    text: str,
) -> None:
    for key in [key for key in os.environ if key.startswith("DB_")]:
        monkeypatch.delenv(key)
    path, follower, watch = followed
    watch.look()
    publish(path, text)
    for _ in range(3):
        watch.look()
    assert len(follower.applied) == 1
    assert len(caplog.messages) == 1
    assert "DB_PRIMARY_URL" in caplog.text
    assert SECRET not in caplog.text
    publish(path, "DB_PRIMARY_URL=postgresql://app@db2/appdb\n")
    watch.look()
    assert follower.applied[-1].primary.host == "db2"


def test_a_file_that_is_gone_leaves_everything_as_it_was(
    followed: tuple[Path, Following, EnvWatch], caplog: pytest.LogCaptureFixture
) -> None:
    path, follower, watch = followed
    path.unlink()
    for _ in range(3):
        watch.look()
    assert (follower.applied, len(caplog.messages)) == ([], 1)
