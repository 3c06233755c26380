"""init-primary --adopt on servers set up in odd ways: refused before anything is changed, or told what it means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.facts import Role, Setting
from replctl.model.host import Postmaster
from replctl.model.inventory import ServiceManager, SqlRoute
from replctl.planning.adopt import Adoption
from replctl.planning.init_primary import plan_init_primary
from tests.unit.builders import DATA_DIR, ClusterBuilder, a_cluster, a_control, a_slot, gib, mib, settings
from tests.unit.plans import DB1, DB2, codes, notes_of, steps

THEIRS = {"postgresql.conf": "max_connections = 77\n", "pg_hba.conf": "local all all peer\nhost all all all md5\n"}
PLACES = {"config_file": f"{DATA_DIR}/postgresql.conf", "hba_file": f"{DATA_DIR}/pg_hba.conf"}
ENOUGH = {"port": "5432", "listen_addresses": "*", **PLACES}


def foreign(files: dict[str, str] = THEIRS, **changed: str | Setting) -> ClusterBuilder:
    live = settings(**ENOUGH) | settings(**{k: v for k, v in changed.items() if isinstance(v, str)})
    live |= {name: value for name, value in changed.items() if isinstance(value, Setting)}
    return a_cluster().primary("db1", settings=live).host("db1", files=files).absent("db2").env()


def plan(built: ClusterBuilder, adoption: Adoption = Adoption.WITHOUT_RESTART, **facts: object):
    return plan_init_primary(built.situation(**facts), DB1, adoption)


def told(built: ClusterBuilder, word: str) -> list[str]:
    return [note for note in notes_of(plan(built)) if word in note and " changes:\n" not in note]


@pytest.mark.parametrize(
    ("places", "files"),
    [
        ({"config_file": "/etc/own/main.conf", "hba_file": "/etc/own/pg_hba.conf"}, {}),
        ({"config_file": "/etc/own/postgresql.conf"}, THEIRS),
        ({"hba_file": f"{DATA_DIR}/access.conf"}, THEIRS),
        ({"hba_file": f"{DATA_DIR}/../pg_hba.conf"}, THEIRS),
    ],
)
def test_files_that_the_server_does_not_read(places: dict[str, str], files: dict[str, str]) -> None:
    refused = plan(foreign(files, **places))
    assert set(codes(refused)) == {("config-elsewhere", "db1")}
    assert places.get("hba_file", places.get("config_file", "")) in "".join(one.message for one in refused.refusals)


def test_the_same_place_by_another_path() -> None:
    built = foreign(config_file="/srv/link/postgresql.conf", hba_file="/srv/link/pg_hba.conf")
    built.change("db1", server=replace(built.facts[DB1].server, data_directory="/srv/link"))
    assert "write-config:db1" in steps(plan(built))


def test_files_that_cannot_be_replaced_as_they_are() -> None:
    refused = plan(foreign().host("db1", fixed_files=("/x/pg_hba.conf belongs to root",)))
    assert codes(refused) == [("config-not-writable", "db1")]
    assert "belongs to root" in refused.refusals[0].message


def test_a_database_that_takes_no_connections() -> None:
    built = foreign()
    built.change("db1", server=replace(built.facts[DB1].server, closed_databases=("chatdb",)))
    assert codes(plan(built)) == [("database-closed", "db1")]


@pytest.mark.parametrize("port", [6543, 5433])
def test_another_server_of_the_host_answers_at_the_port(port: int) -> None:
    refused = plan(foreign().host("db1", postmaster=Postmaster(812, port, "ready")))
    assert codes(refused) == [("other-instance", "db1")]
    assert str(port) in refused.refusals[0].message


def test_another_cluster_answers_by_the_socket() -> None:
    built = foreign()
    other = replace(a_control(), system_identifier="7277000000000000999")
    assert codes(plan(built.host("db1", control=other))) == [("other-instance", "db1")]


def test_writes_that_are_refused_by_default() -> None:
    refused = plan(foreign(default_transaction_read_only=Setting("on", "configuration file", "/x/conf.d/ro.conf")))
    assert codes(refused) == [("read-only", "db1")]
    assert "/x/conf.d/ro.conf" in refused.refusals[0].message


@pytest.mark.parametrize(
    ("live", "kept", "refused", "noted"),
    [
        ("-1", gib(30), True, False),
        ("-1", mib(5), False, True),
        ("40960", gib(30), True, False),
        ("10240", gib(9), False, False),
        ("2048", mib(5), False, False),
    ],
)
def test_slots_of_others_that_our_limit_would_take(live: str, kept: int, refused: bool, noted: bool) -> None:
    built = foreign(max_slot_wal_keep_size=live).slots("db1", a_slot("cdc", kind="logical", retained_bytes=kept))
    if refused:
        assert codes(plan(built)) == [("slot-limit", "db1")]
    else:
        assert bool(told(built, "slots of others on db1 (cdc)")) is noted


def test_our_own_slots_and_passing_ones_have_no_limit_of_others() -> None:
    built = foreign(max_slot_wal_keep_size="-1")
    built.slots("db1", a_slot("replctl_db2"), a_slot("copy", temporary=True, retained_bytes=gib(30)))
    assert told(built, "slots of others") == []


@pytest.mark.parametrize("value", ["", "10.0.0.1", "::1"])
def test_a_server_that_could_not_be_reached_before_its_restart(value: str) -> None:
    built = foreign(listen_addresses=value)
    refused = plan(built, by_psql=frozenset({DB1}))
    assert codes(refused) == [("listen-addresses", "db1")]
    assert "stop:db1" in steps(plan(built, Adoption.WITH_RESTART, by_psql=frozenset({DB1})))
    assert "write-config:db1" in steps(plan(built))


def test_by_its_own_address() -> None:
    built = foreign(listen_addresses="10.0.0.1")
    built.node("db1", postgres=replace(built.nodes[DB1].postgres, connect=SqlRoute.DIRECT))
    assert "write-config:db1" in steps(plan(built, by_psql=frozenset({DB1})))


def test_options_that_a_restart_would_leave_out() -> None:
    given = Setting("300", "command line")
    built = foreign(max_connections=given, listen_addresses="localhost")
    assert told(built, "leaves out: max_connections = 300")
    refused = plan(built, Adoption.WITH_RESTART)
    assert codes(refused) == [("command-line", "db1")]
    assert "max_connections = 300" in refused.refusals[0].message


def test_options_of_a_service_stay_with_it() -> None:
    built = foreign(max_connections=Setting("300", "command line"))
    built.node("db1", postgres=replace(built.nodes[DB1].postgres, service=ServiceManager.PG_CTLCLUSTER))
    assert not any("leaves out" in str(refusal) for refusal in plan(built).refusals)


def test_what_overrides_our_settings_is_told_with_file_line_and_remedy() -> None:
    auto = "# Do not edit\nwal_level = 'minimal'\nMAX_SLOT_WAL_KEEP_SIZE = '10240MB'\n"
    built = foreign(THEIRS | {"postgresql.auto.conf": auto}, wal_level="minimal")
    (note,) = told(built, "overrides")
    assert "postgresql.auto.conf:2 overrides wal_level = replica; `ALTER SYSTEM RESET wal_level`" in note
    assert "stop:db1" not in steps(plan(built, Adoption.WITH_RESTART))


def test_what_stands_behind_our_include_overrides_too() -> None:
    theirs = "include_if_exists 'replctl.conf'\n\nwal_level = logical # why\nwork_mem = 1MB\n"
    (note,) = told(foreign(THEIRS | {"postgresql.conf": theirs}), "overrides")
    assert "postgresql.conf:3 overrides wal_level = replica; take that line out" in note


def test_the_command_line_overrides() -> None:
    (note,) = told(foreign(max_wal_senders=Setting("4", "command line")), "overrides")
    assert "its command line overrides max_wal_senders = 10" in note
    assert told(foreign(max_wal_senders=Setting("10", "command line")), "overrides") == []


def test_roles_that_change_for_those_who_use_them() -> None:
    roles = (
        Role("chat", True, False, False, password_matches=False),
        Role("replicator", False, False, False, password_matches=True),
        Role("postgres", True, True, True, password_matches=True),
    )
    built = foreign()
    built.change("db1", server=replace(built.facts[DB1].server, roles=roles))
    assert told(built, "gets the inventory's password")[0].startswith("chat on db1 ")
    assert told(built, "lets nobody in today")[0].startswith("replicator on db1 ")
    assert told(built, "postgres on db1") == []


def test_rules_that_decide_no_more() -> None:
    rules = "local all all peer\nhost all all all md5\nhost replication all all reject\n"
    (note,) = told(foreign(THEIRS | {"pg_hba.conf": rules}), "no longer decides")
    assert note.startswith(
        "pg_hba.conf:3 of db1, `host replication all all reject`, no longer decides about replicator "
    )


def test_a_standby_that_comes_along_is_looked_at_as_well() -> None:
    built = a_cluster().primary("db1", settings=settings(**ENOUGH)).replica("db2", setting=ENOUGH)
    built.host("db1", files=THEIRS).host("db2", files={}).env()
    assert set(codes(plan(built))) == {("config-elsewhere", DB2)}
