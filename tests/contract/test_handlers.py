"""What handlers look at once more before they act, with a real primary and a real standby."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from replctl.execution.context import Changed, Context, Unchanged
from replctl.execution.handlers.app_hosts import count_app_sessions, end_app_sessions
from replctl.execution.handlers.backup import check_login
from replctl.execution.handlers.files import write_config
from replctl.execution.handlers.publish import publish_env
from replctl.execution.handlers.roles import await_password, restore_password, set_password
from replctl.execution.handlers.slots import await_release, create_slot
from replctl.execution.handlers.standby import await_replayed, await_streaming
from replctl.execution.handlers.switchover import probe_write, prove_caught_up
from replctl.execution.handlers.synchronous import set_synchronous
from replctl.model.actions import (
    AwaitPassword,
    AwaitReplayed,
    AwaitStreaming,
    CheckLogin,
    ConfigFile,
    CountAppSessions,
    CreateSlot,
    EndAppSessions,
    Place,
    ProbeWrite,
    ProveCaughtUp,
    PublishEnv,
    RestorePassword,
    RoleKind,
    SetPassword,
    SetSynchronous,
    WriteConfig,
)
from replctl.model.errors import RefusedError, ReplctlError, SqlError, WaitTimeoutError
from replctl.model.inventory import Sync, Timeouts
from replctl.model.secret import Passwords, Secret
from replctl.model.values import Lsn, NodeName, SystemIdentifier
from replctl.remote.links import open_fleet
from replctl.remote.waiting import SystemClock
from tests.contract.pair import Pair, an_inventory, standby_of
from tests.contract.routes import eventually
from tests.contract.scratch_postgres import ADMIN_PASSWORD, BIN, Scratch, scratch
from tests.unit.builders import OTHER_IDENTITY, a_cluster
from tests.unit.plans import DB1, DB2, DB3
from tests.unit.runs import Interrupts, Ticking, Told, a_session


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[NodeName, Scratch]]:
    with scratch() as primary, standby_of(primary) as standby:
        yield {DB1: primary, DB2: standby}


@pytest.fixture
def pair(servers: dict[NodeName, Scratch], tmp_path: Path) -> Iterator[Pair]:
    inventory = an_inventory(servers, tmp_path)
    passwords = Passwords(Secret(ADMIN_PASSWORD), Secret(ADMIN_PASSWORD), Secret("app"))
    bare = replace(a_session(inventory, Told(), Interrupts(), Ticking()), passwords=passwords)
    fleet = open_fleet(inventory, passwords, cancellation=bare.cancellation, clock=SystemClock(), warn=pytest.fail)
    yield Pair(replace(bare, fleet=fleet), servers)
    fleet.close()


def proof(pair: Pair, record: Lsn | None) -> Context:
    context = pair.context(DB2, ProveCaughtUp(DB1))
    context.stopwatch.shutdown_record = record
    return context


def test_the_proof_needs_the_whole_shutdown_record(pair: Pair) -> None:
    """Replay that is at the record's beginning has nothing of it."""
    replayed = Lsn.parse(str(pair.sql(DB2, "select pg_last_wal_replay_lsn()")))
    assert isinstance(prove_caught_up(proof(pair, Lsn(replayed.position - 1)), ProveCaughtUp(DB1)), Unchanged)
    with pytest.raises(WaitTimeoutError, match="has not replayed db1's last record"):
        prove_caught_up(proof(pair, replayed), ProveCaughtUp(DB1))


def test_the_proof_needs_a_clean_shutdown(pair: Pair) -> None:
    """pg_control of a running or crashed server names a checkpoint too: not its last word."""
    with pytest.raises(ReplctlError, match="db1: was not shut down cleanly"):
        prove_caught_up(proof(pair, None), ProveCaughtUp(DB1))


def test_a_node_in_recovery_is_not_published_as_the_primary(pair: Pair) -> None:
    with pytest.raises(ReplctlError, match="db2: is in recovery"):
        publish_env(pair.context(None, PublishEnv(DB2, ())), PublishEnv(DB2, ()))
    assert not pair.session.inventory.app.env_file.exists()


def test_a_replica_that_does_not_stream_is_not_published(pair: Pair) -> None:
    action = PublishEnv(DB1, (DB2,))
    assert publish_env(pair.context(None, action), action) == Changed("app.env: primary db1, replicas none")
    assert "DB_READ_REPLICA_URLS=\n" in pair.session.inventory.app.env_file.read_text()
    assert pair.told.warnings == ["db2 does not stream now, and is left out of the env file"]


