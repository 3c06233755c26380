"""The inventory's keys, as the file has them: every block, its types and its words for the operator and editors."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from replctl.inventory import forms
from replctl.inventory.parameters import parameter_name, parameter_text
from replctl.model.values import NAME_PATTERN

Word = Annotated[str, AfterValidator(forms.no_option)]
Name = Annotated[str, forms.Form(NAME_PATTERN, "lower-case letters, digits, _ and -, at most 40, a letter first")]
HostName = Annotated[Word, AfterValidator(forms.host)]
SshHost = Annotated[Word, AfterValidator(forms.ssh_host)]
SshUser = Annotated[Word, forms.Form(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,127}\$?", "the name of an SSH user")]
OsUser = Annotated[Word, forms.Form(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?", "the name of an OS user")]
Locale = Annotated[Word, forms.Form(r"[A-Za-z][A-Za-z0-9_.@-]{0,62}", "a locale such as C.UTF-8 or en_US.UTF-8")]
RemoteDir = Annotated[Word, AfterValidator(forms.remote_dir)]
RemoteFile = Annotated[Word, AfterValidator(forms.remote_file)]
LocalPath = Annotated[Word, AfterValidator(forms.local_path)]
Role = Annotated[Word, AfterValidator(forms.role)]
Superuser = Annotated[Word, AfterValidator(forms.superuser)]
Database = Annotated[Word, AfterValidator(forms.database)]
Network = Annotated[Word, AfterValidator(forms.network)]
Variable = Annotated[Word, forms.Form(r"[A-Za-z_][A-Za-z0-9_]{0,254}", "the name of an environment variable")]
CommandLine = Annotated[Word, AfterValidator(forms.words)]
Strategy = Annotated[Word, forms.Form(r"[a-z_]{1,64}", "a strategy such as round_robin, in lower-case letters and _")]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
ParameterName = Annotated[str, AfterValidator(parameter_name)]
ParameterText = Annotated[
    str, BeforeValidator(parameter_text), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
SystemIdentifierText = Annotated[
    str,
    BeforeValidator(forms.system_identifier),
    forms.Form("[1-9][0-9]{0,19}", "a system identifier: digits, as pg_controldata prints them"),
    WithJsonSchema({"type": ["string", "integer"], "pattern": "^[1-9][0-9]{0,19}$"}),
]


Unit = Annotated[Word, forms.Form(r"[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,100}", "a systemd unit such as postgresql-16")]


class Block(BaseModel):
    """A mapping of the inventory: unknown keys and other types than the named ones are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class PasswordReference(Block):
    """Where a password is kept: exactly one of the three."""

    env: Variable | None = Field(default=None, description="The environment variable that holds the password.")
    file: LocalPath | None = Field(
        default=None,
        description="The file that holds the password; one newline at its end is dropped.",
    )
    command: CommandLine | None = Field(
        default=None,
        description="The command that prints the password; run without a shell.",
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> PasswordReference:
        if len(self.model_fields_set) != 1:
            raise ValueError("must name exactly one of env, file and command")
        return self


def _password_kind(value: object) -> str:
    return "<reference>" if isinstance(value, dict | PasswordReference) else "<text>"


Password = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[PasswordReference, Tag("<reference>")], Discriminator(_password_kind)
]


class SshBlock(Block):
    """How the operator's machine reaches a host by SSH. What is not set comes from the OpenSSH configuration."""

    user: SshUser | None = Field(default=None, description="The SSH user.")
    port: Port | None = Field(default=None, description="The port of sshd.")
    identity_file: LocalPath | None = Field(default=None, description="The private key to offer.")
    known_hosts_file: LocalPath | None = Field(default=None, description="The file with the known host keys.")
    connect_timeout: Seconds | None = Field(
        default=None,
        description="Seconds for TCP, banner, key exchange and authentication of one node together; 10 if not set.",
    )


class PostgresBlock(Block):
    """PostgreSQL on a host."""

    version: int | None = Field(
        default=None,
        ge=15,
        le=18,
        description="The major version of all nodes; found on the host if not set.",
    )
    bin_dir: RemoteDir | None = Field(
        default=None, description="The directory of initdb, pg_ctl and postgres; found on the host if not set."
    )
    data_dir: RemoteDir | None = Field(
        default=None, description="The data directory: an absolute path. Required, here or at the node."
    )
    port: Port | None = Field(default=None, description="The port of PostgreSQL; 5432 if not set.")
    os_user: OsUser | None = Field(default=None, description="The OS user that runs PostgreSQL; postgres if not set.")
    service: Literal["pg_ctl", "pg_ctlcluster", "systemd"] | None = Field(
        default=None,
        description="What starts PostgreSQL: pg_ctl (if not set), pg_ctlcluster (postgresql-common's) or systemd.",
    )
    unit: Unit | None = Field(
        default=None, description="The systemd unit, without .service; found on the host if not set."
    )
    connect: Literal["tunnel", "direct"] | None = Field(
        default=None,
        description="How SQL reaches the node: tunnel (through SSH, if not set) or direct (the node's own address).",
    )
    locale: Locale | None = Field(default=None, description="The locale of a new cluster; C.UTF-8 if not set.")
    parameters: dict[ParameterName, ParameterText] | None = Field(
        default=None, description="Settings of postgresql.conf. A node's are added to these, name by name."
    )
    allow: list[Network] | None = Field(
        default=None,
        description="Networks from which the app may connect to its database. A node's replace these.",
    )


