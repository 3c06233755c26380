"""What every mistake in an inventory is told."""

import pytest
import yaml

from tests.unit.inventories import PATH, SMALL, changed, complaint, complaints, parse, tree

PUBLISH = {"host": "10.0.5.10", "user": "deploy", "path": "/srv/chat/.env"}

MISTAKES = [
    (("cluster",), "Chat", "cluster: must be lower-case letters"),
    (("cluster",), "c" * 41, "cluster: must be lower-case letters"),
    (("system_identifier",), "72x", "system_identifier: must be a system identifier"),
    (("ssh", "user"), "-oProxyCommand=x", "ssh.user: must not start with -"),
    (("ssh", "user"), "a b", "ssh.user: must be the name of an SSH user"),
    (("ssh", "port"), 0, "ssh.port: must be greater than or equal to 1"),
    (("ssh", "port"), 65536, "ssh.port: must be less than or equal to 65535"),
    (("ssh", "port"), "22", "ssh.port: must be a whole number"),
    (("ssh", "port"), 22.5, "ssh.port: must be a whole number"),
    (("ssh", "port"), True, "ssh.port: must be a whole number"),
    (("ssh", "connect_timeout"), 0, "ssh.connect_timeout: must be greater than 0"),
    (("ssh", "connect_timeout"), True, "ssh.connect_timeout: must be a number"),
    (("ssh", "identity_file"), "~other/key", "ssh.identity_file: must not name another user's home"),
    (("ssh",), [], "ssh: must be a mapping"),
    (("postgres", "version"), 14, "postgres.version: must be greater than or equal to 15"),
    (("postgres", "version"), 19, "postgres.version: must be less than or equal to 18"),
    (("postgres", "data_dir"), "main", "postgres.data_dir: must be an absolute path"),
    (("postgres", "data_dir"), "/", "postgres.data_dir: must be a directory below /"),
    (("postgres", "data_dir"), "//", "postgres.data_dir: must be a directory below /"),
    (("postgres", "data_dir"), "/a/../b", "postgres.data_dir: must not contain .."),
    (("postgres", "data_dir"), "/a//b/", "postgres.data_dir: must be written as /a/b"),
    (("postgres", "data_dir"), "//a/b", "postgres.data_dir: must be written as /a/b"),
    (("postgres", "data_dir"), "-D/a", "postgres.data_dir: must not start with -"),
    (("postgres", "data_dir"), "", "postgres.data_dir: must not be empty"),
    (("postgres", "bin_dir"), "bin", "postgres.bin_dir: must be an absolute path"),
    (("postgres", "os_user"), "$(id)", "postgres.os_user: must be the name of an OS user"),
    (("postgres", "service"), "upstart", "postgres.service: must be 'pg_ctl', 'pg_ctlcluster' or 'systemd'"),
    (("postgres", "unit"), "postgres ql", "postgres.unit: must be a systemd unit such as postgresql-16"),
    (("postgres", "connect"), "tcp", "postgres.connect: must be 'tunnel' or 'direct'"),
    (("postgres", "connect"), "direct", "postgres.connect: direct needs admin.allow"),
    (("postgres", "locale"), "C; id", "postgres.locale: must be a locale"),
    (("postgres", "allow"), ["10.0.5.1/24"], "postgres.allow[0]: has bits set beyond its prefix; did you mean"),
    (("postgres", "allow"), ["all"], "postgres.allow[0]: must be a network"),
    (("postgres", "allow"), ["fe80::1%eth0"], "postgres.allow[0]: must be a network without a zone"),
    (("postgres", "allow"), "10.0.5.0/24", "postgres.allow: must be a list"),
    (("postgres", "parameters"), {"port": 5433}, "postgres.parameters.port: is managed by replctl"),
    (("postgres", "parameters"), {"hot_standby": "off"}, "postgres.parameters.hot_standby: is managed by replctl"),
    (("postgres", "parameters"), {"primary_conninfo": "x"}, "postgres.parameters.primary_conninfo: cannot be set here"),
    (("postgres", "parameters"), {"restore_command": "x"}, "postgres.parameters.restore_command: cannot be set here"),
    (("postgres", "parameters"), {"recovery_target": "x"}, "postgres.parameters.recovery_target: cannot be set here"),
    (("postgres", "parameters"), {"include_dir": "/x"}, "postgres.parameters.include_dir: cannot be set here"),
    (("postgres", "parameters"), {"Work_mem": 1}, "postgres.parameters.Work_mem: must be the name of a PostgreSQL"),
    (("postgres", "parameters"), {"a = 1 #": 1}, "postgres.parameters.?: must be the name of a PostgreSQL"),
    (("postgres", "parameters"), {"work_mem": [1]}, "postgres.parameters.work_mem: must be text"),
    (("postgres", "parameters"), {"max_wal_senders": 9}, "postgres.parameters.max_wal_senders: must be a number of at"),
    (("postgres", "parameters"), {"max_wal_senders": "x"}, "postgres.parameters.max_wal_senders: must be a number of"),
    (("postgres", "parameters"), {"wal_level": "minimal"}, "postgres.parameters.wal_level: must be replica or logical"),
    (("postgres", "parameters"), {"max_slot_wal_keep_size": "1GB"}, "max_slot_wal_keep_size: must be a size"),
    (("admin", "user"), "pg_boss", "admin.user: must not start with pg_"),
    (("admin", "user"), "public", "admin.user: is a name that PostgreSQL keeps"),
    (("admin", "user"), "é" * 32, "admin.user: must not be longer than 63 bytes"),
    (("admin", "user"), "replicator", "replication.user: is the role of admin already"),
    (("admin", "password"), 12345, "admin.password: must be text; put it in quotes"),
    (("admin", "password"), ["x"], "admin.password: must be text"),
    (("admin", "password"), {}, "admin.password: must name exactly one of"),
    (("admin", "password"), {"env": "A", "file": "b"}, "admin.password: must name exactly one of"),
    (("admin", "password"), {"env": "A B"}, "admin.password.env: must be the name of an environment variable"),
    (("admin", "password"), {"command": "x 'y"}, "admin.password.command: cannot be split into words"),
    (("admin", "password"), {"command": " "}, "admin.password.command: must name a program"),
    (("replication", "user"), "chat", "app.user: is the role of replication already"),
    (("app", "database"), "template1", "app.database: is a name that PostgreSQL keeps"),
    (("app", "database"), "a\u200bb", "app.database: must be printable text"),
    (("app", "strategy"), "Round-Robin", "app.strategy: must be a strategy"),
    (("app", "fallback"), "yes", "app.fallback: must be true or false"),
    (("app", "health_check_interval"), 0, "app.health_check_interval: must be greater than or equal to 1"),
    (("app", "publish"), {}, "app.publish: must be a list"),
    (("app", "publish"), [{"host": "a", "user": "b"}], "app.publish[0].path: required key is missing"),
    (("app", "publish"), [{"host": "a", "path": "/x"}], "app.publish[0].user: required key is missing"),
    (("app", "publish"), [{**PUBLISH, "pth": "/x"}], "app.publish[0].pth: unknown key; did you mean path?"),
    (("app", "publish"), [{**PUBLISH, "host": "-oX"}], "app.publish[0].host: must not start with -"),
    (("app", "publish"), [{**PUBLISH, "user": "a b"}], "app.publish[0].user: must be the name of an SSH user"),
    (("app", "publish"), [{**PUBLISH, "path": "x"}], "app.publish[0].path: must be an absolute path"),
    (("app", "publish"), [{**PUBLISH, "path": "/a/../b"}], "app.publish[0].path: must not contain .."),
    (("app", "publish"), [{**PUBLISH, "path": "/a/"}], "app.publish[0].path: must be a file"),
    (("app", "publish"), [{**PUBLISH, "path": "/a//b"}], "app.publish[0].path: must be written as /a/b"),
    (("app", "publish"), [{**PUBLISH, "path": "/a.replctl-new"}], "app.publish[0].path: must not contain .replctl-"),
    (("app", "publish"), [{**PUBLISH, "reload": "x 'y"}], "app.publish[0].reload: cannot be split into words"),
    (("app", "publish"), [{**PUBLISH, "ssh": {"user": "c"}}], "app.publish[0].ssh.user: stands beside host, as user"),
    (("app", "publish"), [{**PUBLISH, "ssh": {"prt": 1}}], "app.publish[0].ssh.prt: unknown key; did you mean port?"),
    (("app", "publish"), [PUBLISH, {**PUBLISH}], "app.publish[1]: is the same file on the same host as item 0"),
    (("timeouts", "stop"), -1, "timeouts.stop: must be greater than 0"),
    (("nodes",), {}, "nodes: must have at least 1 item"),
    (("nodes", "db1", "host"), "-h", "nodes.db1.host: must not start with -"),
    (("nodes", "db1", "host"), "[::1]", "nodes.db1.host: must be an IP address (without brackets) or a host name"),
    (("nodes", "db1", "host"), "10.0.0.256", "nodes.db1.host: must be an IP address"),
    (("nodes", "db1", "host"), "db_1", "nodes.db1.host: must be an IP address"),
    (("nodes", "db1", "host"), "a" * 64, "nodes.db1.host: must be an IP address"),
    (("nodes", "db1", "host"), "0.0.0.0", "nodes.db1.host: must be an address that other hosts can connect to"),
    (("nodes", "db1", "host"), 10.5, "nodes.db1.host: must be text; put it in quotes"),
    (("nodes", "db1", "ssh_host"), "a b", "nodes.db1.ssh_host: must be a host name"),
    (("nodes", "db1", "ssh_host"), "10.0.0.12", "nodes.db2.postgres.data_dir: is the same directory on the same host"),
    (("nodes", "db1", "connection"), "docker", "nodes.db1.connection: must be 'ssh' or 'local'"),
    (("nodes", "db1", "port"), 1, "nodes.db1.port: unknown key; did you mean ssh.port or postgres.port?"),
    (("nodes", "db1", "data_dir"), "/x", "nodes.db1.data_dir: unknown key; did you mean postgres.data_dir?"),
    (("nodes", "db1", "hots"), "x", "nodes.db1.hots: unknown key; did you mean host?"),
    (("nodes", "db1", "zzz"), "x", "nodes.db1.zzz: unknown key"),
    (("nodes", "Db1"), {"host": "x"}, "nodes.Db1: must be lower-case letters"),
    (("nodes", "db3"), "10.0.0.13", "nodes.db3: must be a mapping"),
    (("nodes", "db1", "postgres"), {"connect": "direct"}, "nodes.db1.postgres.connect: direct needs admin.allow"),
    (("nodes", "db1", "postgres", "parameters"), {"max_wal_senders": 1}, "db1.postgres.parameters.max_wal_senders: "),
    (("sync",), {"mode": "quorum"}, "sync.mode: must be 'any' or 'first'"),
    (("sync",), {"count": 0}, "sync.count: "),
    (("sync",), {"count": 2}, "sync.count: commits would wait for 2 replicas, and there are 1"),
    (("nodes", "db1", "in_rotation"), "no", "nodes.db1.in_rotation: must be true or false"),
    (("nodes", "db1", "region"), "EU west", "nodes.db1.region: must be a label such as eu-west-1"),
    (("app", "region"), "", "app.region: must be a label such as eu-west-1"),
]


