"""The lab's commands: `up` runs the very functions behind init-primary and add-replica."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from rich.text import Text

from replctl.cli import commands, reading
from replctl.cli.changing import ChangeOptions
from replctl.cli.exits import run_command
from replctl.cli.options import Output, StatusOutput, Tracing
from replctl.cli.signals import Interrupts, write_to_stderr
from replctl.cli.streams import open_console, show
from replctl.cli.text import escape
from replctl.lab.folder import MARKER, Lab, lab_folder, locked, need_lab, owns_storage, read_lab
from replctl.lab.make import Chosen, choose, is_empty, make_folder, make_lab
from replctl.lab.next_steps import next_steps
from replctl.lab.removal import remove_folder, remove_lab
from replctl.model.errors import ExitCode, RefusedError, ReplctlError, UsageError
from replctl.model.facts import ClusterFacts, Stopped
from replctl.model.values import NodeName

DEFAULT_NODES = 3


@dataclass(frozen=True, slots=True)
class Wishes:
    """What `lab up` was asked for; None is: as the lab that is there, or the default for a new one."""

    folder: Path | None
    nodes: int | None
    bin_dir: Path | None
    tracing: Tracing


def up(wishes: Wishes) -> ExitCode:
    """``lab up``."""
    folder = lab_folder(wishes.folder)

    def body() -> ExitCode:
        try:
            return _up(folder, wishes)
        except OSError as error:
            raise _file_system(folder, error) from error

    return run_command(body, state_dir=folder / ".replctl" if (folder / MARKER).is_file() else None)


def down(named: Path | None) -> ExitCode:
    """``lab down``."""
    folder = lab_folder(named)

    def body() -> ExitCode:
        try:
            return _down(folder)
        except OSError as error:
            raise _file_system(folder, error) from error

    return run_command(body)


def status(named: Path | None, output: StatusOutput, tracing: Tracing) -> ExitCode:
    """``lab status``: the status of the lab's inventory."""
    folder = lab_folder(named)

    def body() -> ExitCode:
        lab = need_lab(folder)
        return reading.read_cluster(
            lab.inventory, tracing, lambda cluster: reading.show_status(cluster, output), output=output
        )

    return run_command(body)


def _up(folder: Path, wishes: Wishes) -> ExitCode:
    if read_lab(folder) is None and not is_empty(folder):
        raise _not_a_lab(folder, "Name a new or an empty folder by --dir.")
    with ExitStack() as stack:
        stack.enter_context(Interrupts())
        if not folder.exists():
            make_folder(folder)
            stack.callback(remove_folder, folder)  # stays where something is in it
        stack.enter_context(locked(folder))
        lab = _complete(folder, wishes)
        return _start(lab, wishes.tracing)


def _complete(folder: Path, wishes: Wishes) -> Lab:
    """The lab of a folder; made where it is missing, or where making it was interrupted."""
    lab = read_lab(folder)
    if lab is not None and lab.inventory.exists():
        _check(lab, wishes)
        return lab
    if lab is not None:
        remove_lab(lab)
    with ExitStack() as undo:
        undo.callback(_remove_remains, folder)
        chosen = choose(wishes.bin_dir)
        _announce(chosen)
        lab = make_lab(folder, wishes.nodes or DEFAULT_NODES, chosen)
        undo.pop_all()
    return lab


def _announce(chosen: Chosen) -> None:
    copied = ", copied to where that user can read it" if chosen.copy else ""
    said = f"the servers run as {chosen.account.name}, with the PostgreSQL of {chosen.bin_dir}{copied}"
    open_console(sys.stderr).print(Text(escape(said)), soft_wrap=True)


def _remove_remains(folder: Path) -> None:
    lab = read_lab(folder)
    if lab is not None:
        remove_lab(lab)