class AdminBlock(Block):
    """The superuser that replctl connects as."""

    user: Superuser = Field(default="postgres", description="The name of the superuser.")
    password: Password = Field(repr=False, description="Its password.")
    allow: list[Network] | None = Field(
        default=None, description="Networks from which it may connect; needed with connect: direct."
    )


class ReplicationBlock(Block):
    """The role that standbys connect as."""

    user: Role = Field(default="replicator", description="The name of the role.")
    password: Password = Field(repr=False, description="Its password.")


class PublishBlock(Block):
    """A host of the application that gets the env file over SSH. What is not set here is as in the common ssh block."""

    host: SshHost = Field(description="What SSH connects to: an address, a name or an alias.")
    user: SshUser = Field(description="The SSH user: the file becomes, or already is, this user's.")
    path: RemoteFile = Field(description="The file: an absolute path. Its other lines stay.")
    reload: CommandLine | None = Field(
        default=None,
        description="The command that has the application read it again; run without a shell, for at most 30 seconds.",
    )
    ssh: SshBlock | None = Field(default=None, description="What differs from the common ssh block, but for the user.")


class AppBlock(Block):
    """The application's database, its role, and the env file that tells it where to read and write."""

    database: Database = Field(description="The application's database.")
    user: Role = Field(description="The role that owns it.")
    password: Password = Field(repr=False, description="The role's password.")
    env_file: LocalPath = Field(default="app.env", description="The env file to publish to; app.env if not set.")
    publish: list[PublishBlock] | None = Field(
        default=None, description="Hosts of the application on which a file is kept like the env file."
    )
    strategy: Strategy | None = Field(
        default=None, description="DB_READ_REPLICA_STRATEGY: round_robin, least_connections, random or least_lag."
    )
    fallback: bool | None = Field(
        default=None, description="DB_READ_REPLICA_FALLBACK: without replicas, read from the primary."
    )
    health_check_interval: int | None = Field(
        default=None, ge=1, le=86400, description="DB_READ_REPLICA_HEALTH_CHECK_INTERVAL: seconds between two checks."
    )
    max_replication_lag_ms: int | None = Field(
        default=None,
        ge=0,
        le=86_400_000,
        description="DB_MAX_REPLICATION_LAG_MS: the age that reads may have.",
    )
    lag_check: bool | None = Field(default=None, description="DB_LAG_CHECK_ENABLED: leave out replicas that lag.")


class TimeoutsBlock(Block):
    """How long steps may take, in seconds; waiting goes on while progress is seen."""

    stop: Seconds | None = Field(default=None, description="Stopping a server; 60 if not set.")
    catchup: Seconds | None = Field(default=None, description="A replica's catching up; 300 if not set.")
    promote: Seconds | None = Field(default=None, description="A promotion; 60 if not set.")


class NodeBlock(Block):
    """One host with one PostgreSQL instance. Its role is observed and never written here."""

    host: HostName = Field(description="The address or name that the other nodes and the app connect to.")
    ssh_host: SshHost | None = Field(default=None, description="What SSH connects to, when it is another than host.")
    connection: Literal["ssh", "local"] | None = Field(
        default=None, description="How commands reach the node: ssh (if not set), or local on this machine."
    )
    ssh: SshBlock | None = Field(default=None, description="What differs from the common ssh block.")
    postgres: PostgresBlock | None = Field(default=None, description="What differs from the common postgres block.")


class InventoryFile(Block):
    """One cluster of PostgreSQL streaming replicas."""

    cluster: Name = Field(description="The name of the cluster.")
    system_identifier: SystemIdentifierText | None = Field(
        default=None, description="Pins the cluster: a node with another system identifier is foreign."
    )
    ssh: SshBlock = Field(default_factory=SshBlock, description="SSH, for every node.")
    postgres: PostgresBlock = Field(default_factory=PostgresBlock, description="PostgreSQL, for every node.")
    admin: AdminBlock = Field(description="The superuser: its name, password and networks.")
    replication: ReplicationBlock = Field(description="The replication role: its name and password.")
    app: AppBlock = Field(description="The application's database, role and env file.")
    timeouts: TimeoutsBlock = Field(default_factory=TimeoutsBlock, description="How long steps may take, in seconds.")
    templates: LocalPath | None = Field(
        default=None, description="A folder with the operator's own postgresql.conf.j2 and pg_hba.conf.j2."
    )
    nodes: dict[Name, NodeBlock] = Field(min_length=1, description="The nodes, by name, in the env file's order.")


def inventory_schema() -> dict[str, Any]:
    """The JSON Schema of an inventory (draft 2020-12), for editors."""
    schema = InventoryFile.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_without_null(schema),
        "title": "replctl inventory",
    }


def _without_null(schema: Any) -> Any:
    """A key without a value is an error in the file, so null must not be offered."""
    if isinstance(schema, list):
        return [_without_null(each) for each in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    entries = cast("dict[str, Any]", schema).items()
    kept: dict[str, Any] = {key: _without_null(value) for key, value in entries if (key, value) != ("default", None)}
    choices = [each for each in kept.pop("anyOf", []) if each != {"type": "null"}]
    if len(choices) == 1:
        return {**choices[0], **kept}
    return {**kept, "anyOf": choices} if choices else kept