@pytest.mark.parametrize(("where", "value", "expected"), MISTAKES)
def test_one_mistake_is_one_line_with_its_keys(where, value, expected):
    line = complaint(changed(*where, to=value))
    assert line.startswith(f"{PATH}:")
    assert expected in line


@pytest.mark.parametrize(
    "key",
    ["tls", "upstream", "wal_dir", "tablespaces", "apply_delay"],
)
@pytest.mark.parametrize("block", [(), ("postgres",), ("nodes", "db1"), ("nodes", "db1", "postgres")])
def test_reserved_keys_are_refused_wherever_they_stand(block, key):
    assert complaint(changed(*block, key, to="x")).endswith(f"{key}: not supported by this version")


def test_sync_and_its_setting_exclude_each_other():
    document = tree() | {"sync": {"count": 1}}
    document["postgres"]["parameters"] = {"synchronous_standby_names": "db2"}
    assert complaint(yaml.safe_dump(document)).endswith(
        "postgres.parameters.synchronous_standby_names: is managed by replctl, because of sync; remove one of them"
    )


@pytest.mark.parametrize("block", ["cluster", "admin", "replication", "app", "nodes"])
def test_required_blocks(block):
    document = tree()
    del document[block]
    assert complaint(yaml.safe_dump(document)) == f"{PATH}:1: {block}: required key is missing"