def test_a_primary_that_refuses_writes_is_found_by_a_write(pair: Pair) -> None:
    context = pair.context(DB1, ProbeWrite())
    assert isinstance(probe_write(context, ProbeWrite()), Unchanged)
    pair.sql(DB1, "alter role postgres set default_transaction_read_only = on")
    try:
        with pytest.raises(ReplctlError, match="default_transaction_read_only is on"):
            probe_write(context, ProbeWrite())
    finally:
        writable = "-c default_transaction_read_only=off"
        pair.sql(DB1, "alter role postgres reset default_transaction_read_only", options=writable)


def test_a_standby_is_no_primary_to_a_write(pair: Pair) -> None:
    with pytest.raises(SqlError):
        probe_write(pair.context(DB2, ProbeWrite()), ProbeWrite())


def test_another_cluster_that_answers_is_told_from_ours(pair: Pair) -> None:
    action = CheckLogin(DB1)
    ours = SystemIdentifier(str(pair.sql(DB1, "select system_identifier from pg_control_system()")))
    assert isinstance(check_login(pair.context(DB2, action, system_identifier=ours), action), Unchanged)
    with pytest.raises(ReplctlError, match="another cluster answers"):
        check_login(pair.context(DB2, action, system_identifier=OTHER_IDENTITY), action)


def test_a_standby_that_has_not_replayed_its_primary_s_settings_is_told(pair: Pair) -> None:
    action = AwaitReplayed(DB1)
    pair.sql(DB1, "select pg_logical_emit_message(true, 'test', 'what db2 never gets')")
    with pytest.raises(WaitTimeoutError, match="db2: has not replayed what db1 had written"):
        await_replayed(pair.context(DB2, action), action)


@pytest.mark.parametrize("name", ["postgresql.conf", "pg_hba.conf"])
def test_a_configuration_that_postgresql_does_not_accept_is_not_left_in_place(pair: Pair, name: str) -> None:
    path = pair.servers[DB1].data_dir / name
    before = path.read_text()
    action = WriteConfig(Place.LIVE, (ConfigFile(name, "port = nonsense\n"),))
    with pytest.raises(RefusedError, match="does not accept"):
        write_config(pair.context(DB1, action), action)
    assert path.read_text() == before
    assert not path.with_name(f"{name}.replctl-new").exists()


@pytest.mark.parametrize("node", [DB1, DB2])
def test_a_slot_reserves_wal_at_once(pair: Pair, node: NodeName) -> None:
    action = CreateSlot("replctl_db3")
    assert isinstance(create_slot(pair.context(node, action), action), Changed)
    assert isinstance(create_slot(pair.context(node, action), action), Unchanged)
    assert pair.sql(node, "select restart_lsn from pg_replication_slots where slot_name = 'replctl_db3'")


@pytest.fixture
def app_session(pair: Pair) -> Iterator[psycopg.Connection]:
    """A session of the application on db1."""
    pair.sql(DB1, "create role chat login password 'chat'")
    pair.sql(DB1, "create database chatdb owner chat")
    login = {"host": "127.0.0.1", "port": pair.servers[DB1].port, "user": "chat", "password": "chat"}
    with psycopg.connect(**login, dbname="chatdb", autocommit=True) as session:
        yield session
    pair.sql(DB1, "drop database chatdb with (force)")
    pair.sql(DB1, "drop role chat")


def test_the_applications_sessions_are_counted_and_no_others(pair: Pair, app_session: psycopg.Connection) -> None:
    context = pair.context(None, CountAppSessions())
    assert count_app_sessions(context, CountAppSessions()) == Unchanged("db1 1, db2 0")
    assert context.stopwatch.app_sessions == {DB1: 1, DB2: 0}


def test_sessions_end_where_the_env_file_lists_nobody(pair: Pair, app_session: psycopg.Connection) -> None:
    context, env_file = pair.context(DB1, EndAppSessions()), pair.session.inventory.app.env_file
    port = pair.servers[DB1].port
    env_file.write_text(f"DB_READ_REPLICA_URLS=postgresql://chat:x@127.0.0.1:{port}/chatdb\n")
    assert end_app_sessions(context, EndAppSessions()) == Unchanged("the env file lists it")
    app_session.execute("select 1")
    env_file.unlink()
    assert end_app_sessions(context, EndAppSessions()) == Changed("1 ended")
    with pytest.raises(psycopg.errors.AdminShutdown):
        app_session.execute("select 1")


