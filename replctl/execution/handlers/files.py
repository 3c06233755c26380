"""Files in and beside a data directory: configuration, passfile, staging."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.model.actions import (
    ConfigFile,
    InstallStaging,
    Place,
    RemoveConfig,
    RemovePassfile,
    RemoveStaging,
    SetAside,
    WriteConfig,
    WritePassfile,
)
from replctl.model.errors import CommandFailedError, RefusedError, ReplctlError
from replctl.model.secret import Secret
from replctl.postgres import scripts, statements
from replctl.postgres.adopted import CONF
from replctl.postgres.conninfo import passfile_path, passfile_text
from replctl.postgres.ownership import MARK
from replctl.postgres.paths import aside_prefix, directory_of, rewind_dir, staging_dir, staging_marker
from replctl.postgres.render import POSTGRESQL_CONF
from replctl.remote.ports import CommandResult
from replctl.remote.printable import one_line

FILE_SECONDS = 30.0
"""For one small file operation on a host, in seconds."""
REMOVE_SECONDS = 600.0
"""For the deletion of a staging directory that may hold a whole base backup, in seconds."""
NEW = ".replctl-new"


def write_config(context: Context, action: WriteConfig) -> Effect:
    """Files are written beside their place, read by PostgreSQL, and only then renamed over the old ones.

    A server that runs is told in the same breath: after a run that ended in between, nothing would tell that files
    which say what they should have never been read.
    """
    layout, data_dir = context.layout(), directory_of(context.node, action.place)
    directory = layout.config_dir if layout.is_split else data_dir
    held = {file.name: _text(context, f"{directory}/{file.name}") for file in action.files}
    changed = [file for file in action.files if held[file.name] != file.text]
    if not changed:
        return Unchanged("the files say so already")
    if layout.is_split:
        _run(context, scripts.make_config_dir(directory))
    _prepare(context, directory, data_dir, changed)
    _run(context, scripts.install_config(data_dir, [f"{directory}/{file.name}" for file in changed], NEW))
    if action.place is Place.LIVE:
        _check_hba(context, directory, data_dir, tuple(ConfigFile(file.name, held[file.name]) for file in changed))
    return Changed(", ".join(file.name for file in changed))


def remove_config(context: Context, action: RemoveConfig) -> Effect:
    """Of a configuration outside of the data directory, what carries our mark."""
    _run(context, scripts.unmake_config_dir(context.layout().config_dir, MARK))
    return Changed()


def _prepare(context: Context, directory: str, data_dir: str, files: Sequence[ConfigFile]) -> None:
    """The new files beside the old ones, and nothing of them if one cannot be written or is not accepted."""
    try:
        for file in files:
            _write(context, f"{directory}/{file.name}{NEW}", _bytes(file.text))
            if file.name in (POSTGRESQL_CONF, CONF):
                _check(context, data_dir, directory, file.name)
    except ReplctlError:
        for file in files:
            _run(context, scripts.remove_file(f"{directory}/{file.name}{NEW}"))
        raise


def _check(context: Context, data_dir: str, directory: str, name: str) -> None:
    """postgresql.conf of an adopted node includes a replctl.conf that is not in its place yet: each is read alone."""
    try:
        _run(context, scripts.check_settings(context.bin_dir(), data_dir, f"{directory}/{name}{NEW}"))
    except CommandFailedError as error:
        raise RefusedError(
            f"{context.name}: PostgreSQL does not accept the rendered {name}: {error.stderr.strip()}",
            hint="Mend postgres.parameters in the inventory, or the template.",
            node=context.name,
            code="config-invalid",
        ) from error


def _check_hba(context: Context, directory: str, data_dir: str, old: tuple[ConfigFile, ...]) -> None:
    """A bad pg_hba.conf makes a reload a silent no-op; the server reads the file for this view without a reload."""
    with context.database() as database:
        bad = database.fetch(statements.HBA_ERRORS)
    if not bad:
        return
    for file in old:
        _write(context, f"{directory}/{file.name}{NEW}", _bytes(file.text))
    _run(context, scripts.install_config(data_dir, [f"{directory}/{file.name}" for file in old], NEW))
    raise RefusedError(
        f"{context.name}: PostgreSQL does not accept the rendered pg_hba.conf: line {bad[0]['line_number']}: "
        f"{bad[0]['error']}",
        hint="Mend the pg_hba.conf template; the old file was put back.",
        node=context.name,
        code="config-invalid",
    )


def put_back(context: Context, files: Iterable[ConfigFile]) -> None:
    """Files as they were before, each by a rename. Whether a server runs does not matter."""
    layout = context.layout()
    directory = layout.config_dir if layout.is_split else context.node.postgres.data_dir
    held = tuple(files)
    for file in held:
        _write(context, f"{directory}/{file.name}{NEW}", _bytes(file.text))
    paths = [f"{directory}/{file.name}" for file in held]
    _run(context, scripts.install_config(context.node.postgres.data_dir, paths, NEW))


def write_passfile(context: Context, action: WritePassfile) -> Effect:
    """The password goes by stdin into a file that only the OS user can read."""
    path = passfile_path(context.node)
    text = passfile_text(context.inventory, context.node, context.session.passwords.replication)
    same = context.runner().run(scripts.same_content(path), stdin=text, timeout=FILE_SECONDS, check=False)
    if same.status == 0:
        return Unchanged("it holds every peer already")
    _write(context, path, text)
    return Changed()


def remove_passfile(context: Context, action: RemovePassfile) -> Effect:
    """No password stays behind where a run is undone, or a node is given up."""
    _run(context, scripts.remove_file(passfile_path(context.node)))
    return Changed()


def begin_staging(context: Context) -> str:
    """Clear what an earlier run left, and mark the place as this run's. Returns the staging directory."""
    left = _marker(context)
    if left.run is not None:
        _clear_staging(context, left)
    directory, identifier = staging_dir(context.node), context.facts.system_identifier
    text = json.dumps({"run": context.session.run, "system_identifier": identifier})
    command = scripts.make_staging(directory, staging_marker(context.node))
    made = context.runner().run(command, stdin=text.encode() + b"\n", timeout=FILE_SECONDS, check=False)
    if made.status != 0:
        raise _not_made(context, made)
    return directory


