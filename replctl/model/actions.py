"""Every change that replctl can make, as data. Each has one handler in replctl.execution.handlers.

An action is repeatable: its handler first asks whether the goal already holds, and then answers "unchanged".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from replctl.model.app_actions import CountAppSessions, EndAppSessions, PublishEnv, PushEnv
from replctl.model.repair_actions import CheckRewind, InstallRewound, KeepDivergedWal, RecoverAlone, Rewind
from replctl.model.transfer import UNHINDERED, Transfer
from replctl.model.values import NodeName


class Place(StrEnum):
    """Which directory a file action writes to: the staging directory, a directory that pg_rewind has changed and that
    is not in its place yet, or the data directory itself."""

    STAGING = "staging"
    REWOUND = "rewound"
    LIVE = "live"


class Autostart(StrEnum):
    """What happens to a node's server when its host comes up."""

    ON = "on"
    OFF = "off"


class RoleKind(StrEnum):
    """The roles that replctl makes. The admin role is initdb's, but for a cluster that is adopted."""

    ADMIN = "admin"
    REPLICATION = "replication"
    APP = "app"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A rendered configuration file. Holds no secret."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class InitCluster:
    """Run initdb into the staging directory."""

    locale: str


@dataclass(frozen=True, slots=True)
class WriteConfig:
    """Put rendered files in place, after PostgreSQL itself has read and accepted them."""

    place: Place
    files: tuple[ConfigFile, ...]


@dataclass(frozen=True, slots=True)
class RemoveConfig:
    """Delete the configuration files that this run put outside of the data directory."""


@dataclass(frozen=True, slots=True)
class SetAutostart:
    """Whether the node's service starts PostgreSQL when the host comes up."""

    wanted: Autostart


@dataclass(frozen=True, slots=True)
class InstallStaging:
    """Rename the staging directory to the data directory."""


@dataclass(frozen=True, slots=True)
class RemoveStaging:
    """Delete the staging directory of this run, after ending what still writes to it."""


@dataclass(frozen=True, slots=True)
class StartPostgres:
    """Start the server and wait until it answers."""


@dataclass(frozen=True, slots=True)
class StopPostgres:
    """Fast stop, until the postmaster is gone."""


@dataclass(frozen=True, slots=True)
class FencePrimary:
    """Make a superseded primary harmless: standby.signal first, then a fast stop, then an immediate one."""


@dataclass(frozen=True, slots=True)
class StopForSwitchover:
    """Fast stop, waiting for the shutdown checkpoint's record and not for the postmaster's exit."""


@dataclass(frozen=True, slots=True)
class ReviveOldPrimary:
    """Undo of a switchover's stop: take standby.signal away, start the node as the primary that it was."""

    siblings: tuple[NodeName, ...] = ()
    """Replicas to be told by a reload that their upstream is back."""


class Pending(StrEnum):
    """Whether settings that wait for a restart are news to the operator, or the plan has said what becomes of them."""

    WARN = "warn"
    PLANNED = "planned"


@dataclass(frozen=True, slots=True)
class ReloadConfig:
    """Have the server read its configuration again, and warn of what waits for a restart, if that is news."""

    pending: Pending = Pending.WARN


@dataclass(frozen=True, slots=True)
class StartWithConfig:
    """Undo of a stop for new settings: put the old files back, which the server could start with, and start it."""

    files: tuple[ConfigFile, ...]


@dataclass(frozen=True, slots=True)
class AwaitReplayed:
    """Wait until the standby has replayed what ``upstream`` had written, its settings among them."""

    upstream: NodeName


@dataclass(frozen=True, slots=True)
class CreateRole:
    """Make a role with the inventory's password as a SCRAM verifier; mend its attributes if it exists."""

    kind: RoleKind


@dataclass(frozen=True, slots=True)
class SetPassword:
    """Give an existing role the inventory's password, as a SCRAM verifier."""

    kind: RoleKind


@dataclass(frozen=True, slots=True)
class RestorePassword:
    """Undo of SetPassword: put the verifier back that this run replaced."""

    kind: RoleKind


@dataclass(frozen=True, slots=True)
class AwaitPassword:
    """Wait until the node has replayed the role's new verifier."""

    kind: RoleKind


@dataclass(frozen=True, slots=True)
class CreateDatabase:
    """Make the app database, owned by the app role."""


@dataclass(frozen=True, slots=True)
class GrantRewind:
    """Let the replication role execute what pg_rewind needs of its source."""


@dataclass(frozen=True, slots=True)
class CreateSlot:
    """Make a physical slot that reserves WAL at once."""

    slot: str


@dataclass(frozen=True, slots=True)
class DropSlot:
    """Drop one of our own slots."""

    slot: str


@dataclass(frozen=True, slots=True)
class WritePassfile:
    """Write the replication password for every peer to the passfile beside the data directory (0600)."""


