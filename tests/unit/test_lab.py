"""The lab without servers: which node is the primary, what is written, and what may be deleted."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from replctl.inventory import parse_inventory
from replctl.lab.commands import choose_primary
from replctl.lab.folder import MARKER, Lab, claimed_ports, lab_folder, locked, owns_storage, read_lab
from replctl.lab.installation import Account
from replctl.lab.make import FIRST_PORT, Chosen, free_ports, inventory_text, make_lab
from replctl.lab.removal import remove_folder, remove_lab
from replctl.model.errors import InventoryError, RefusedError, ReplctlError
from tests.unit.builders import a_cluster

BIN_DIR = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab in which nothing runs."""
    chosen = Chosen(Account("postgres", os.getuid(), os.getgid()), BIN_DIR, copy=False)
    lab = make_lab(tmp_path, 3, chosen)
    yield lab
    if read_lab(tmp_path) == lab:
        remove_lab(lab)


def test_the_running_primary_is_the_primary() -> None:
    _, facts = a_cluster().stopped("db1").primary("db2").build()
    assert choose_primary(facts) == "db2"


def test_after_a_reboot_the_last_primary_is_the_primary() -> None:
    _, facts = a_cluster().stopped("db1", standby=True).stopped("db2", standby=False).build()
    assert choose_primary(facts) == "db2"


def test_of_two_stopped_primaries_the_later_timeline_counts() -> None:
    _, facts = a_cluster().stopped("db1", timeline=8).stopped("db2", timeline=9).build()
    assert choose_primary(facts) == "db2"


def test_without_any_the_first_node_becomes_the_primary() -> None:
    _, facts = a_cluster().absent("db1").absent("db2").build()
    assert choose_primary(facts) == "db1"


def test_the_marker_says_what_was_made(lab: Lab) -> None:
    assert read_lab(lab.folder) == lab
    assert owns_storage(lab)
    assert lab.storage.stat().st_mode & 0o777 == 0o711
    assert lab.nodes.stat().st_mode & 0o777 == 0o700


def test_the_inventory_is_one_and_the_passwords_are_private(lab: Lab) -> None:
    inventory = parse_inventory(lab.inventory.read_text(), lab.inventory)
    assert {name: node.postgres.port for name, node in inventory.nodes.items()} == lab.ports
    files = [lab.inventory, lab.folder / MARKER, *lab.secrets.iterdir()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert len({path.read_text() for path in lab.secrets.iterdir()}) == 3


def test_a_path_with_every_kind_of_character_survives_the_inventory() -> None:
    bin_dir = Path("/opt/it's quoted: {x} #1 ü/bin")
    lab = Lab(Path("lab"), "0", Path("/var/tmp/replctl-lab-000000000000"), "postgres", bin_dir, {"db1": 1, "db2": 2})
    inventory = parse_inventory(inventory_text(lab), lab.inventory)
    assert {node.postgres.bin_dir for node in inventory.nodes.values()} == {str(bin_dir)}


def test_a_lab_is_removed_with_all_that_is_in_it(lab: Lab) -> None:
    (lab.folder / "app.env").write_text("x")
    (lab.folder / ".app.env.abc.replctl-new").write_text("x")
    (lab.folder / ".replctl").mkdir()
    assert remove_lab(lab) == 0
    assert remove_folder(lab.folder) == ()
    assert not lab.storage.exists()
    assert not lab.folder.exists()


def test_a_file_of_the_operators_stays(lab: Lab) -> None:
    (lab.folder / "notes.sql").write_text("select 1")
    remove_lab(lab)
    assert remove_folder(lab.folder) == ("notes.sql",)


def test_storage_of_another_lab_is_not_removed(lab: Lab) -> None:
    marker = lab.storage / MARKER
    was = marker.read_text()
    marker.unlink()
    marker.write_text(json.dumps({"replctl_lab": 1, "id": "another"}))
    marker.chmod(0o600)
    with pytest.raises(ReplctlError, match="cannot remove"):
        remove_lab(lab)
    assert lab.nodes.is_dir()
    assert marker.is_file()
    marker.write_text(was)


def test_a_half_made_storage_is_removed(lab: Lab) -> None:
    lab.nodes.rmdir()
    (lab.storage / MARKER).write_text("{")
    remove_lab(lab)
    assert not lab.storage.exists()


@pytest.mark.parametrize("storage", ["/", "/var/tmp", "/var/tmp/replctl-lab-0", "/home/replctl-lab-000000000000"])
def test_a_marker_that_names_another_folder_is_refused(tmp_path: Path, storage: str) -> None:
    said = {"replctl_lab": 1, "id": "0", "storage": storage, "os_user": "postgres", "bin_dir": "/b", "ports": {}}
    (tmp_path / MARKER).write_text(json.dumps(said))
    with pytest.raises(InventoryError, match=r"no marker of a lab"):
        read_lab(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"replctl_lab": 2}'])
def test_a_marker_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MARKER).write_text(text)
    with pytest.raises(InventoryError, match=r"no marker of a lab"):
        read_lab(tmp_path)


def test_a_marker_that_others_can_write_is_refused(lab: Lab) -> None:
    (lab.folder / MARKER).chmod(0o666)
    with pytest.raises(InventoryError, match="written by other users"):
        read_lab(lab.folder)
    (lab.folder / MARKER).chmod(0o600)


def test_ports_that_are_taken_are_left_alone() -> None:
    taken = free_ports(1)[0]
    with socket.create_server(("127.0.0.1", taken)):
        found = free_ports(3)
    assert taken not in found
    assert len(set(found)) == 3
    assert min(found) >= FIRST_PORT


def test_ports_of_a_lab_that_does_not_listen_yet_are_left_alone(lab: Lab) -> None:
    """Two labs that start at the same moment, and one that is stopped."""
    assert set(lab.ports.values()).isdisjoint(free_ports(3))
    assert set(lab.ports.values()) <= claimed_ports()
    moved = (lab.folder / MARKER).rename(lab.folder / "moved")
    assert set(lab.ports.values()).isdisjoint(claimed_ports()), "nobody comes back for them"
    moved.rename(lab.folder / MARKER)


def test_one_lab_command_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(RefusedError, match="another lab command"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_the_folder_is_the_named_one_or_this_one_or_the_default(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lab_folder(Path("other")) == Path("other")
    monkeypatch.chdir(lab.folder)
    assert lab_folder(None) == Path()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert lab_folder(None) == Path("replctl-lab")
