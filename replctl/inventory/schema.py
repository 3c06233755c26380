"""The inventory's keys, as the file has them: every block, its kinds of values and its words for the operator and
editors."""

from __future__ import annotations

from typing import Any

from replctl.inventory import forms
from replctl.inventory.forms import Form, no_option
from replctl.inventory.kinds import (
    BlockOf,
    Kind,
    ListOf,
    MapOf,
    OneOf,
    Positive,
    Schema,
    Text,
    Whole,
    YesNo,
    block,
    block_schema,
    optional,
    required,
    usual,
)
from replctl.inventory.parameters import parameter_name, parameter_text
from replctl.inventory.problems import Problem, Where
from replctl.inventory.yaml_text import Tree
from replctl.model.values import NAME_PATTERN

NAME = Text(Form(NAME_PATTERN, "lower-case letters, digits, _ and -, at most 40, a letter first"))
HOST_NAME = Text(no_option, forms.host)
SSH_HOST = Text(no_option, forms.ssh_host)
SSH_USER = Text(no_option, Form(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,127}\$?", "the name of an SSH user"))
OS_USER = Text(no_option, Form(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?", "the name of an OS user"))
LOCALE = Text(no_option, Form(r"[A-Za-z][A-Za-z0-9_.@-]{0,62}", "a locale such as C.UTF-8 or en_US.UTF-8"))
UNIT = Text(no_option, Form(r"[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,100}", "a systemd unit such as postgresql-16"))
REMOTE_DIR = Text(no_option, forms.remote_dir)
REMOTE_FILE = Text(no_option, forms.remote_file)
LOCAL_PATH = Text(no_option, forms.local_path)
ROLE = Text(no_option, forms.role)
SUPERUSER = Text(no_option, forms.superuser)
DATABASE = Text(no_option, forms.database)
NETWORKS = ListOf(Text(no_option, forms.network))
VARIABLE = Text(no_option, Form(r"[A-Za-z_][A-Za-z0-9_]{0,254}", "the name of an environment variable"))
COMMAND_LINE = Text(no_option, forms.words)
STRATEGY = Text(no_option, Form(r"[a-z_]{1,64}", "a strategy such as round_robin, in lower-case letters and _"))
REGION = Text(Form(r"[a-z0-9][a-z0-9_.-]{0,39}", "a label such as eu-west-1: lower-case letters, digits, -, _ and ."))
PORT = Whole(1, 65535)
SECONDS = Positive(86400)
PARAMETER_NAME = Text(parameter_name)
PARAMETER_TEXT = Text(spelled=parameter_text, types=["string", "number", "boolean"])
SYSTEM_IDENTIFIER = Text(
    Form("[1-9][0-9]{0,19}", "a system identifier: digits, as pg_controldata prints them"),
    spelled=forms.system_identifier,
    types=["string", "integer"],
)


@block
class PasswordReference:
    """Where a password is kept: exactly one of the three."""

    env: str | None = optional(VARIABLE, "The environment variable that holds the password.")
    file: str | None = optional(LOCAL_PATH, "The file that holds the password; one newline at its end is dropped.")
    command: str | None = optional(COMMAND_LINE, "The command that prints the password; run without a shell.")


class _Password(Kind[str | PasswordReference]):
    """A password itself, or where it is kept."""

    _text, _reference = Text(), BlockOf(PasswordReference)

    def read(self, value: Tree, where: Where, found: list[Problem]) -> str | PasswordReference | None:
        if not isinstance(value, dict):
            return self._text.read(value, where, found)
        reference = self._reference.read(value, where, found)
        if reference is not None and len(value) != 1:
            found.append(Problem(where, "must name exactly one of env, file and command"))
        return reference

    def schema(self, blocks: dict[str, Schema]) -> Schema:
        return {"oneOf": [self._text.schema(blocks), self._reference.schema(blocks)]}


PASSWORD = _Password()


@block
class SshBlock:
    """How the operator's machine reaches a host by SSH. What is not set comes from the OpenSSH configuration."""

    user: str | None = optional(SSH_USER, "The SSH user.")
    port: int | None = optional(PORT, "The port of sshd.")
    identity_file: str | None = optional(LOCAL_PATH, "The private key to offer.")
    known_hosts_file: str | None = optional(LOCAL_PATH, "The file with the known host keys.")
    connect_timeout: float | None = optional(
        SECONDS, "Seconds for TCP, banner, key exchange and authentication of one node together; 10 if not set."
    )


@block
class PostgresBlock:
    """PostgreSQL on a host."""

    version: int | None = optional(Whole(15, 18), "The major version of all nodes; found on the host if not set.")
    bin_dir: str | None = optional(
        REMOTE_DIR, "The directory of initdb, pg_ctl and postgres; found on the host if not set."
    )
    data_dir: str | None = optional(REMOTE_DIR, "The data directory: an absolute path. Required, here or at the node.")
    port: int | None = optional(PORT, "The port of PostgreSQL; 5432 if not set.")
    os_user: str | None = optional(OS_USER, "The OS user that runs PostgreSQL; postgres if not set.")
    service: str | None = optional(
        OneOf("pg_ctl", "pg_ctlcluster", "systemd"),
        "What starts PostgreSQL: pg_ctl (if not set), pg_ctlcluster (postgresql-common's) or systemd.",
    )
    unit: str | None = optional(UNIT, "The systemd unit, without .service; found on the host if not set.")
    connect: str | None = optional(
        OneOf("tunnel", "direct"),
        "How SQL reaches the node: tunnel (through SSH, if not set) or direct (the node's own address).",
    )
    locale: str | None = optional(LOCALE, "The locale of a new cluster; C.UTF-8 if not set.")
    parameters: dict[str, str] | None = optional(
        MapOf(PARAMETER_NAME, PARAMETER_TEXT), "Settings of postgresql.conf. A node's are added to these, name by name."
    )
    allow: list[str] | None = optional(
        NETWORKS, "Networks from which the app may connect to its database. A node's replace these."
    )


@block
class AdminBlock:
    """The superuser that replctl connects as."""

    user: str = usual(SUPERUSER, "postgres", "The name of the superuser.")
    password: str | PasswordReference = required(PASSWORD, "Its password.")
    allow: list[str] | None = optional(NETWORKS, "Networks from which it may connect; needed with connect: direct.")


@block
class ReplicationBlock:
    """The role that standbys connect as."""

    user: str = usual(ROLE, "replicator", "The name of the role.")
    password: str | PasswordReference = required(PASSWORD, "Its password.")


@block
class PublishBlock:
    """A host of the application that gets the env file over SSH. What is not set here is as in the common ssh block."""

    host: str = required(SSH_HOST, "What SSH connects to: an address, a name or an alias.")
    user: str = required(SSH_USER, "The SSH user: the file becomes, or already is, this user's.")
    path: str = required(REMOTE_FILE, "The file: an absolute path. Its other lines stay.")
    region: str | None = optional(REGION, "Replicas of this region are listed first in it; app.region if not set.")
    reload: str | None = optional(
        COMMAND_LINE, "The command that has the application read it again; run without a shell, for at most 30 seconds."
    )
    ssh: SshBlock | None = optional(BlockOf(SshBlock), "What differs from the common ssh block, but for the user.")


@block
class AppBlock:
    """The application's database, its role, and the env file that tells it where to read and write."""

    database: str = required(DATABASE, "The application's database.")
    user: str = required(ROLE, "The role that owns it.")
    password: str | PasswordReference = required(PASSWORD, "The role's password.")
    env_file: str = usual(LOCAL_PATH, "app.env", "The env file to publish to; app.env if not set.")
    region: str | None = optional(
        REGION, "Replicas of this region are listed first in the env file; the primary's region if not set."
    )
    publish: list[PublishBlock] | None = optional(
        ListOf(BlockOf(PublishBlock)), "Hosts of the application on which a file is kept like the env file."
    )
    strategy: str | None = optional(
        STRATEGY, "DB_READ_REPLICA_STRATEGY: round_robin, least_connections, random or least_lag."
    )
    fallback: bool | None = optional(YesNo(), "DB_READ_REPLICA_FALLBACK: without replicas, read from the primary.")
    health_check_interval: int | None = optional(
        Whole(1, 86400), "DB_READ_REPLICA_HEALTH_CHECK_INTERVAL: seconds between two checks."
    )
    max_replication_lag_ms: int | None = optional(
        Whole(0, 86_400_000), "DB_MAX_REPLICATION_LAG_MS: the age that reads may have."
    )
    lag_check: bool | None = optional(YesNo(), "DB_LAG_CHECK_ENABLED: leave out replicas that lag.")


@block
class SyncBlock:
    """Synchronous replication: commits wait until so many standbys have them. Without it, no commit waits."""

    mode: str = usual(
        OneOf("any", "first"), "any", "Whose answer counts: any of the replicas, or the first ones of the inventory."
    )
    count: int = usual(Whole(1, 100), 1, "How many replicas a commit waits for.")


@block
class TimeoutsBlock:
    """How long steps may take, in seconds; waiting goes on while progress is seen."""

    stop: float | None = optional(SECONDS, "Stopping a server; 60 if not set.")
    catchup: float | None = optional(SECONDS, "A replica's catching up; 300 if not set.")
    promote: float | None = optional(SECONDS, "A promotion; 60 if not set.")


@block
class NodeBlock:
    """One host with one PostgreSQL instance. Its role is observed and never written here."""

    host: str = required(HOST_NAME, "The address or name that the other nodes and the app connect to.")
    ssh_host: str | None = optional(SSH_HOST, "What SSH connects to, when it is another than host.")
    connection: str | None = optional(
        OneOf("ssh", "local"), "How commands reach the node: ssh (if not set), or local on this machine."
    )
    in_rotation: bool | None = optional(
        YesNo(), "Whether the application reads from it while it is a replica; true if not set."
    )
    region: str | None = optional(REGION, "Where it stands: replicas of the application's region are listed first.")
    ssh: SshBlock | None = optional(BlockOf(SshBlock), "What differs from the common ssh block.")
    postgres: PostgresBlock | None = optional(BlockOf(PostgresBlock), "What differs from the common postgres block.")


@block
class InventoryFile:
    """One cluster of PostgreSQL streaming replicas."""

    cluster: str = required(NAME, "The name of the cluster.")
    system_identifier: str | None = optional(
        SYSTEM_IDENTIFIER, "Pins the cluster: a node with another system identifier is foreign."
    )
    ssh: SshBlock = usual(BlockOf(SshBlock), SshBlock(), "SSH, for every node.")
    postgres: PostgresBlock = usual(BlockOf(PostgresBlock), PostgresBlock(), "PostgreSQL, for every node.")
    admin: AdminBlock = required(BlockOf(AdminBlock), "The superuser: its name, password and networks.")
    replication: ReplicationBlock = required(BlockOf(ReplicationBlock), "The replication role: its name and password.")
    app: AppBlock = required(BlockOf(AppBlock), "The application's database, role and env file.")
    sync: SyncBlock | None = optional(BlockOf(SyncBlock), "Synchronous replication; asynchronous if not set.")
    timeouts: TimeoutsBlock = usual(BlockOf(TimeoutsBlock), TimeoutsBlock(), "How long steps may take, in seconds.")
    templates: str | None = optional(
        LOCAL_PATH, "A folder with the operator's own postgresql.conf.j2 and pg_hba.conf.j2."
    )
    nodes: dict[str, NodeBlock] = required(
        MapOf(NAME, BlockOf(NodeBlock), least=1), "The nodes, by name, in the env file's order."
    )


def inventory_schema() -> dict[str, Any]:
    """The JSON Schema of an inventory (draft 2020-12), for editors."""
    blocks: dict[str, Schema] = {}
    schema = block_schema(InventoryFile, blocks)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "replctl inventory",
        "$defs": dict(sorted(blocks.items())),
    }