def test_data_dir_is_required_after_merging():
    document = tree()
    document["postgres"] = {"port": 5432}
    document["nodes"]["db1"]["postgres"] = {"data_dir": "/srv/pg"}
    assert "nodes.db2: has no data_dir" in complaint(yaml.safe_dump(document))


def test_two_names_with_one_slot():
    text = SMALL.replace("db1:", "db-1:").replace("db2:", "db_1:")
    assert complaint(text) == (
        f"{PATH}:8: nodes.db_1: has the replication slot of db-1 (replctl_db_1); rename one of them"
    )


def test_one_instance_named_twice():
    assert complaints(SMALL.replace("10.0.0.11", "10.0.0.12")) == [
        f"{PATH}:8: nodes.db2.host: is the same host and PostgreSQL port (5432) as db1",
        f"{PATH}:8: nodes.db2.postgres.data_dir: is the same directory on the same host as that of db1",
    ]


@pytest.mark.parametrize(("one", "other"), [("FD00::1", "fd00:0::1"), ("db.example", "DB.example")])
def test_one_host_in_two_spellings(one, other):
    document = tree()
    document["nodes"] = {"a": {"host": one}, "b": {"host": other, "postgres": {"data_dir": "/b"}}}
    assert "nodes.b.host: is the same host" in complaint(yaml.safe_dump(document))


