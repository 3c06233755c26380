"""The application's hosts: every plan that writes the env file also puts it there, and tells where the sessions are."""

from __future__ import annotations

from collections.abc import Sequence

from replctl.model.actions import CountAppSessions, EndAppSessions, PublishEnv, PushEnv
from replctl.model.inventory import AppHost
from replctl.model.plan import OnFailure, Stage, Step
from replctl.model.values import NodeName

Lanes = tuple[tuple[Step, ...], ...]


def with_pushes(app_hosts: Sequence[AppHost], stages: Sequence[Stage]) -> list[Stage]:
    """The stages, with a push to every host of the application after each that writes the env file.

    The pushes run beside the independent lanes that come next, if such come: after a promotion the application learns
    of the new primary while the other nodes are still on their way to it.
    """
    if not app_hosts or not any(_publishes(stage) for stage in stages) or any(_pushes(stage) for stage in stages):
        return list(stages)
    found: list[Stage] = []
    waiting: Lanes = ()
    for stage in stages:
        if waiting and stage.on_failure is OnFailure.GO_ON:
            found.append(Stage((*stage.lanes, *waiting), OnFailure.GO_ON))
        else:
            found += [*_beside(waiting), stage]
        waiting = _push_lanes(app_hosts) if _publishes(stage) else ()
    return [*found, *_beside(waiting), *_beside(((_count(),),))]


def end_stale_sessions(app_hosts: Sequence[AppHost], demoted: NodeName) -> Stage:
    """After the first push, which lists the new primary alone, and before the demoted node is listed as a replica."""
    end = Step(
        f"end-sessions:{demoted}",
        demoted,
        EndAppSessions(),
        f"what the application opened on {demoted} by an older file is read-only there",
    )
    return Stage(((end,),) if app_hosts else (), OnFailure.GO_ON)


def _publishes(stage: Stage) -> bool:
    return any(isinstance(step.action, PublishEnv) for lane in stage.lanes for step in lane)


def _pushes(stage: Stage) -> bool:
    return any(isinstance(step.action, PushEnv) for lane in stage.lanes for step in lane)


def _beside(lanes: Lanes) -> list[Stage]:
    return [Stage(lanes, OnFailure.GO_ON)] if lanes else []


def _push_lanes(app_hosts: Sequence[AppHost]) -> Lanes:
    """None of them is undone, and none that fails takes back what was done on the nodes."""
    return tuple(
        (
            Step(
                f"push:{host.label}",
                None,
                PushEnv(host.label),
                f"the application on {host.ssh_host} has a file of its own",
                point_of_no_return=True,
            ),
        )
        for host in app_hosts
    )


def _count() -> Step:
    return Step("sessions", None, CountAppSessions(), "they show whether the application has read the file")