@dataclass(frozen=True, slots=True)
class RemovePassfile:
    """Take away the node's passfile: where this run wrote it, or where the node is given up."""


@dataclass(frozen=True, slots=True)
class CheckLogin:
    """Try a replication login from the node's own address, with the real password, before anything is copied."""

    target: NodeName


@dataclass(frozen=True, slots=True)
class BaseBackup:
    """Copy ``source`` into the staging directory with pg_basebackup."""

    source: NodeName
    slot: str | None
    """The slot on ``source`` that keeps the WAL for the copy; None for a temporary one."""
    transfer: Transfer = UNHINDERED


@dataclass(frozen=True, slots=True)
class ConfigureStandby:
    """Write primary_conninfo, primary_slot_name and standby.signal into a directory without a running server."""

    place: Place
    upstream: NodeName
    slot: str


@dataclass(frozen=True, slots=True)
class ForgetStandby:
    """Undo of ConfigureStandby on a stopped old primary: standby.signal and the two settings go."""


@dataclass(frozen=True, slots=True)
class RepointStandby:
    """Have a running standby stream from another node, by reload."""

    upstream: NodeName
    slot: str


@dataclass(frozen=True, slots=True)
class AwaitStreaming:
    """Wait until the standby streams from ``upstream`` and has flushed what that node had written."""

    upstream: NodeName


@dataclass(frozen=True, slots=True)
class SetSynchronous:
    """Have commits wait for as many of these standbys as the inventory asks for and as stream from the node, without
    the one that is about to go; for nobody, if there are none."""

    standbys: tuple[NodeName, ...]
    without: NodeName | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """CHECKPOINT, twice: the long one while writes flow, the short one to shrink what the stop has to write."""


@dataclass(frozen=True, slots=True)
class GetReadyToStop:
    """Have the commands that stop the primary, and make it a standby of ``upstream``, wait on the node for their go."""

    upstream: NodeName
    slot: str


@dataclass(frozen=True, slots=True)
class GetReadyToPromote:
    """Have the promote request wait on the node for its go."""


@dataclass(frozen=True, slots=True)
class DropStuckWalsenders:
    """Have walsenders that do not answer time out before the stop, which would otherwise wait for them."""

    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProveCaughtUp:
    """Compare the candidate's replay position with the shutdown checkpoint of the old primary."""

    old_primary: NodeName


@dataclass(frozen=True, slots=True)
class Promote:
    """Send the promote request and wait until the node accepts writes."""


@dataclass(frozen=True, slots=True)
class ProbeWrite:
    """Commit a WAL message of our own: it fails wherever a client's INSERT would, and leaves no row behind."""


@dataclass(frozen=True, slots=True)
class DetachStandby:
    """Have a running standby receive no more WAL from anybody, so that positions can be compared."""


@dataclass(frozen=True, slots=True)
class ProveFurthest:
    """Compare the candidate's timeline and received position with those of the other standbys, all detached."""

    others: tuple[NodeName, ...]


@dataclass(frozen=True, slots=True)
class NoteFenceDebt:
    """Write down on the operator's machine that an unreachable old primary has still to be fenced."""

    owed: NodeName
    promoted: NodeName


@dataclass(frozen=True, slots=True)
class SettleFenceDebt:
    """Take the note away: the node was seen to be harmless, or is given up."""

    owed: NodeName


@dataclass(frozen=True, slots=True)
class SetAside:
    """Rename what stands in the data directory's place, or was left of a broken rewind, out of the way."""


Action = (
    InitCluster
    | WriteConfig
    | RemoveConfig
    | SetAutostart
    | InstallStaging
    | RemoveStaging
    | StartPostgres
    | StopPostgres
    | FencePrimary
    | StopForSwitchover
    | ReviveOldPrimary
    | ReloadConfig
    | StartWithConfig
    | AwaitReplayed
    | CreateRole
    | SetPassword
    | RestorePassword
    | AwaitPassword
    | CreateDatabase
    | GrantRewind
    | CreateSlot
    | DropSlot
    | WritePassfile
    | RemovePassfile
    | CheckLogin
    | BaseBackup
    | ConfigureStandby
    | ForgetStandby
    | RepointStandby
    | AwaitStreaming
    | SetSynchronous
    | Checkpoint
    | GetReadyToStop
    | GetReadyToPromote
    | DropStuckWalsenders
    | ProveCaughtUp
    | Promote
    | ProbeWrite
    | DetachStandby
    | ProveFurthest
    | NoteFenceDebt
    | SettleFenceDebt
    | RecoverAlone
    | KeepDivergedWal
    | CheckRewind
    | Rewind
    | InstallRewound
    | SetAside
    | PublishEnv
    | PushEnv
    | EndAppSessions
    | CountAppSessions
)
