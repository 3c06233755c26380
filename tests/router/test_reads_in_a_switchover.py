"""Reads between two primaries: the old one is gone, and the env file does not name the new one yet. Without servers:
what probes would have said is put on the board."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

import pytest
from sqlalchemy.exc import OperationalError

from replctl.router import Connecting, NoReadableHostError, Token
from replctl.router.config import Strategy
from replctl.router.hosts import Host, Use
from replctl.router.live import Live
from replctl.router.probe import Observation
from replctl.router.prober import Pace
from replctl.router.routes import Caller, ReadRoute, Rules
from replctl.router.selection import Chooser
from replctl.router.snapshot import Policy
from replctl.router.urls import parse_url
from replctl.router.waiting import pause

CLUSTER = 77
LONG = 60.0
STANDBY = Observation(
    asked=0.0,
    in_recovery=True,
    system_identifier=CLUSTER,
    timeline=1,
    timeline_is_exact=True,
    lsn=1000,
    has_receiver=True,
    paused=False,
    read_only=True,
)
PRIMARY = replace(STANDBY, in_recovery=False, has_receiver=False, read_only=False)
PROMOTED = replace(PRIMARY, timeline=2, lsn=1100)


@dataclass(frozen=True)
class Door:
    """Stands for a host's engine: a connection is the host's name."""

    name: str

    def connect(self) -> str:
        return self.name


@dataclass(frozen=True)
class Closed:
    """Of a host that takes no connection."""

    def connect(self) -> str:
        raise OperationalError("connect", {}, Exception("the database system is shutting down"))


class Scene:
    """db1 is the primary of db2 and db3, and all are up to date."""

    def __init__(self) -> None:
        self.hosts = {name: self._host(name) for name in ("db1", "db2", "db3")}
        self.reader = self._host("db1")
        replicas = (self.hosts["db2"], self.hosts["db3"])
        self.live = Live(self.hosts["db1"], self.reader, replicas, Policy(max_lag=None), Pace(0.25))
        self.closed: set[str] = set()
        self.told(db1=PRIMARY, db2=STANDBY, db3=STANDBY)

    @staticmethod
    def _host(name: str) -> Host:
        url = parse_url(f"postgresql://app@{name}/chat", "url")
        return Host(url, Use.READ, Connecting(), lambda _, __: None)

    def told(self, **observations: Observation) -> None:
        """What the hosts say when they are asked now."""
        for name, observation in observations.items():
            at = replace(observation, asked=time.monotonic())
            self.live.board.probed(self.hosts[name], at, LONG)

    def lost(self, name: str) -> None:
        self.live.board.broke(self.hosts[name], "it is gone")

    def read(self, token: Token | None = None, *, wait: float = LONG, fallback: bool = True) -> object:
        """Where a read goes."""
        caller = Caller(lambda host: Closed() if host.url.host in self.closed else Door(host.url.host), pause)
        rules = Rules(fallback, token_wait=0.01, switchover_wait=wait)
        return ReadRoute(lambda _: self.live, Chooser(Strategy.ROUND_ROBIN), caller, rules, token).connect()


def token(timeline: int, lsn: int) -> Token:
    return Token(CLUSTER, timeline, lsn)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_promoted_replica_serves_who_has_seen_it_promoted(scene: Scene) -> None:
    """Fails when a client that was shown the new timeline has nowhere to read it until the env file is published."""
    scene.lost("db1")
    scene.told(db2=PROMOTED)
    assert scene.read(token(2, 1100)) == "db2"
    assert scene.read() == "db3"


def test_a_promoted_replica_serves_all_where_it_was_the_only_one(scene: Scene) -> None:
    """Fails when a cluster of two nodes serves no read between the promotion and the publication."""
    scene.lost("db1")
    scene.lost("db3")
    scene.told(db2=PROMOTED)
    assert scene.read() == "db2"


@pytest.mark.parametrize(
    ("stranger", "seen"),
    [
        (replace(PROMOTED, system_identifier=78), None),
        (replace(PROMOTED, timeline=1), None),
        (replace(PROMOTED, lsn=1099), token(2, 1100)),
    ],
    ids=["of another cluster", "on the old timeline", "not as far as the client has seen"],
)
def test_another_server_serves_nobody(scene: Scene, stranger: Observation, seen: Token | None) -> None:
    """Fails when whatever is in no recovery counts as the next primary."""
    scene.lost("db1")
    scene.lost("db3")
    scene.told(db2=stranger)
    with pytest.raises(NoReadableHostError):
        scene.read(seen, wait=0.05)


def test_a_promoted_replica_serves_nobody_beside_the_primary(scene: Scene) -> None:
    """Fails when a second primary is read from while the first one is there."""
    scene.told(db2=PROMOTED)
    assert {scene.read() for _ in range(4)} == {"db3"}
    with pytest.raises(NoReadableHostError):
        scene.read(token(2, 1100))


def test_a_promoted_replica_serves_nobody_where_no_primary_may_stand_in(scene: Scene) -> None:
    scene.lost("db1")
    scene.lost("db3")
    scene.told(db2=PROMOTED)
    with pytest.raises(NoReadableHostError):
        scene.read(fallback=False)


def later(scene: Scene, **observations: Observation) -> threading.Timer:
    timer = threading.Timer(0.1, lambda: scene.told(**observations))
    timer.start()
    return timer


@pytest.mark.parametrize(
    ("observations", "host"),
    [
        ({"db2": replace(STANDBY, lsn=1050)}, "db2"),
        ({"db2": replace(PROMOTED, lsn=1050)}, "db2"),
        ({"db1": replace(PRIMARY, lsn=1050)}, "db1"),
    ],
    ids=["a replica catches up", "one is promoted", "the primary comes back"],
)
def test_a_read_waits_for_who_can_serve_it(scene: Scene, observations: dict[str, Observation], host: str) -> None:
    """Fails when a read that comes a moment too early is an error."""
    scene.lost("db1")
    timer = later(scene, **observations)
    try:
        # A primary that was down is taken back after two good probes.
        if host == "db1":
            scene.told(**observations)
        assert scene.read(token(1, 1050)) == host
    finally:
        timer.join()


def test_a_read_that_finds_the_primary_shut_waits_as_well(scene: Scene) -> None:
    """Fails when the read that is the first to notice the primary's stop is the one that fails."""
    scene.closed.add("db1")
    timer = later(scene, db2=replace(STANDBY, lsn=1050))
    try:
        assert scene.read(token(1, 1050)) == "db2"
    finally:
        timer.join()


def test_nobody_waits_where_nothing_answers(scene: Scene) -> None:
    """Fails when every read of a dead cluster holds its thread for as long as a switchover may take."""
    for name in scene.hosts:
        scene.lost(name)
    begin = time.monotonic()
    with pytest.raises(NoReadableHostError):
        scene.read()
    with pytest.raises(NoReadableHostError):
        scene.read(token(1, 1050))
    assert time.monotonic() - begin < LONG / 2


def test_nobody_waits_for_replicas_that_are_paused(scene: Scene) -> None:
    scene.lost("db1")
    paused = replace(STANDBY, paused=True)
    scene.told(db2=paused, db3=paused)
    begin = time.monotonic()
    with pytest.raises(NoReadableHostError):
        scene.read(token(1, 1050))
    assert time.monotonic() - begin < LONG / 2
