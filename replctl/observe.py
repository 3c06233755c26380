"""One look at every node, in parallel, by SSH and by SQL. A node that does not answer is a fact, not an error."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import replace

from replctl.envfile import differences, listed_nodes, managed_values
from replctl.model.configuration import Configuration
from replctl.model.errors import ConnectionLostError, ReplctlError, SqlError
from replctl.model.facts import (
    ClusterFacts,
    EnvListing,
    Foreign,
    Login,
    NodeFacts,
    NoInstance,
    Primary,
    Problem,
    ProblemKind,
    Replica,
    Silent,
    Stopped,
    Unreachable,
    WalTail,
)
from replctl.model.host import HostFacts
from replctl.model.inquiry import Inquiry
from replctl.model.inventory import Inventory, Node, SqlRoute
from replctl.model.secret import Passwords
from replctl.model.values import NodeName, SystemIdentifier
from replctl.postgres import statements
from replctl.postgres.clocks import on_one_clock
from replctl.postgres.conninfo import passfile_path, passfile_text
from replctl.postgres.hostprobe import host_probe_command, parse_host_probe
from replctl.postgres.repair_scripts import wal_tail
from replctl.postgres.scripts import same_content
from replctl.postgres.settings import RUN_DIRECTORY
from replctl.postgres.starting import may_systemctl
from replctl.postgres.wal_tail import parse_wal_tail
from replctl.remote.fan_out import fan_out
from replctl.remote.local_files import read_optional_text
from replctl.remote.ports import Fleet, NodeLink, Progress
from replctl.remote.printable import one_line
from replctl.remote.server_facts import read_configuration, read_facts, read_server

PROBE_MARGIN = 2.5
"""Seconds on top of connect_timeout until a node's row says unreachable; status has to end within 3."""

ENV_FILE_MODE = 0o600
PASSFILE_SECONDS = 10.0
WAL_SECONDS = 120.0
"""For reading what may be gigabytes of WAL by pg_waldump."""

_SQLSTATES = {
    "28P01": ProblemKind.SQL_AUTH,
    "28000": ProblemKind.SQL_AUTH,
}
_KINDS = {kind.value: kind for kind in ProblemKind}


def observe(
    fleet: Fleet, inventory: Inventory, passwords: Passwords, answered: Callable[[NodeName], None] = lambda _: None
) -> ClusterFacts:
    """Facts of every node of the inventory. Raises nothing for a single node; the env file is observe_env's.

    ``answered`` is told of each node whose look has ended, from any thread.
    """

    def look(name: NodeName) -> NodeFacts:
        try:
            return observe_node(fleet[name], inventory.nodes[name], inventory, passwords)
        finally:
            answered(name)

    answers = fan_out(tuple(inventory.nodes), look, deadline=deadline_of(inventory))
    nodes: dict[NodeName, NodeFacts] = {
        name: Unreachable(name, ssh=problem_of(answer)) if isinstance(answer, ReplctlError) else answer
        for name, answer in answers.items()
    }
    return of_one_cluster(inventory, nodes)


def of_one_cluster(inventory: Inventory, nodes: Mapping[NodeName, NodeFacts]) -> ClusterFacts:
    """What was seen of each node, judged by the cluster's identity, with ages by one clock."""
    identifier = _identify(inventory, nodes.values())
    return ClusterFacts(
        nodes=on_one_clock({name: _judge_identity(facts, identifier) for name, facts in nodes.items()}),
        system_identifier=identifier,
    )


def observe_env(inventory: Inventory, passwords: Passwords) -> EnvListing:
    """Which nodes the env file lists, and whether it says of them what the inventory does. Raises InventoryError."""
    path = inventory.app.env_file
    text = read_optional_text(path)
    if text is None:
        return EnvListing()
    listed = listed_nodes(text, inventory)
    current = (
        listed.primary is not None
        and not listed.unknown
        and stat.S_IMODE(path.stat().st_mode) == ENV_FILE_MODE
        and not differences(text, managed_values(inventory, passwords, listed.primary, listed.replicas))
    )
    return EnvListing(listed.primary, listed.replicas, current)


