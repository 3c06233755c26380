"""Which handler carries out which kind of action."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from replctl.execution.context import Context, Effect
from replctl.execution.handlers import (
    app_hosts,
    backup,
    failover,
    files,
    publish,
    readiness,
    rejoin,
    roles,
    server,
    service,
    slots,
    standby,
    switchover,
    synchronous,
)
from replctl.model import actions, repair_actions

HANDLERS: Final[dict[type, Callable[[Context, Any], Effect]]] = {
    actions.InitCluster: server.init_cluster,
    actions.WriteConfig: files.write_config,
    actions.RemoveConfig: files.remove_config,
    actions.SetAutostart: service.set_autostart,
    actions.InstallStaging: files.install_staging,
    actions.RemoveStaging: files.remove_staging,
    actions.StartPostgres: server.start_postgres,
    actions.StopPostgres: server.stop_postgres,
    actions.StopForSwitchover: server.stop_for_switchover,
    actions.ReviveOldPrimary: switchover.revive_old_primary,
    actions.ReloadConfig: server.reload_config,
    actions.StartWithConfig: server.start_with_config,
    actions.AwaitReplayed: standby.await_replayed,
    actions.CreateRole: roles.create_role,
    actions.SetPassword: roles.set_password,
    actions.RestorePassword: roles.restore_password,
    actions.AwaitPassword: roles.await_password,
    actions.CreateDatabase: roles.create_database,
    actions.GrantRewind: roles.grant_rewind,
    actions.CreateSlot: slots.create_slot,
    actions.DropSlot: slots.drop_slot,
    actions.WritePassfile: files.write_passfile,
    actions.RemovePassfile: files.remove_passfile,
    actions.CheckLogin: backup.check_login,
    actions.BaseBackup: backup.base_backup,
    actions.ConfigureStandby: standby.configure_standby,
    actions.ForgetStandby: standby.forget_standby,
    actions.RepointStandby: standby.repoint_standby,
    actions.AwaitStreaming: standby.await_streaming,
    actions.SetSynchronous: synchronous.set_synchronous,
    actions.Checkpoint: server.checkpoint,
    actions.GetReadyToStop: readiness.get_ready_to_stop,
    actions.GetReadyToPromote: readiness.get_ready_to_promote,
    actions.DropStuckWalsenders: server.drop_stuck_walsenders,
    actions.ProveCaughtUp: switchover.prove_caught_up,
    actions.Promote: switchover.promote,
    actions.ProbeWrite: switchover.probe_write,
    actions.SetAside: files.set_aside,
    actions.FencePrimary: failover.fence_primary,
    actions.DetachStandby: failover.detach_standby,
    actions.ProveFurthest: failover.prove_furthest,
    actions.NoteFenceDebt: failover.note_fence_debt,
    actions.SettleFenceDebt: failover.settle_fence_debt,
    repair_actions.RecoverAlone: rejoin.recover_alone,
    repair_actions.KeepDivergedWal: rejoin.keep_diverged_wal,
    repair_actions.CheckRewind: rejoin.check_rewind,
    repair_actions.Rewind: rejoin.rewind,
    repair_actions.InstallRewound: rejoin.install_rewound,
    actions.PublishEnv: publish.publish_env,
    actions.PushEnv: app_hosts.push_env,
    actions.EndAppSessions: app_hosts.end_app_sessions,
    actions.CountAppSessions: app_hosts.count_app_sessions,
}


def carry_out(context: Context, action: actions.Action) -> Effect:
    """Do what the action says, unless its goal holds already. Raises ReplctlError."""
    return HANDLERS[type(action)](context, action)
