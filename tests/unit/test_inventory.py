"""The inventory as values: what is read, what is merged, where paths lead."""

from pathlib import Path

import pytest
import yaml

from replctl.inventory import parse_inventory
from replctl.model.inventory import Connection, SqlRoute
from replctl.model.secret import CommandSecret, EnvSecret, FileSecret, LiteralSecret, Secret
from tests.unit.inventories import SMALL, changed, parse, tree


def test_small_inventory_has_every_default():
    inventory = parse(SMALL)
    db1 = inventory.nodes["db1"]
    assert (db1.ssh_host, db1.connection, db1.slot) == ("10.0.0.11", Connection.SSH, "replctl_db1")
    assert (db1.ssh.user, db1.ssh.port, db1.ssh.connect_timeout) == (None, None, 10.0)
    assert (db1.postgres.port, db1.postgres.os_user, db1.postgres.connect) == (5432, "postgres", SqlRoute.TUNNEL)
    assert (db1.postgres.locale, db1.postgres.parameters, db1.postgres.allow) == ("C.UTF-8", {}, ())
    assert (inventory.timeouts.stop, inventory.timeouts.catchup, inventory.timeouts.promote) == (60, 300, 60)
    assert inventory.app.env_file == Path("/srv/chat/app.env")
    assert inventory.app.settings == {}
    assert inventory.state_dir == Path("/srv/chat/.replctl")


def test_passwords_are_sources_and_not_yet_read():
    inventory = parse(SMALL)
    assert inventory.admin.password == FileSecret(Path("/srv/chat/secrets/admin"))
    assert inventory.replication.password == EnvSecret("REPLICATION_PASSWORD")
    assert inventory.app.password == CommandSecret(("pass", "show", "chat db"))


def test_a_literal_password_keeps_its_text_and_never_shows_it():
    inventory = parse(SMALL.replace("{env: REPLICATION_PASSWORD}", "'-yes 022 #x'"))
    assert inventory.replication.password == LiteralSecret(Secret("-yes 022 #x"))
    assert "022" not in repr(inventory)


def test_paths_start_at_the_inventorys_folder_and_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/op")
    text = changed("ssh", to={"identity_file": "~/.ssh/id", "known_hosts_file": "known_hosts"})
    inventory = parse(text + "templates: ./templates\n")
    ssh = inventory.nodes["db1"].ssh
    assert (ssh.identity_file, ssh.known_hosts_file) == (Path("/home/op/.ssh/id"), Path("/srv/chat/known_hosts"))
    assert inventory.templates == Path("/srv/chat/templates")


def test_a_relative_inventory_becomes_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert parse_inventory(SMALL, Path("inventory.yaml")).path == tmp_path / "inventory.yaml"


def test_node_blocks_override_the_common_ones_key_by_key():
    document = tree()
    document["ssh"] = {"user": "postgres", "port": 22}
    document["postgres"] |= {"parameters": {"work_mem": "4MB", "jit": False}, "allow": ["10.0.5.0/24"], "version": 16}
    document["nodes"]["db2"] |= {
        "ssh_host": "db2.mgmt",
        "connection": "local",
        "ssh": {"port": 2222},
        "postgres": {"port": 5433, "parameters": {"work_mem": "8MB"}, "allow": ["10.0.6.7"]},
    }
    db1, db2 = parse(yaml.safe_dump(document, sort_keys=False)).nodes.values()
    assert (db2.ssh.user, db2.ssh.port, db1.ssh.port) == ("postgres", 2222, 22)
    assert (db2.ssh_host, db2.connection) == ("db2.mgmt", Connection.LOCAL)
    assert (db2.postgres.port, db2.postgres.version) == (5433, 16)
    assert db2.postgres.parameters == {"work_mem": "8MB", "jit": "off"}
    assert db2.postgres.allow == ("10.0.6.7/32",)
    assert db1.postgres.allow == ("10.0.5.0/24",)


