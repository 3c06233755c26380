"""The first inventory of a cluster: the answers to a few questions as the text of the file. Touches no file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from replctl.inventory.problems import Problem, dotted
from replctl.inventory.rules import rule_problems
from replctl.inventory.validation import validate
from replctl.inventory.yaml_text import read_document
from replctl.model.inventory import ServiceManager

PASSWORDS = ("admin", "replication", "app")
"""The roles that have a password; each is kept in a file of this name."""
SECRETS = "secrets"
"""The folder of these files, beside the inventory."""

_TEXT = """\
# The inventory of one cluster, written by `replctl inventory init` and yours to change: inventory.example.yaml
# describes every key. The passwords are in secrets/ beside this file: keep them out of version control.
#
# Next:
#   replctl inventory check
#   replctl init-primary {primary} --dry-run
#   replctl init-primary {primary}
#   replctl add-replica --all

cluster: {cluster}

ssh:
  user: {ssh_user}

postgres:
  version: {version}
  data_dir: {data_dir}
  service: {service}
  # Settings of postgresql.conf; shared_buffers is often a quarter of a host's memory.
  #parameters: {{shared_buffers: 2GB}}
  # Networks from which the application connects, if it runs on other hosts than the nodes.
  #allow: [10.0.5.0/24]

admin: {{user: postgres, password: {{file: secrets/admin}}}}
replication: {{user: replicator, password: {{file: secrets/replication}}}}

app:
  database: {database}
  user: {app_user}
  password: {{file: secrets/app}}
  env_file: {env_file}

# Which node is the primary is observed, never written here.
nodes:{nodes}
"""
_NODES = ("nodes",)
_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class FirstNode:
    """A node by its name, and the address or name that the others connect to."""

    name: str
    host: str


@dataclass(frozen=True, slots=True)
class Answers:
    """What the questions were answered with, as it was typed. As it is made, it holds every default."""

    cluster: str = "main"
    version: str = "17"
    nodes: tuple[FirstNode, ...] = ()
    ssh_user: str = "postgres"
    service: str = ServiceManager.PG_CTL.value
    data_dir: str | None = None
    """None: where the packages of this version and service have it."""
    database: str = "appdb"
    app_user: str = "app"
    env_file: str = "app.env"

    @property
    def directory(self) -> str:
        """The data directory of every node: Debian's, and with systemd the RPMs'."""
        if self.data_dir is not None:
            return self.data_dir
        if self.service == ServiceManager.SYSTEMD:
            return f"/var/lib/pgsql/{self.version}/data"
        return f"/var/lib/postgresql/{self.version}/main"

    def with_node(self, text: str) -> Answers:
        """With one more node, given as ``NAME HOST``, ``NAME=HOST``, or the host alone. Raises ValueError."""
        words = text.replace("=", " ", 1).split()
        if not 1 <= len(words) <= 2:
            raise ValueError("a node is a host, or a name and a host")
        node = FirstNode(words[0] if len(words) == 2 else self.next_name, words[-1])
        if node.name in self.names:
            raise ValueError(f"{node.name} is another node already")
        return replace(self, nodes=(*self.nodes, node))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.nodes)

    @property
    def next_name(self) -> str:
        """The name of the next node, if it is given none: db1, db2, ..."""
        return next(name for name in _default_names() if name not in self.names)


def _default_names() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"db{number}"


def first_inventory(answers: Answers) -> str:
    """The text of the file. It can be parsed if the answers have no problems."""
    nodes = [f"\n  {_scalar(node.name)}: {{host: {_scalar(node.host)}}}" for node in answers.nodes]
    return _TEXT.format(
        primary=answers.nodes[0].name if answers.nodes else "db1",
        cluster=_scalar(answers.cluster),
        ssh_user=_scalar(answers.ssh_user),
        version=answers.version if _WHOLE_NUMBER.fullmatch(answers.version) else _scalar(answers.version),
        data_dir=_scalar(answers.directory),
        service=_scalar(answers.service),
        database=_scalar(answers.database),
        app_user=_scalar(answers.app_user),
        env_file=_scalar(answers.env_file),
        nodes="".join(nodes) or " {}",
    )


def problems_of(answers: Answers) -> tuple[str, ...]:
    """What the inventory's own parser says of the answers, each with its key. That no node is named yet is not among
    them."""
    document = read_document(first_inventory(answers))
    file, complaints = (None, ()) if document.root is None else validate(document.root)
    found: list[Problem] = [*document.problems, *complaints, *(rule_problems(file) if file else ())]
    first_of_each = {each.where: each for each in reversed(found) if answers.nodes or each.where != _NODES}
    return tuple(f"{dotted(each.where)} {each.text}".strip() for each in reversed(first_of_each.values()))


def _scalar(text: str) -> str:
    """``text`` as a value of the file, in quotes where it would be read as anything else without."""
    if read_document(f"{{key: {text}}}").root == {"key": text}:
        return text
    return '"' + "".join(_spelled(character) for character in text) + '"'


def _spelled(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"