def test_a_node_that_lets_nobody_in_has_no_sessions_to_end(pair: Pair) -> None:
    pair.servers[DB2].pg_ctl("stop", "-m", "fast")
    try:
        effect = end_app_sessions(pair.context(DB2, EndAppSessions()), EndAppSessions())
        assert isinstance(effect, Unchanged)
        assert effect.reason.startswith("nobody gets in there now")
    finally:
        pair.servers[DB2].start("-w")


VERIFIER = "select rolpassword from pg_authid where rolname = 'chat'"
SET, RESTORE, AWAIT = SetPassword(RoleKind.APP), RestorePassword(RoleKind.APP), AwaitPassword(RoleKind.APP)


@pytest.fixture
def chat(pair: Pair) -> Iterator[Pair]:
    """The app's role, whose password the session's inventory does not have yet."""
    pair.sql(DB1, "create role chat login password 'old'")
    yield pair
    pair.sql(DB1, "drop role chat")


def test_a_password_is_set_once(chat: Pair) -> None:
    assert set_password(chat.context(DB1, SET), SET) == Changed("chat changed")
    assert set_password(chat.context(DB1, SET), SET) == Unchanged("chat has it already")
    assert await_password(chat.context(DB1, AWAIT), AWAIT) == Unchanged("chat has it")


@pytest.mark.parametrize("old", ["'old'", "'md5" + "0" * 32 + "'", "null"])
def test_the_verifier_that_was_there_comes_back(chat: Pair, old: str) -> None:
    """Of an md5 hash or no password at all as well: none is known here."""
    chat.sql(DB1, f"alter role chat password {old}")
    before = chat.sql(DB1, VERIFIER)
    context = chat.context(DB1, SET)
    set_password(context, SET)
    assert chat.sql(DB1, VERIFIER) != before
    restore_password(context, RESTORE)
    assert chat.sql(DB1, VERIFIER) == before


def test_what_was_not_replaced_is_not_put_back(chat: Pair) -> None:
    context = chat.context(DB1, SET)
    assert isinstance(restore_password(context, RESTORE), Unchanged)
    set_password(context, SET)
    assert "SCRAM" not in repr(context.stopwatch)


def test_a_standby_that_has_not_replayed_the_password_is_told(chat: Pair) -> None:
    """db2 has the role's name from nowhere: it follows nobody."""
    with pytest.raises(ReplctlError, match="db2: there is no role chat"):
        await_password(chat.context(DB2, AWAIT), AWAIT)


def test_a_server_with_the_old_password_is_waited_for_and_then_told(chat: Pair) -> None:
    with pytest.raises(WaitTimeoutError, match="db1: has not replayed the new password of chat"):
        await_password(chat.context(DB1, AWAIT), AWAIT)


def test_a_role_that_is_gone_is_told(pair: Pair) -> None:
    with pytest.raises(ReplctlError, match="db1: there is no role chat"):
        set_password(pair.context(DB1, SET), SET)


def test_the_admin_is_let_in_by_the_old_password_as_well(pair: Pair) -> None:
    """While it is changed, servers know either."""
    new = replace(pair.session.passwords, admin=Secret("new"), old_admin=Secret(ADMIN_PASSWORD))
    fleet = open_fleet(
        pair.session.inventory, new, cancellation=pair.session.cancellation, clock=SystemClock(), warn=pytest.fail
    )
    with contextlib.closing(fleet):
        fleet[DB1].database().close()
    without = open_fleet(
        pair.session.inventory,
        replace(new, old_admin=None),
        cancellation=pair.session.cancellation,
        clock=SystemClock(),
        warn=pytest.fail,
    )
    with contextlib.closing(without), pytest.raises(SqlError, match="password"):
        without[DB1].database()


SLOT = "replctl_db2"
LINKS = "select count(*) from pg_stat_replication where state = 'streaming' and flush_lsn is not null"


@contextlib.contextmanager
def walsender(pair: Pair, *slot: str) -> Iterator[None]:
    """A link from db1 to what calls itself db2, by this slot or by none."""
    login = {"host": "127.0.0.1", "port": pair.servers[DB1].port, "user": "postgres", "password": ADMIN_PASSWORD}
    options = ("--synchronous", "--no-loop", *(f"--slot={name}" for name in slot))
    with tempfile.TemporaryDirectory() as folder:
        conninfo = make_conninfo("", **login, application_name="db2")
        program = subprocess.Popen((BIN / "pg_receivewal", "-D", folder, "-d", conninfo, *options))
        try:
            assert eventually(lambda: pair.sql(DB1, LINKS) == 1)
            yield
        finally:
            program.terminate()
            program.wait()
            assert eventually(lambda: pair.sql(DB1, LINKS) == 0)