def _check(lab: Lab, wishes: Wishes) -> None:
    again = "Take it down first: `replctl lab down`."
    if wishes.nodes not in {None, len(lab.ports)}:
        raise UsageError(f"the lab in {lab.folder} has {len(lab.ports)} nodes", hint=again)
    if wishes.bin_dir is not None and wishes.bin_dir.absolute() != lab.bin_dir:
        raise UsageError(f"the lab in {lab.folder} runs the PostgreSQL of {lab.bin_dir}", hint=again)
    if not owns_storage(lab):
        raise RefusedError(f"the lab's servers are not in {lab.storage} any more", hint=again)


def _start(lab: Lab, tracing: Tracing) -> ExitCode:
    """As an operator would: the primary first, then every other node."""
    options = ChangeOptions(lab.inventory, dry_run=False, yes=True, output=Output.TABLE, tracing=tracing)
    stderr = open_console(sys.stderr)
    found: list[NodeName] = []

    def look(cluster: reading.Reading) -> ExitCode:
        found.append(choose_primary(cluster.facts()))
        return ExitCode.DONE

    def init_primary() -> ExitCode:
        return commands.init_primary(options, found[0], commands.adoption(adopt=False, restart=False))

    def add_replicas() -> ExitCode:
        return commands.add_replica(options, (), every=True, copying=commands.Copying())

    if code := reading.read_cluster(lab.inventory, tracing, look):
        return code
    for command, run in ((f"init-primary {found[0]}", init_primary), ("add-replica --all", add_replicas)):
        stderr.print(Text(f"\n$ replctl {command} -i {quote(str(lab.inventory))} --yes", "bold"), soft_wrap=True)
        if code := run():
            stderr.print(Text("the lab stays as it is: `replctl lab up` tries again, `replctl lab down` removes it"))
            return code
    show(open_console(sys.stdout), next_steps(lab, found[0]))
    return ExitCode.DONE


def choose_primary(facts: ClusterFacts) -> NodeName:
    """The node to make the primary: the running one; else, after a reboot, the one that was it last; else the first.

    Where that is not clear, init-primary refuses and says why.
    """
    if facts.primaries:
        return facts.primaries[0].node
    stopped = [seen for seen in facts.nodes.values() if isinstance(seen, Stopped) and not seen.host.standby_signal]
    if stopped:
        return max(stopped, key=lambda seen: (seen.control.timeline, seen.control.checkpoint)).node
    return next(iter(facts.nodes))


def _down(folder: Path) -> ExitCode:
    lab = read_lab(folder)
    if lab is None:
        if not is_empty(folder):
            raise _not_a_lab(folder, "Name the lab's folder by --dir.")
        sys.stdout.write(f"there is no lab in {folder}: nothing to do\n")
        return ExitCode.DONE
    shown, here = folder.absolute(), Path.cwd() == folder.resolve()
    with locked(folder), Interrupts(_wait_for_removal) as interrupts, interrupts.undoing():
        stopped, kept = remove_lab(lab), remove_folder(folder)
    sys.stdout.write(f"the lab is gone: {stopped} servers stopped, {lab.storage} removed\n")
    if kept:
        sys.stdout.write(f"note: {shown} stays, for what is not the lab's in it: {', '.join(map(escape, kept))}\n")
    elif here:
        sys.stdout.write("note: this shell stands in the folder that was removed: cd ..\n")
    return ExitCode.DONE


def _wait_for_removal(_: str) -> None:
    write_to_stderr("the lab is being removed; please wait")


def _not_a_lab(folder: Path, hint: str) -> RefusedError:
    return RefusedError(f"{folder} is not empty, and no lab's folder: it has no {MARKER}", hint=hint, code="no-lab")


def _file_system(folder: Path, error: OSError) -> ReplctlError:
    why = (error.strerror or "unknown reason").lower()
    return ReplctlError(
        f"the lab in {folder}: {error.filename or 'its folder'}: {why}",
        hint="Mend that and run the same command again; `replctl lab down` removes what is there.",
        code="lab-files",
    )