def test_nodes_and_settings_keep_their_order():
    document = tree()
    document["app"] |= {
        "lag_check": True,
        "max_replication_lag_ms": 1000,
        "strategy": "round_robin",
        "fallback": False,
        "health_check_interval": 5,
    }
    document["nodes"]["a"] = {"host": "10.0.0.1"}
    inventory = parse(yaml.safe_dump(document, sort_keys=False))
    assert list(inventory.nodes) == ["db1", "db2", "a"]
    assert list(inventory.app.settings.items()) == [
        ("DB_READ_REPLICA_STRATEGY", "round_robin"),
        ("DB_READ_REPLICA_FALLBACK", "false"),
        ("DB_READ_REPLICA_HEALTH_CHECK_INTERVAL", "5"),
        ("DB_MAX_REPLICATION_LAG_MS", "1000"),
        ("DB_LAG_CHECK_ENABLED", "true"),
    ]


@pytest.mark.parametrize("identifier", ["7277000000000000001", "'7277000000000000001'"])
def test_system_identifier_with_and_without_quotes(identifier):
    assert parse(f"{SMALL}system_identifier: {identifier}\n").system_identifier == "7277000000000000001"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.9", "0.9"),
        ("100", "100"),
        ("true", "on"),
        ("off", "off"),
        ("022", "022"),
        ("12:30", "12:30"),
        ("a b", "a b"),
    ],
)
def test_parameters_become_postgresqls_text(value, text):
    parameters = f"data_dir: /var/lib/postgresql/15/main, parameters: {{jit_above_cost: {value}}}"
    inventory = parse(SMALL.replace("data_dir: /var/lib/postgresql/15/main", parameters))
    assert inventory.nodes["db1"].postgres.parameters == {"jit_above_cost": text}


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_wal_senders": 10},
        {"max_replication_slots": "64"},
        {"wal_level": "logical"},
        {"max_slot_wal_keep_size": "20GB"},
        {"max_slot_wal_keep_size": -1},
        {"max_slot_wal_keep_size": 10240},
        {"auto_explain.log_min_duration": 250},
    ],
)
def test_parameters_that_may_be_set(parameters):
    rendered = {name: str(value) for name, value in parameters.items()}
    text = changed("postgres", "parameters", to=parameters)
    assert parse(text).nodes["db1"].postgres.parameters == rendered


def test_direct_is_allowed_with_networks_for_the_admin_role():
    document = tree()
    document["admin"]["allow"] = ["10.0.9.0/24", "fd00::/8", "10.0.9.0/24"]
    document["postgres"]["connect"] = "direct"
    inventory = parse(yaml.safe_dump(document))
    assert inventory.nodes["db1"].postgres.connect is SqlRoute.DIRECT
    assert inventory.admin.allow == ("10.0.9.0/24", "fd00::/8")


@pytest.mark.parametrize("host", ["10.0.0.9", "fd00::9", "db9", "db-9.example.com", "127.0.0.3", "DB9"])
def test_hosts_stay_as_written(host):
    assert parse(changed("nodes", "db1", "host", to=host)).nodes["db1"].host == host


def test_an_application_host_has_the_common_ssh_settings_but_a_user_of_its_own():
    document = tree()
    document["ssh"] = {"user": "postgres", "port": 2222, "known_hosts_file": "known_hosts"}
    first = {"host": "10.0.5.10", "user": "deploy", "path": "/srv/chat/.env", "reload": "systemctl 'reload' chat"}
    second = {"host": "app2", "user": "app", "path": "/etc/chat.env", "ssh": {"port": 22, "connect_timeout": 3}}
    document["app"]["publish"] = [first, second]
    one, two = parse(yaml.safe_dump(document)).app.publish
    assert (one.ssh.user, one.ssh.port, one.ssh.known_hosts_file) == ("deploy", 2222, Path("/srv/chat/known_hosts"))
    assert (one.label, one.reload) == ("10.0.5.10:2222:/srv/chat/.env", ("systemctl", "reload", "chat"))
    assert (two.ssh.user, two.ssh.port, two.ssh.connect_timeout, two.reload) == ("app", 22, 3, ())