@pytest.fixture
def slot(pair: Pair) -> Iterator[None]:
    """db2's slot on db1."""
    pair.sql(DB1, f"select pg_create_physical_replication_slot('{SLOT}', true)")
    yield
    pair.sql(DB1, f"select pg_drop_replication_slot('{SLOT}')")


def found_streaming(pair: Pair, **setting: str) -> tuple[bool, bool]:
    """Whether db2 is proven to stream, and whether it is published, when it was found with these settings."""
    built = a_cluster(identifier=None).primary("db1")
    nodes = (built.replica("db2", setting=setting) if setting else built.stopped("db2", standby=True)).build()[1].nodes
    publishing, streaming = PublishEnv(DB1, (DB2,)), AwaitStreaming(DB1)
    publish_env(pair.context(None, publishing, nodes=nodes), publishing)
    published = "DB_READ_REPLICA_URLS=\n" not in pair.session.inventory.app.env_file.read_text()
    try:
        await_streaming(pair.context(DB2, streaming, nodes=nodes), streaming)
    except WaitTimeoutError:
        return False, published
    return True, published


@pytest.mark.usefixtures("slot")
def test_a_name_alone_does_not_prove_a_link(pair: Pair) -> None:
    """Any standby may call itself db2; db2 has its slot."""
    inventory = replace(pair.session.inventory, timeouts=Timeouts(catchup=20))
    impatient = Pair(replace(pair.session, inventory=inventory), pair.servers)
    with walsender(pair):
        assert found_streaming(impatient) == (False, False)
        assert found_streaming(impatient, primary_slot_name=SLOT) == (False, False)


@pytest.mark.usefixtures("slot")
def test_who_holds_the_slot_is_the_node(pair: Pair) -> None:
    real_time = Pair(replace(pair.session, clock=SystemClock()), pair.servers)
    with walsender(pair, SLOT):
        assert found_streaming(real_time) == (True, True)


def test_a_replica_may_stream_as_it_was_found(pair: Pair) -> None:
    """A restart leaves it as it was: without a slot, here."""
    real_time = Pair(replace(pair.session, clock=SystemClock()), pair.servers)
    with walsender(pair):
        assert found_streaming(real_time, primary_slot_name="") == (True, True)


@pytest.mark.usefixtures("slot")
def test_commits_wait_for_no_more_standbys_than_stream(pair: Pair) -> None:
    """In force at once, the same again is nothing, and one that is about to go is not counted."""
    inventory = replace(pair.session.inventory, sync=Sync(count=2))
    real_time = Pair(replace(pair.session, inventory=inventory, clock=SystemClock()), pair.servers)
    both, none = SetSynchronous((DB2, DB3)), SetSynchronous(())

    def now(action: SetSynchronous) -> tuple[bool, object]:
        changed = isinstance(set_synchronous(real_time.context(DB1, action), action), Changed)
        return changed, pair.sql(DB1, "show synchronous_standby_names")

    with walsender(pair, SLOT):
        assert now(both) == (True, 'ANY 1 ("db2", "db3")')
        assert now(both) == (False, 'ANY 1 ("db2", "db3")')
        pair.sql(DB1, "select pg_logical_emit_message(true, 'replctl', 'a commit')")
        assert now(replace(both, without=DB2)) == (True, "")
    assert now(both) == (False, "")
    assert now(none) == (False, "")
    pair.sql(DB1, "alter system reset synchronous_standby_names")
    assert [warning for warning in real_time.told.warnings if "2 as the inventory asks" in warning]


@pytest.mark.usefixtures("slot")
def test_a_slot_is_waited_for_until_its_holder_has_gone(pair: Pair) -> None:
    """A copy that was ended a moment ago may still have it."""
    active = f"select active from pg_replication_slots where slot_name = '{SLOT}'"
    context = replace(pair.context(DB1, CreateSlot(SLOT)), session=replace(pair.session, clock=SystemClock()))
    with contextlib.ExitStack() as link, ThreadPoolExecutor(1) as pool, context.database() as database:
        link.enter_context(walsender(pair, SLOT))
        waiting = pool.submit(await_release, context, database, SLOT)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        link.close()
        waiting.result()
        assert not pair.sql(DB1, active)