def test_several_instances_on_one_host_need_their_own_port_and_directory():
    document = tree()
    document["nodes"]["db2"] = {"host": "10.0.0.11", "postgres": {"port": 5433, "data_dir": "/srv/second"}}
    assert len(parse(yaml.safe_dump(document)).nodes) == 2
    del document["nodes"]["db2"]["postgres"]["data_dir"]
    assert "nodes.db2.postgres.data_dir: is the same directory" in complaint(yaml.safe_dump(document))


def test_one_major_version():
    document = tree()
    document["postgres"]["version"] = 15
    document["nodes"]["db2"]["postgres"] = {"version": 16}
    assert "nodes.db2.postgres.version: is 16, but db1 has 15" in complaint(yaml.safe_dump(document))


def test_the_least_number_of_walsenders_grows_with_the_nodes():
    document = tree()
    document["nodes"] = {f"n{i}": {"host": f"10.0.0.{i}"} for i in range(1, 6)}
    document["postgres"]["parameters"] = {"max_wal_senders": 13, "max_replication_slots": 14}
    assert "max_wal_senders: must be a number of at least 14, as 5 nodes need" in complaint(yaml.safe_dump(document))


def test_all_problems_come_together_in_the_files_order():
    text = SMALL.replace("cluster: chat", "cluster: Chat").replace("user: chat,", "usr: chat,")
    text = text.replace("  db2: {host: 10.0.0.12}", "  db2: {hots: 10.0.0.12}")
    assert complaints(text) == [
        f"{PATH}:1: cluster: must be lower-case letters, digits, _ and -, at most 40, a letter first",
        f"{PATH}:5: app.user: required key is missing",
        f"{PATH}:5: app.usr: unknown key; did you mean user?",
        f"{PATH}:8: nodes.db2.host: required key is missing",
        f"{PATH}:8: nodes.db2.hots: unknown key; did you mean host?",
    ]


def test_very_many_problems_are_counted():
    lines = complaints(SMALL + "".join(f"x{i}: 1\n" for i in range(80)))
    assert len(lines) == 51
    assert lines[-1] == f"{PATH}: 30 more problems"


@pytest.mark.parametrize(
    "slip",
    [
        "{hunter2}",
        "{hunter2: x}",
        "{env: {hunter2}}",
        "{env: hunter2-}",
        "[hunter2]",
        "!hunter2!x y",
        "&hunter2 x",
        "*hunter2",
        "{file: x, hunter2: y}",
        '"hunter2\\n"',
        "{command: 'hunter2 \"'}",
        "hunter2: x",
        "}, password hunter2: {x: y",
    ],
)
def test_a_misplaced_password_is_not_shown(slip):
    text = SMALL.replace("{file: secrets/admin}", slip)
    assert "hunter2" not in "".join(complaints(text))


SSH_FIELDS = [("ssh", "user"), ("postgres", "os_user"), ("nodes", "db1", "ssh_host"), ("nodes", "db1", "host")]
SCALAR_FIELDS = [
    ("cluster",),
    ("system_identifier",),
    ("templates",),
    *(("ssh", key) for key in ("user", "identity_file", "known_hosts_file")),
    *(("postgres", key) for key in ("bin_dir", "data_dir", "os_user", "service", "connect", "locale")),
    ("admin", "user"),
    ("replication", "user"),
    *(("app", key) for key in ("database", "user", "env_file", "strategy")),
    *(("admin", "password", key) for key in ("env", "file", "command")),
    *(("nodes", "db1", key) for key in ("host", "ssh_host", "connection")),
]


@pytest.mark.parametrize("hostile", ["-x", "--", "a\nb", "a\0b", "a\x1bb", "a\u2028b", ""])
@pytest.mark.parametrize("where", SCALAR_FIELDS, ids=".".join)
def test_no_text_field_takes_an_option_or_a_control_character(where, hostile):
    document = tree()
    document["admin"]["password"] = {}
    block = document
    for key in where[:-1]:
        block = block.setdefault(key, {})
    block[where[-1]] = hostile
    assert any(f"{'.'.join(where)}: " in line for line in complaints(yaml.safe_dump(document)))


@pytest.mark.parametrize("hostile", ["-x", "a\nb", "a\0b", "a\x1bb", ""])
@pytest.mark.parametrize("key", ["host", "user", "path", "reload"])
def test_no_text_of_an_application_host_does_either(key, hostile):
    assert f"app.publish[0].{key}: " in complaint(changed("app", "publish", to=[{**PUBLISH, key: hostile}]))


@pytest.mark.parametrize("field", SSH_FIELDS)
@pytest.mark.parametrize("hostile", ["a;id", "$(id)", "a'b", 'a"b', "a`id`", "a b", "a|b", "a&b", "%h\\"])
def test_what_ssh_gets_has_no_shell_syntax(field, hostile):
    assert ".".join(field) in complaint(changed(*field, to=hostile))