def inquire(
    facts: ClusterFacts,
    inquiry: Inquiry,
    fleet: Fleet,
    inventory: Inventory,
    passwords: Passwords,
    *,
    says: Progress = lambda _: None,
) -> ClusterFacts:
    """The same facts, with what a changing command needs beyond them. ``says`` is told what is asked for now.

    Raises InventoryError for the env file.
    """
    says("passfiles and units")
    facts = _ask_by_psql(facts, inquiry.by_psql, fleet, inventory, passwords)
    nodes = with_units(with_passfiles(facts, fleet, inventory, passwords), fleet, inventory)
    if inquiry.login_at is not None:
        says(f"replication logins at {inquiry.login_at}")
    logins = _try_logins(fleet, inventory, inquiry)
    if inquiry.wal:
        says(f"what the WAL of {', '.join(name for name, _ in inquiry.wal)} holds")
    wal = _read_wal(facts, inquiry, fleet, inventory)
    says("sizes, files and settings")
    return replace(
        facts,
        nodes=nodes,
        logins=logins,
        env=observe_env(inventory, passwords),
        cluster_bytes=_cluster_bytes(facts, fleet, inventory) if inquiry.size else None,
        wal=wal,
        file_settings=_file_settings(facts, fleet, inventory) if inquiry.configuration else {},
        configurations=read_configurations(facts, inquiry.settings, fleet, inventory),
        primary_wal=_primary_wal(facts, fleet, inventory) if inquiry.segments else None,
    )


def _ask_by_psql(
    facts: ClusterFacts, names: Iterable[NodeName], fleet: Fleet, inventory: Inventory, passwords: Passwords
) -> ClusterFacts:
    """Whoever is not let in by password may be so as the OS user; a refusal there leaves the node silent."""
    nodes, found = dict(facts.nodes), set[NodeName]()
    for name in names:
        silent = nodes[name]
        if not isinstance(silent, Silent) or silent.host.postmaster is None:
            continue
        sockets, node = silent.host.postmaster.socket_dir or RUN_DIRECTORY, inventory.nodes[name]
        try:
            with closing(fleet[name].local_database(silent.host.bin_dir or "", sockets)) as database:
                seen = read_facts(database, node, inventory, passwords)
        except ReplctlError as error:
            nodes[name] = replace(silent, sql=problem_of(error))
            continue
        nodes[name] = replace(seen, host=silent.host)
        found.add(name)
    if not found:
        return replace(facts, nodes=nodes)
    identifier = _identify(inventory, nodes.values())
    judged = {name: _judge_identity(seen, identifier) for name, seen in nodes.items()}
    return replace(facts, nodes=judged, system_identifier=identifier, by_psql=frozenset(found))


def _file_settings(facts: ClusterFacts, fleet: Fleet, inventory: Inventory) -> dict[str, str]:
    if facts.primary is None or facts.primary.node in facts.by_psql:
        return {}
    name = facts.primary.node
    with fleet[name].session(timeout=inventory.nodes[name].ssh.connect_timeout) as database:
        return {row["name"]: row["setting"] for row in database.fetch(statements.FILE_SETTINGS)}


def read_configurations(
    facts: ClusterFacts, names: Iterable[NodeName], fleet: Fleet, inventory: Inventory
) -> dict[NodeName, Configuration]:
    """Of the running nodes among these; one that cannot be asked is left out."""

    def look(name: NodeName) -> Configuration:
        with fleet[name].session(timeout=inventory.nodes[name].ssh.connect_timeout) as database:
            return read_configuration(database)

    running = [name for name in names if isinstance(facts.nodes[name], Primary | Replica)]
    answers = fan_out(running, look, deadline=deadline_of(inventory))
    return {name: answer for name, answer in answers.items() if not isinstance(answer, ReplctlError)}


def deadline_of(inventory: Inventory) -> float:
    """Seconds until a node that has not answered is unreachable."""
    return max(node.ssh.connect_timeout for node in inventory.nodes.values()) + PROBE_MARGIN


