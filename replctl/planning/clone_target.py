"""Whether a data directory may be made on a host: for a new cluster and for a clone alike."""

from __future__ import annotations

import shlex

from replctl.model.host import DirectoryState, HostFacts
from replctl.model.inventory import Node
from replctl.model.plan import Refusal
from replctl.planning.services import check_service
from replctl.planning.situation import Situation
from replctl.postgres.conf_syntax import parse_conf
from replctl.postgres.settings import RUN_DIRECTORY

SUPPORTED = range(15, 19)


def check_target(situation: Situation, node: Node, host: HostFacts) -> list[Refusal]:
    """Every reason why this host cannot take a new data directory at its configured path."""
    return [
        *_check_directory(node, host),
        *_check_staging(situation, node, host),
        *_check_version(node, host),
        *_check_port(node, host),
        *check_service(node, host),
    ]


def check_replacement(situation: Situation, node: Node, host: HostFacts) -> list[Refusal]:
    """Every reason why what stands at the path cannot be moved aside for a new clone."""
    return [*_check_renaming(node, host), *_check_staging(situation, node, host), *_check_version(node, host)]


def check_start(node: Node, host: HostFacts) -> list[Refusal]:
    """Why a stopped server would not start: a reboot empties /run, where its socket has to be."""
    if refusals := check_service(node, host):
        return refusals
    names = ("postgresql.conf", "postgresql.auto.conf")
    settings = parse_conf("".join(host.files.get(name, "") for name in names))
    if settings.get("unix_socket_directories") != RUN_DIRECTORY or host.can_link_socket_dir:
        return []
    user = node.postgres.os_user
    return [
        Refusal(
            "socket-directory",
            node.name,
            f"{node.name}: {RUN_DIRECTORY}, where the server's socket belongs, is missing or not {user}'s to write",
            f"Run `install -d -o {user} -g {user} -m 2775 {RUN_DIRECTORY}` as root; the distribution's packages do so "
            "at every boot.",
        )
    ]


def _check_renaming(node: Node, host: HostFacts) -> list[Refusal]:
    path, directory = node.postgres.data_dir, host.directory
    if not (directory.is_mount_point or directory.is_symlink):
        return []
    kind = "a mount point" if directory.is_mount_point else "a symbolic link"
    return [
        Refusal(
            "data-dir",
            node.name,
            f"{node.name}: data_dir {path} is {kind}, which cannot be renamed into place",
            f"Use a directory below it, such as {path}/data, as postgres.data_dir.",
        )
    ]


def _check_directory(node: Node, host: HostFacts) -> list[Refusal]:
    path, directory = node.postgres.data_dir, host.directory
    if refusals := _check_renaming(node, host):
        return refusals
    if directory.state not in (DirectoryState.ABSENT, DirectoryState.EMPTY):
        names = ", ".join(directory.content) or "files"
        return [
            Refusal(
                "data-dir-not-empty",
                node.name,
                f"{node.name}: data_dir {path} is not empty and holds no PostgreSQL cluster ({names})",
                "Move what stands there away, or choose another postgres.data_dir.",
            )
        ]
    if not directory.can_create:
        return [
            Refusal(
                "data-dir-parent",
                node.name,
                f"{node.name}: {node.postgres.os_user} may not create files beside {path}",
                f"Make the parent directory writable: `install -d -o {node.postgres.os_user} "
                f"{shlex.quote(path.rpartition('/')[0] or '/')}` as root, or choose another postgres.data_dir.",
            )
        ]
    return []


def _check_staging(situation: Situation, node: Node, host: HostFacts) -> list[Refusal]:
    staging = host.staging
    if staging is None:
        return []
    identifier = situation.facts.system_identifier
    foreign = staging.system_identifier is not None and identifier not in (None, staging.system_identifier)
    if staging.run is not None and not foreign:
        return []
    return [
        Refusal(
            "staging-foreign",
            node.name,
            f"{node.name}: {node.postgres.data_dir}.replctl-new is in the way and was not made for this cluster",
            "Look at it and move it away by hand; replctl deletes only what it made itself.",
        )
    ]


def _check_version(node: Node, host: HostFacts) -> list[Refusal]:
    wanted = node.postgres.version
    if host.bin_dir is None or host.major is None:
        where = node.postgres.bin_dir or "the usual places"
        return [
            Refusal(
                "bin-dir",
                node.name,
                f"{node.name}: no PostgreSQL server programs in {where}",
                "Install PostgreSQL on the node, or set postgres.bin_dir to the directory that holds `postgres` and "
                "`pg_ctl`" + (f" (seen on the host: {', '.join(host.other_majors)})." if host.other_majors else "."),
            )
        ]
    if wanted is not None and host.major != wanted:
        return [
            Refusal(
                "version",
                node.name,
                f"{node.name}: {host.bin_dir} is PostgreSQL {host.major}, the inventory says {wanted}",
                "Mend postgres.version or postgres.bin_dir.",
            )
        ]
    if host.major not in SUPPORTED:
        return [
            Refusal(
                "version",
                node.name,
                f"{node.name}: PostgreSQL {host.major} in {host.bin_dir} is not supported",
                f"Use PostgreSQL {SUPPORTED.start} to {SUPPORTED[-1]}.",
            )
        ]
    if wanted is None and node.postgres.bin_dir is None and host.other_majors:
        return [
            Refusal(
                "version-ambiguous",
                node.name,
                f"{node.name}: several PostgreSQL versions are installed: "
                f"{', '.join((host.bin_dir, *host.other_majors))}",
                "Say which one with postgres.version.",
            )
        ]
    return []


def _check_port(node: Node, host: HostFacts) -> list[Refusal]:
    port = node.postgres.port
    if not host.port_in_use:
        return []
    theirs = next((cluster for cluster in host.debian_clusters if cluster.port == port), None)
    if theirs:
        hint = (
            f"If the distribution's own cluster {theirs} is empty, remove it: "
            f"`pg_dropcluster --stop {theirs.version} {theirs.name}`; else choose another postgres.port."
        )
    else:
        hint = "Stop what listens there, or choose another postgres.port."
    return [Refusal("port-in-use", node.name, f"{node.name}: something already listens on port {port}", hint)]