def _not_made(context: Context, result: CommandResult) -> ReplctlError:
    if result.status == scripts.NOT_OURS:
        return _not_ours(context)
    path = staging_dir(context.node)
    return ReplctlError(
        f"{context.name}: {path} cannot be made: {one_line(result.error_text)}",
        hint=f"{context.node.postgres.os_user} must be able to make it on {context.name}.",
        node=context.name,
    )


def _not_ours(context: Context) -> ReplctlError:
    return ReplctlError(
        f"{context.name}: {staging_dir(context.node)} is none that replctl made",
        hint="Look at it and move it away by hand; replctl deletes only what it made itself.",
        node=context.name,
        code="staging-foreign",
    )


def remove_staging(context: Context, action: RemoveStaging) -> Effect:
    """Undo removes only what this run created."""
    marker = _marker(context)
    if marker.run != context.session.run:
        return Unchanged("there is no staging directory of this run")
    _clear_staging(context, marker)
    return Changed()


def _clear_staging(context: Context, marker: _Marker) -> None:
    """Delete a marked staging directory, after ending what still writes to it."""
    context.says("removing the staging directory")
    command = scripts.clear_staging(staging_marker(context.node), marker.text)
    path = staging_dir(context.node).encode() + b"\n"
    result = context.runner().run(command, stdin=path, timeout=REMOVE_SECONDS, check=False)
    if result.status == scripts.NOT_OURS:
        raise _not_ours(context)
    if result.status != 0:
        raise ReplctlError(
            f"{context.name}: {staging_dir(context.node)} cannot be removed: {one_line(result.error_text)}",
            hint=f"Mend that on {context.name}, and run the same command again.",
            node=context.name,
        )


def install_staging(context: Context, action: InstallStaging) -> Effect:
    """The rename that makes a finished directory the node's own."""
    node = context.node
    if context.layout().is_split:
        _run(context, scripts.remove_config(staging_dir(node)))
    command = scripts.install_staging(staging_dir(node), staging_marker(node), node.postgres.data_dir)
    _run(context, command)
    return Changed()


def set_aside(context: Context, action: SetAside) -> Effect:
    """Nothing is deleted: the operator looks at it and removes it, or puts it back."""
    node = context.node
    command = scripts.set_aside(node.postgres.data_dir, rewind_dir(node), aside_prefix(node))
    result = context.runner().run(command, timeout=FILE_SECONDS, check=False)
    if result.status == 0:
        return Changed(one_line(result.text))
    if result.status == scripts.GONE:
        return Unchanged("there is no data directory")
    reasons = {
        scripts.RUNS: "a server runs in it",
        scripts.NOT_OURS: f"it is a symbolic link, or does not belong to {node.postgres.os_user}",
    }
    why = reasons.get(result.status) or one_line(result.error_text)
    raise CommandFailedError(
        f"{context.name}: {node.postgres.data_dir} cannot be moved aside: {why}",
        hint=f"Mend that on {context.name}, and run the same command again.",
        node=context.name,
        status=result.status,
        stderr=result.error_text,
    )


@dataclass(frozen=True, slots=True)
class _Marker:
    """What the marker beside a staging directory says, and which run wrote it; None when it is no marker of ours."""

    text: str
    run: str | None


def _marker(context: Context) -> _Marker:
    text = _text(context, staging_marker(context.node)).rstrip("\n")
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return _Marker(text, None)
    run = cast("dict[str, object]", found).get("run") if isinstance(found, dict) else None
    return _Marker(text, run if isinstance(run, str) else None)


def _text(context: Context, path: str) -> str:
    return context.runner().run(scripts.read_file(path), timeout=FILE_SECONDS).stdout.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    """Of a file that may be somebody else's, in an encoding of their own."""
    return text.encode("utf-8", "surrogateescape")


def _write(context: Context, path: str, content: bytes | Secret) -> None:
    result = context.runner().run(scripts.write_file(path), stdin=content, timeout=FILE_SECONDS, check=False)
    if result.status != 0:
        raise ReplctlError(
            f"{context.name}: {path} cannot be written: {one_line(result.error_text)}",
            hint=f"Mend that on {context.name}, and run the same command again.",
            node=context.name,
        )


def _run(context: Context, command: tuple[str, ...]) -> None:
    context.runner().run(command, timeout=FILE_SECONDS)