def with_passfiles(
    facts: ClusterFacts, fleet: Fleet, inventory: Inventory, passwords: Passwords
) -> dict[NodeName, NodeFacts]:
    """The nodes, and whether the passfile of each holds what it should."""

    def look(name: NodeName) -> bool:
        node = inventory.nodes[name]
        text = passfile_text(inventory, node, passwords.replication)
        command = same_content(passfile_path(node))
        return fleet[name].runner.run(command, stdin=text, timeout=PASSFILE_SECONDS, check=False).status == 0

    reached = [
        name for name, seen in facts.nodes.items() if not isinstance(seen, Unreachable | NoInstance) and seen.host
    ]
    answers = fan_out(reached, look, deadline=deadline_of(inventory))
    nodes = dict(facts.nodes)
    for name, answer in answers.items():
        seen = nodes[name]
        if not isinstance(seen, Unreachable) and seen.host is not None:
            nodes[name] = replace(seen, host=replace(seen.host, passfile_current=answer is True))
    return nodes


def with_units(nodes: dict[NodeName, NodeFacts], fleet: Fleet, inventory: Inventory) -> dict[NodeName, NodeFacts]:
    """Where systemd starts a server, whether we may tell it to."""
    hosts = {name: host for name, seen in nodes.items() if (host := _host_of(seen)) is not None and host.unit}

    def look(name: NodeName) -> bool:
        unit = hosts[name].unit
        command = may_systemctl("start", unit.name if unit is not None else "")
        return fleet[name].runner.as_login_user().run(command, timeout=PASSFILE_SECONDS, check=False).status == 0

    for name, answer in fan_out(tuple(hosts), look, deadline=deadline_of(inventory)).items():
        seen = nodes[name]
        if not isinstance(seen, Unreachable) and seen.host is not None:
            may = answer if isinstance(answer, bool) else None
            nodes[name] = replace(seen, host=replace(seen.host, may_start_unit=may))
    return nodes


def _cluster_bytes(facts: ClusterFacts, fleet: Fleet, inventory: Inventory) -> int | None:
    if facts.primary is None:
        return None
    name = facts.primary.node
    with fleet[name].session(timeout=inventory.nodes[name].ssh.connect_timeout) as database:
        return database.fetch(statements.CLUSTER_BYTES)[0]["bytes"]


def _primary_wal(facts: ClusterFacts, fleet: Fleet, inventory: Inventory) -> tuple[str, ...] | None:
    if facts.primary is None:
        return None
    name = facts.primary.node
    with fleet[name].session(timeout=inventory.nodes[name].ssh.connect_timeout) as database:
        return tuple(row["name"] for row in database.fetch(statements.WAL_SEGMENTS))


def _read_wal(facts: ClusterFacts, inquiry: Inquiry, fleet: Fleet, inventory: Inventory) -> tuple[WalTail, ...]:
    wanted = dict(inquiry.wal)

    def look(name: NodeName) -> WalTail:
        node, host, start = inventory.nodes[name], _host_of(facts.nodes[name]), wanted[name][0].start
        bin_dir = (host.bin_dir if host is not None else None) or ""
        command = wal_tail(node.postgres.data_dir, bin_dir, wanted[name], facts.wal_segment_bytes)
        text = fleet[name].runner.run(command, timeout=WAL_SECONDS).text
        return parse_wal_tail(text, name, start).tail

    answers = fan_out(tuple(wanted), look, deadline=WAL_SECONDS + PROBE_MARGIN)
    return tuple(
        WalTail(name, wanted[name][0].start, None, problem=answer.message)
        if isinstance(answer, ReplctlError)
        else answer
        for name, answer in answers.items()
    )


def _host_of(facts: NodeFacts) -> HostFacts | None:
    return None if isinstance(facts, Unreachable) else facts.host


def _try_logins(fleet: Fleet, inventory: Inventory, inquiry: Inquiry) -> tuple[Login, ...]:
    if inquiry.login_at is None:
        return ()
    target = inventory.nodes[inquiry.login_at]

    def login(source: NodeName) -> None:
        timeout = inventory.nodes[source].ssh.connect_timeout
        fleet[source].replication_login(target.host, target.postgres.port, timeout=timeout)

    answers = fan_out(inquiry.login_from, login, deadline=deadline_of(inventory))
    return tuple(
        Login(source, target.name, problem_of(answer) if isinstance(answer, ReplctlError) else None)
        for source, answer in answers.items()
    )


