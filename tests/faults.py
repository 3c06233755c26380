"""The faults that replctl has to survive, and what it has to do about each.

A test that shows one carries ``@pytest.mark.fault("34a")`` with its key: the fault's number, and a letter where one
fault comes in several kinds; the number alone stands for all of its kinds. tools/faults-doc makes docs/faults.md of
this list, the marks and the results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

HIGHEST = 85


@dataclass(frozen=True)
class Fault:
    """``key`` is the number, with a letter for one kind of several."""

    key: str
    fault: str
    expected: str

    @property
    def number(self) -> int:
        return int(self.key.rstrip("abcdefghijklmnopqrstuvwxyz"))


REFUSED = "refused (3) with the reason and what to do, nothing changed"
UNDONE = "exit 5, everything undone; the same command then succeeds"
AGAIN = "the same command finishes the job (0), a third run changes nothing"

TRANSPORT = {
    "1a": ("init-primary is killed, after whichever step", AGAIN),
    "1b": ("add-replica is killed, after whichever step", AGAIN),
    "1c": ("promote is killed, after whichever step", f"{AGAIN}; no acknowledged row is lost, never two primaries"),
    "1d": ("promote --failover is killed, after whichever operation", f"{AGAIN}, or names the rejoin that is left (6)"),
    "1e": (
        "rejoin is killed, after whichever operation",
        f"{AGAIN}; a rewind that was broken off is cloned on consent",
    ),
    "1f": ("remove-replica is killed, after whichever operation", AGAIN),
    "2a": ("Ctrl-C", "exit 130 and everything undone; past the point of no return the job is finished first"),
    "2b": ("SIGTERM", "as Ctrl-C"),
    "2c": ("SIGHUP: the terminal's window is closed", "as Ctrl-C, though nothing can be printed any more"),
    "3": ("SSH drops while pg_basebackup lives on at the host", "exit 5 or 6; the next run ends it and succeeds"),
    "4": ("two operators at once", "the second is refused (3) and told who is at work, from where, since when"),
    "5": ("the lock of a run that crashed", "free within 15 s, at once when its connection is gone"),
    "6a": ("a host that drops every packet", "exit 7 within connect_timeout, nothing changed"),
    "6b": ("an sshd that accepts and never greets", "exit 7 within connect_timeout, nothing changed"),
    "6c": ("an sshd that hangs in the authentication", "exit 7 within connect_timeout, nothing changed"),
    "6d": ("an sshd that hangs once a command was sent", "given up within the command's own time-out"),
    "7a": ("the connection breaks in the middle of a command", "its outcome counts as unknown; the next run looks"),
    "7b": ("the network is gone for seconds, then heals", "the run goes on as if nothing had happened (0)"),
    "8a": ("a round trip of 300 ms", "every command works"),
    "8b": ("a line that stalls for seconds now and then", "every command works"),
    "9a": ("the new replica does not reach the primary", REFUSED),
    "9b": ("a sibling does not reach the new primary", "exit 6 with the next step; it is left out of the env file"),
    "10": ("a command that floods both of its streams", "both are read to the end, side by side"),
    "11": ("a started server keeps the SSH channel open", "the start does not wait for it"),
    "12a": ("the login shell's start-up files print something", "it is told from the command's output"),
    "12b": ("sshd shows a banner and a message of the day", "it is told from the command's output"),
    "13a": ("a login shell that is no POSIX shell", "every command works"),
    "13b": ("a PATH that leads nowhere", "every command works"),
    "13c": ("another locale", "every command works, and initdb makes the cluster that the inventory says"),
    "14": ("sudo asks for a password", "exit 7 with the sudoers line that is missing, nothing changed"),
    "15a": ("a host key that changed", "exit 7 with both fingerprints' advice; no login is tried"),
    "15b": ("a host key that is not known", "exit 7 with the fingerprint; no login is tried"),
    "16a": ("sshd allows few sessions a connection (MaxSessions)", "they are shared, or exit 7 that names the setting"),
    "16b": ("sshd drops connections while many log in (MaxStartups)", "exit 7 with advice, nothing changed; then 0"),
    "17a": ("/tmp of the host is full", "every command works: nothing is written there"),
    "17b": ("/tmp of the host is mounted noexec", "every command works: nothing is run from there"),
    "18": ("clocks that are an hour apart", "lag, locks and checks are not misled"),
}

INIT_PRIMARY = {
    "19": ("data_dir holds files that are no cluster", REFUSED),
    "20": ("data_dir holds a cluster that replctl did not make", "refused (3) without --adopt, nothing changed"),
    "21a": ("the named node runs as a replica", REFUSED),
    "21b": ("another node runs as the primary", REFUSED),
    "22": ("killed while initdb runs", AGAIN),
    "23": ("programs of another major version", REFUSED),
    "24": ("something else listens on the port", REFUSED),
    "25a": ("PostgreSQL does not accept a setting, for a new cluster", UNDONE),
    "25b": ("PostgreSQL does not accept a setting, on a running primary", "exit 5, the old file stands and is used"),
    "25c": ("PostgreSQL does not accept pg_hba.conf, on a running primary", "the old file is put back and is used"),
    "26": ("a changed setting needs a restart", "written, and the operator is told which settings wait for a restart"),
    "27": ("ALTER SYSTEM overrides the inventory", "the operator is told which settings"),
    "28": ("pg_hba.conf of an adopted cluster has an earlier reject", "a managed block ahead of it; other lines stay"),
    "29": ("a role exists with other attributes", "mended, without its password in any log"),
    "30": ("CREATE ROLE waits for a synchronous standby that is gone", "it does not wait: a bounded time, exit 0"),
    "31": ("the disk is full when the configuration is written", "the old files stand; exit 5 with the next step"),
    "32": ("an adopted cluster without checksums and hints", "told what rejoin will not be able to do there"),
    "33a": ("the folder of the server's log is missing", "it is made when the server starts"),
    "33b": ("/run/postgresql, where its socket belongs, is missing", REFUSED),
}

ADD_REPLICA = {
    "34a": ("pg_basebackup is killed midway", UNDONE),
    "34b": ("its walsender ends midway", UNDONE),
    "35": ("killed once the slot was made", "the same command takes the slot and finishes the job (0)"),
    "36": ("another standby holds the slot", REFUSED),
    "37a": ("the disk is too small", REFUSED),
    "37b": ("the disk fills up midway", UNDONE),
    "38": (
        "little room on the primary's disk for the WAL of the copy",
        "told; the slot gives up before the disk is full",
    ),
    "39": ("the slot loses its WAL while the copy is made", UNDONE),
    "40a": ("no walsender is free", REFUSED),
    "40b": ("no slot is free", REFUSED),
    "41a": ("pg_hba.conf of the primary does not know the node", "mended before anything is copied"),
    "41b": ("the operator's own pg_hba.conf admits no replica", REFUSED),
    "42": ("a wrong replication password", REFUSED),
    "43a": ("data_dir holds another cluster", REFUSED),
    "43b": ("another cluster runs on the host", REFUSED),
    "44": ("the named node is the primary", REFUSED),
    "45a": ("data_dir is a symbolic link", REFUSED),
    "45b": ("data_dir is a mount point", REFUSED),
    "45c": ("data_dir is /", "an inventory error (2), nothing contacted"),
    "46": ("the primary has tablespaces", REFUSED),
    "47": ("the role moves to another node during the copy", "exit 5 or 6; the next run copies from the new primary"),
    "48": ("settings below the primary's, which a standby cannot replay with", REFUSED),
    "49": ("the copy is made and never streams", "exit 6 with the next step; not in the env file"),
    "50": ("a copy of a replica (--from)", "streams from the primary, with its slot there"),
    "51": ("something else calls itself by the node's application_name", f"{REFUSED}; it proves nothing"),
    "52": ("the copy brings the source's ALTER SYSTEM settings", "port, sockets and names are the node's own"),
}

PROMOTE = {
    "53": ("clients write during a switchover", "no acknowledged row is lost, exit 0"),
    "54": ("the candidate freezes at the stop", "the proof fails: exit 5, the old primary serves again"),
    "55": ("the candidate has no connection", REFUSED),
    "56": ("the candidate follows another node", REFUSED),
    "57": ("another replica is ahead", "a switchover waits for the proof; a failover asks for --accept-data-loss"),
    "58a": ("replay of the candidate is paused", REFUSED),
    "58b": ("the candidate replays with a delay", REFUSED),
    "59": ("the stop exceeds its time-out", "unknown: nothing is promoted, exit 6; the same command goes on"),
    "60": ("a backlog of WAL to archive", REFUSED),
    "61": ("the stop was not clean", "nothing is promoted; the old primary is started again"),
    "62": ("something starts the old primary, before the promotion or later", "it comes up as a standby"),
    "63": ("the primary cannot be reached", "no switchover (7), nothing changed"),
    "64": ("an old primary comes back writable", "status is critical; the next changing command fences it first"),
    "65a": ("SSH is dead and PostgreSQL lives", "sql-only in status; changes that need the host exit 7"),
    "65b": ("PostgreSQL does not answer and SSH does", "ssh-only in status; never taken for stopped"),
    "66": ("the promotion exceeds its time-out, and happens later", "exit 6; the same command finishes the job"),
    "67": ("the admin role has no right to promote", "refused or undone, the old primary serves"),
    "68": ("killed right after the promote request", AGAIN),
    "69": ("two primaries at the start", REFUSED),
    "70": ("a sibling is down", "done without it: exit 6 with the next step, out of the env file"),
    "71": ("a sibling is ahead of the promoted node", "told; it is never listed until it was rebuilt"),
    "72": ("synchronous_standby_names names a node that is absent", "told before anything is stopped"),
    "73": ("a commit waits for a synchronous standby at the stop", "bounded: the stop ends it"),
    "74": ("prepared transactions and logical slots", "told before anything is stopped"),
    "75": (
        "default_transaction_read_only on the candidate",
        "refused (3); a node that takes no write is not published",
    ),
    "76": ("there and back, fifty times under load", "nothing lost; no slot, WAL or lock left over"),
}

REJOIN = {
    "77": ("rows that the new primary lacks", "counted and kept; refused (3) without --discard-diverged"),
    "78": ("the new primary has not checkpointed its timeline", "it is told to, before pg_rewind looks"),
    "79": ("pg_rewind is killed midway", "the next run clones anew, with consent; never started half-rewound"),
    "80": ("WAL that pg_rewind needs is gone, or no hints", "refused (3) without --reclone"),
    "81": ("pg_rewind brings the source's configuration", "the node's own port and files are put back"),
    "82": ("the node still runs, or its postmaster.pid is stale", "stopped first with consent; told apart"),
}

STATUS_AND_ENV = {
    "83a": ("an idle primary, and no reply yet", "0 bytes mean 0 ms; what is unknown is null with a finding"),
    "83b": ("a disconnected replica that has replayed all it received", "never 0: bytes by the primary's position"),
    "83c": ("the primary is down", "critical (11), and no figure is made up"),
    "83d": ("a cascaded replica", "wrong-upstream, measured against the primary"),
    "83e": ("another system identifier", "foreign, and nothing more is said of it"),
    "83f": ("a lost slot", "slot-lost, with the command that mends it"),
    "83g": ("replay paused or delayed", "paused, delayed, and the candidate's verdict"),
    "83h": ("an admin role without pg_monitor", "ssh-only or findings that say why, never 0"),
    "83i": ("one hung node of several", "costs its own row, in connect_timeout + 3 s"),
    "84a": ("the disk is full, or fails, as the env file is written", "the old text stands; exit 5 or 6"),
    "84b": ("killed between write and rename", "the old text stands; the next write removes what was left"),
    "84c": ("the env file is a symbolic link, or no file", "refused before anything is changed"),
    "84d": ("a folder that cannot be written", "refused before anything is changed"),
    "84e": ("keys and comments of others", "they stay as they are"),
    "84f": ("special characters in passwords", "sh, python-dotenv, libpq and urllib read the same value"),
    "84g": ("a reader at the moment of the write", "reads the old text or the new one, whole and private"),
    "84h": ("a file of another owner", "owner and group are kept, or the write is refused"),
    "84i": ("no replica is healthy", "DB_READ_REPLICA_URLS stays, empty; enabled says false"),
}

TOPOLOGIES = {
    "85a": ("commits wait for replicas, and these are restarted, removed, promoted", "none waits for one that is gone"),
    "85b": ("a failover where commits waited for replicas", "told what that proves; no acknowledged row is lost"),
    "85c": ("a rejoin where commits wait for replicas", "the node counts again once it streams"),
    "85d": ("killed after whichever operation where commits wait for replicas", f"{AGAIN}; the setting is right"),
}

PARTS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Transport and process": TRANSPORT,
    "init-primary": INIT_PRIMARY,
    "add-replica": ADD_REPLICA,
    "promote": PROMOTE,
    "rejoin": REJOIN,
    "status and env": STATUS_AND_ENV,
    "Topologies": TOPOLOGIES,
}


def part(title: str) -> Iterator[Fault]:
    """The faults of one part, in order."""
    return (Fault(key, fault, expected) for key, (fault, expected) in PARTS[title].items())


def catalogue() -> dict[str, Fault]:
    """Every fault by its key."""
    return {fault.key: fault for title in PARTS for fault in part(title)}


def kinds_of(mark: str) -> tuple[str, ...]:
    """The keys that a mark's argument stands for: itself, or all kinds of a number. Raises KeyError."""
    faults = catalogue()
    if mark in faults:
        return (mark,)
    kinds = tuple(key for key, fault in faults.items() if str(fault.number) == mark)
    if not kinds:
        raise KeyError(f"no fault {mark} in tests/faults.py")
    return kinds
