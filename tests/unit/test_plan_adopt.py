"""init-primary --adopt: what stays, what is added, in which order, and what is left to the operator."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.actions import CreateRole, RoleKind, WriteConfig
from replctl.model.facts import Role, Setting
from replctl.planning.adopt import Adoption
from replctl.planning.init_primary import plan_init_primary
from replctl.postgres.adopted import CONF
from tests.unit.builders import ClusterBuilder, a_cluster, settings
from tests.unit.plans import DB1, codes, compare_with_golden, notes_of, steps

THEIRS = {"postgresql.conf": "max_connections = 77\n", "pg_hba.conf": "local all all peer\nhost all all all reject\n"}


def live(**changed: str) -> dict[str, Setting]:
    return settings(**({"port": "5432"} | changed))


def foreign(**server: object) -> ClusterBuilder:
    return a_cluster().primary("db1", **({"settings": live()} | server)).host("db1", files=THEIRS).absent("db2").env()


def plan(built: ClusterBuilder, adoption: Adoption = Adoption.WITHOUT_RESTART):
    return plan_init_primary(built.situation(), DB1, adoption)


def test_the_plan() -> None:
    compare_with_golden("init-primary-adopt", plan(foreign(settings=live(listen_addresses="*"))))


def test_without_consent_it_is_refused_with_the_way_to_it() -> None:
    refused = plan(foreign(), Adoption.REFUSED)
    assert codes(refused) == [("adopt", "db1")]
    assert "--adopt" in refused.refusals[0].hint


def test_roles_come_before_the_rules_that_name_them() -> None:
    found = steps(plan(foreign()))
    roles = [found.index(f"role-{kind.value}:db1") for kind in RoleKind]
    assert max(roles) < found.index("write-config:db1") < found.index("reload:db1")
    assert found[-1] == "env"


def test_the_admin_is_made_able_to_log_in() -> None:
    made = [step.action for step in plan(foreign()).steps if isinstance(step.action, CreateRole)]
    assert [action.kind for action in made] == [RoleKind.ADMIN, RoleKind.REPLICATION, RoleKind.APP]


@pytest.mark.parametrize(
    ("adoption", "restarted", "word"),
    [(Adoption.WITHOUT_RESTART, False, "--restart"), (Adoption.WITH_RESTART, True, "is restarted")],
)
def test_a_restart_is_the_operators_word(adoption: Adoption, restarted: bool, word: str) -> None:
    planned = plan(foreign(settings=live(listen_addresses="localhost")), adoption)
    assert ("stop:db1" in steps(planned)) is restarted
    assert [note for note in notes_of(planned) if "listen_addresses" in note and word in note]


def test_none_is_needed_where_all_is_in_force() -> None:
    enough = live(listen_addresses="*", max_wal_senders="10", max_replication_slots="10", wal_log_hints="on")
    planned = plan(foreign(settings=enough), Adoption.WITH_RESTART)
    assert "stop:db1" not in steps(planned)


def begun(**server: object) -> ClusterBuilder:
    """What a run leaves that was killed once its files were in place: nobody knows whether the server has read them."""
    built = foreign(**server)
    (write,) = [one.action for one in plan(built).steps if isinstance(one.action, WriteConfig)]
    roles = (Role("postgres", True, True, True, True), Role("replicator", True, False, True, True))
    return built.host("db1", files=THEIRS | {file.name: file.text for file in write.files}).change(
        "db1", server=replace(built.facts[DB1].server, roles=roles)
    )


def test_the_restart_that_a_killed_run_owes_is_not_forgotten() -> None:
    planned = plan(begun(settings=live(listen_addresses="localhost")), Adoption.WITH_RESTART)
    found = steps(planned)
    assert found[0] == "role-app:db1"
    assert {"stop:db1", "start:db1", "env"} <= set(found)
    assert not {"role-admin:db1", "role-replication:db1", "write-config:db1"} & set(found)
    assert any("is restarted, for listen_addresses" in note for note in notes_of(planned))


def test_one_that_is_adopted_has_nothing_to_do() -> None:
    enough = live(listen_addresses="*", max_wal_senders="10", max_replication_slots="10", wal_log_hints="on")
    built = begun(settings=enough)
    roles = (*built.facts[DB1].server.roles, Role("chat", True, False, False, True))
    made = replace(built.facts[DB1].server, roles=roles, databases={"chatdb": "chat"}, rewind_granted=True)
    host = replace(built.facts[DB1].host, passfile_current=True)
    built = built.change("db1", server=made, host=host).env("db1")
    assert steps(plan(built, Adoption.WITH_RESTART)) == []


def test_it_is_told_what_rejoin_will_not_be_able_to_do() -> None:
    built = foreign()
    control = replace(built.facts[DB1].host.control, checksums=False)
    assert any("no data checksums" in note for note in notes_of(plan(built.host("db1", control=control))))


def test_every_changed_line_is_shown() -> None:
    notes = "\n".join(notes_of(plan(foreign())))
    assert f"+include_if_exists '{CONF}'" in notes
    assert "pg_hba.conf of db1 changes:" in notes


@pytest.mark.parametrize(
    ("server", "code"),
    [
        ({"settings": live(port="6543")}, "other-instance"),
        ({"version_num": 140001}, "version"),
        ({"hba_errors": ("line 3: invalid",)}, "config-invalid"),
    ],
)
def test_what_cannot_be_taken_over(server: dict[str, object], code: str) -> None:
    assert codes(plan(foreign(**server))) == [(code, "db1")]


def test_a_replica_that_follows_it_gets_its_own_slot_and_block() -> None:
    built = a_cluster().primary("db1", settings=live()).replica("db2", slot=None, setting={"primary_slot_name": "own"})
    built = built.host("db1", files=THEIRS).host("db2", files=THEIRS).env()
    assert any("pg_hba.conf of db2 changes:" in note for note in notes_of(plan(built)))
    found = steps(plan(built))
    assert {"write-config:db2", "slot:db2", "repoint:db2", "streaming:db2"} <= set(found)


def test_a_setting_that_waits_is_told() -> None:
    waiting = live(listen_addresses="*") | {"shared_buffers": Setting("1", "file", None, pending_restart=True)}
    assert any("shared_buffers" in note for note in notes_of(plan(foreign(settings=waiting))))