def problem_of(error: ReplctlError) -> Problem:
    """An error as a fact."""
    kind = _KINDS.get(error.code, ProblemKind.PROBE)
    if isinstance(error, SqlError):
        kind = _SQLSTATES.get(error.sqlstate or "", ProblemKind.SQL)
        if error.sqlstate == "57P03":
            kind = ProblemKind.SQL_STARTING
    return Problem(kind, error.message, error.hint)


def observe_node(link: NodeLink, node: Node, inventory: Inventory, passwords: Passwords) -> NodeFacts:
    """One node, by both ways. Raises InterruptedByOperator, and nothing that a node does."""
    try:
        host = _probe_host(link, node)
    except ReplctlError as error:
        return _without_ssh(link, node, inventory, passwords, problem_of(error))
    if host.control is None:
        return NoInstance(node.name, host)
    if host.postmaster is None:
        return Stopped(node.name, host, host.control)
    try:
        facts = read_server(link, node, inventory, passwords)
    except ReplctlError as error:
        return Silent(node.name, host, host.control, _while_running(problem_of(error), host))
    return replace(facts, host=host)


def _probe_host(link: NodeLink, node: Node) -> HostFacts:
    result = link.runner.run(host_probe_command(node), timeout=node.ssh.connect_timeout, check=False)
    try:
        # Somebody else's configuration files are written back: byte by byte, whatever their encoding is.
        return parse_host_probe(result.stdout.decode("utf-8", "surrogateescape"), node)
    except (ValueError, KeyError, IndexError) as error:
        raise ConnectionLostError(
            f"{node.name}: the look at the host gave no usable answer: {one_line(str(error))}",
            hint=f"Run `ssh {node.ssh_host} true` by hand and see what stands in the way.",
            node=node.name,
            code=ProblemKind.PROBE,
        ) from error


def _without_ssh(link: NodeLink, node: Node, inventory: Inventory, passwords: Passwords, ssh: Problem) -> NodeFacts:
    if node.postgres.connect is not SqlRoute.DIRECT:
        return Unreachable(node.name, ssh)
    try:
        facts = read_server(link, node, inventory, passwords)
    except ReplctlError as error:
        return Unreachable(node.name, ssh, problem_of(error))
    return replace(facts, ssh=ssh)


def _while_running(problem: Problem, host: HostFacts) -> Problem:
    """What the pid file says of a live postmaster explains why it does not answer yet."""
    status = host.postmaster.status if host.postmaster else ""
    if status == "starting":
        return replace(problem, kind=ProblemKind.SQL_STARTING)
    if status == "stopping":
        return replace(problem, kind=ProblemKind.SQL_SHUTTING_DOWN)
    return problem


def _identity_of(facts: NodeFacts) -> SystemIdentifier | None:
    match facts:
        case Primary() | Replica():
            return facts.server.system_identifier
        case Stopped() | Silent():
            return facts.control.system_identifier
        case Foreign():
            return facts.system_identifier
        case Unreachable() | NoInstance():
            return None


def _identify(inventory: Inventory, nodes: Iterable[NodeFacts]) -> SystemIdentifier | None:
    """The cluster's identity: pinned; else the running primaries', the running nodes', all nodes'.

    None when what counts does not agree: then nobody can say which node is the foreign one.
    """
    if inventory.system_identifier is not None:
        return inventory.system_identifier
    found = tuple(nodes)
    for kinds in ((Primary,), (Primary, Replica), (Primary, Replica, Stopped, Silent)):
        seen = Counter(_identity_of(facts) for facts in found if isinstance(facts, kinds))
        if len(seen) == 1:
            return next(iter(seen))
        if seen:
            return None
    return None


def _judge_identity(facts: NodeFacts, identifier: SystemIdentifier | None) -> NodeFacts:
    own = _identity_of(facts)
    if identifier is None or own is None or own == identifier or isinstance(facts, Unreachable | NoInstance | Foreign):
        return facts
    return Foreign(facts.node, facts.host, own, running=not isinstance(facts, Stopped))
