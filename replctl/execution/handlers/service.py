"""What the node's service manager is told: to start its unit, and whether to start it with the host."""

from __future__ import annotations

from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.model.actions import Autostart, SetAutostart
from replctl.model.errors import CommandFailedError
from replctl.model.inventory import ServiceManager
from replctl.model.values import NodeName
from replctl.postgres import starting
from replctl.remote.printable import one_line

SYSTEMCTL_SECONDS = 30.0
START_WORDS = {Autostart.ON: "auto", Autostart.OFF: "manual"}
"""start.conf's; ``disabled`` would keep the operator from starting it by hand."""
SUDOERS = "Give the SSH user this line in sudoers"
VERBS = {Autostart.ON: "enable", Autostart.OFF: "disable"}


def set_autostart(context: Context, action: SetAutostart) -> Effect:
    """postgresql-common has a file for it, which the OS user may write; other units are enabled and disabled."""
    layout = context.layout()
    if layout.service is ServiceManager.PG_CTL:
        return Unchanged("no service starts it")
    if layout.debian is not None:
        word = START_WORDS[action.wanted]
        command = starting.write_start_conf(layout.config_dir, word)
        context.runner().run(command, timeout=SYSTEMCTL_SECONDS)
        return Changed(f"start.conf: {word}")
    run_systemctl(context, context.name, VERBS[action.wanted], seconds=SYSTEMCTL_SECONDS)
    return Changed(f"{layout.unit} {VERBS[action.wanted]}d")


def run_systemctl(context: Context, name: NodeName, verb: str, *, seconds: float) -> None:
    """systemctl on the node's unit. Raises CommandFailedError with the sudoers line that is missing, if it is that."""
    unit = context.layout(name).unit or ""
    runner = context.runner(name).as_login_user()
    result = runner.run(starting.systemctl(verb, unit), timeout=seconds, check=False)
    if result.status == 0:
        return
    allowed = runner.run(starting.may_systemctl(verb, unit), timeout=SYSTEMCTL_SECONDS, check=False).status == 0
    hint = (
        f"See `systemctl status {unit}` on {name}, and run the same command again."
        if allowed
        else f"{SUDOERS} on {name}: `NOPASSWD: /usr/bin/systemctl {verb} {unit}.service`."
    )
    raise CommandFailedError(
        f"{name}: systemctl {verb} {unit} failed: {one_line(result.error_text) or f'status {result.status}'}",
        hint=hint,
        node=name,
        status=result.status,
        stderr=result.error_text,
    )
