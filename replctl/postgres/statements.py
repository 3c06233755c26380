"""The SQL that observes a server. Every statement is literal; names come in as parameters."""

from __future__ import annotations

from typing import Final, LiteralString

OBSERVED_SETTINGS: Final = (
    "archive_mode",
    "cluster_name",
    "config_file",
    "default_transaction_read_only",
    "fsync",
    "full_page_writes",
    "hba_file",
    "hot_standby",
    "listen_addresses",
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_slot_wal_keep_size",
    "max_wal_senders",
    "max_wal_size",
    "max_worker_processes",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "recovery_min_apply_delay",
    "recovery_target_timeline",
    "restore_command",
    "synchronous_standby_names",
    "unix_socket_directories",
    "wal_level",
    "wal_log_hints",
    "wal_segment_size",
    "wal_sender_timeout",
)

SETTINGS: Final[LiteralString] = """
select name, setting, source, sourcefile, pending_restart
  from pg_settings where name = any(%(settings)s) or pending_restart
"""

# A password that has expired lets nobody in, as if the role had no LOGIN; nor does CONNECTION LIMIT 0.
ROLES: Final[LiteralString] = """
select rolname as name, rolconnlimit = 0 as shut, rolsuper as superuser,
       rolcanlogin and coalesce(rolvaliduntil > now(), true) and (rolsuper or rolconnlimit <> 0) as can_login,
       rolreplication as replication, rolpassword as verifier
  from pg_authid where rolname = any(%(roles)s)
"""

# The one alone: the name of another one may be in an encoding that nobody knows (SQL_ASCII).
DATABASES: Final[LiteralString] = """
select datname as name, pg_get_userbyid(datdba) as owner, datallowconn as open
  from pg_database where datname = %(database)s
"""

# A rule that is in use all the same has its fields beside the error, such as a hostssl rule without ssl.
HBA_ERRORS: Final[LiteralString] = """
select line_number, error from pg_hba_file_rules where error is not null and type is null order by line_number
"""

# What pg_rewind calls on its source (PostgreSQL docs, pg_rewind, Notes).
REWIND_GRANTED: Final[LiteralString] = """
select coalesce(bool_and(has_function_privilege(r.oid, f.name, 'execute')), false) as granted
  from pg_roles r, unnest(array['pg_ls_dir(text, boolean, boolean)', 'pg_stat_file(text, boolean)',
       'pg_read_binary_file(text)', 'pg_read_binary_file(text, bigint, bigint, boolean)']) as f(name)
 where r.rolname = %(role)s
"""

# One statement: each that goes through SSH on its own costs both ends more than the server's answer does.
SERVER: Final[LiteralString] = (
    """
select current_setting('server_version_num')::int as version_num,
       current_setting('server_version') as version,
       (select system_identifier::text from pg_control_system()) as system_identifier,
       pg_is_in_recovery() as in_recovery,
       current_setting('data_directory') as data_directory,
       (select count(*) from pg_prepared_xacts) as prepared_transactions,
       array(select spcname from pg_tablespace where spcname not in ('pg_default', 'pg_global')) as tablespaces,
       case when current_setting('archive_mode') = 'off' then 0
            else (select count(*) from pg_ls_archive_statusdir() where name like '%%.ready') end as archive_backlog,
       (select coalesce(json_agg(r), '[]') from ("""
    + SETTINGS
    + """) r) as settings,
       (select coalesce(json_agg(r), '[]') from ("""
    + ROLES
    + """) r) as roles,
       (select coalesce(json_agg(r), '[]') from ("""
    + DATABASES
    + """) r) as databases,
       (select coalesce(json_agg(r), '[]') from ("""
    + HBA_ERRORS
    + """) r) as hba_errors,
       ("""
    + REWIND_GRANTED
    + """) as rewind_granted
"""
)

_FOLLOWERS: Final[LiteralString] = """
       coalesce((select json_agg(w) from (
           select s.pid, application_name, host(client_addr) as client_addr, state, sent_lsn::text as sent,
                  flush_lsn::text as flushed, replay_lsn::text as replayed,
                  extract(epoch from replay_lag) * 1000 as replay_lag_ms,
                  extract(epoch from clock_timestamp() - reply_time) * 1000 as reply_age_ms,
                  sync_state, slot_name as slot
             from pg_stat_replication s
             left join pg_replication_slots r on r.active_pid = s.pid) w), '[]') as walsenders,
       coalesce((select json_agg(s) from (
           select slot_name as name, slot_type as kind, active, temporary, active_pid, restart_lsn::text as restart_lsn,
                  wal_status, safe_wal_size as safe_wal_bytes,
                  (case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                        else pg_current_wal_lsn() end - restart_lsn)::bigint as retained_bytes
             from pg_replication_slots order by slot_name) s), '[]') as slots
"""

# On a primary the timeline is the one of the segment being written; pg_control's is the last checkpoint's.
# Walsenders and slots are read in the same statement as the position, so that their lag is of one moment, and that a
# watched screen asks each server one thing a look.
# A segment's time is when it was filled: what was written since the youngest one that has a minute tells the pace of
# now, without a second look. With none so old, or on an idle primary, it is the mean of a shorter or a longer time.
PRIMARY: Final[LiteralString] = (
    """
with here as (select pg_current_wal_lsn() as lsn, pg_size_bytes(current_setting('wal_segment_size')) as segment),
filled as (
    select lsn - '0/0'::pg_lsn
             - ((('x' || substr(name, 9, 8))::bit(32)::bigint << 32)
                + (('x' || substr(name, 17, 8))::bit(32)::bigint + 1) * segment) as bytes,
           extract(epoch from statement_timestamp() - modification) as seconds
      from here, pg_ls_waldir() where name ~ '^[0-9A-F]{24}$')
select lsn::text as current, extract(epoch from clock_timestamp()) as clock_s,
       ('x' || substr(pg_walfile_name(lsn), 1, 8))::bit(32)::int as timeline,
       (select round(bytes / greatest(seconds, 1))::bigint from filled where bytes >= 0
         order by seconds < 60, abs(seconds - 60), bytes desc limit 1) as wal_bytes_per_s,"""
    + _FOLLOWERS
    + "  from here"
)

# pg_control has the timeline of the last restartpoint, which may be long ago, and without a walreceiver nobody else
# tells it by SQL; but a standby that followed a switch has segments of the new timeline. The history file alone says
# nothing: a walreceiver fetches it also when its standby has gone past the fork and can never follow.
# After a restart pg_last_wal_receive_lsn() is the start of a segment, behind what was replayed.
REPLICA: Final[LiteralString] = (
    """
select extract(epoch from clock_timestamp()) as clock_s,
       greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text as received,
       pg_last_wal_replay_lsn()::text as replayed,
       pg_get_wal_replay_pause_state() as paused,
       extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000 as last_replay_age_ms,
       greatest((select timeline_id from pg_control_checkpoint()),
                (select min_recovery_end_timeline from pg_control_recovery()),
                (select received_tli from pg_stat_wal_receiver),
                (select max(('x' || left(name, 8))::bit(32)::int) from pg_ls_dir('pg_wal') as name
                  where name ~ '^[0-9A-F]{24}$')) as timeline,
       (select row_to_json(w) from (
           select status, sender_host, sender_port, slot_name as slot, flushed_lsn::text as flushed,
                  received_tli as timeline from pg_stat_wal_receiver) w) as receiver,"""
    + _FOLLOWERS
)

# Of a session that was there at the reload, this is the moment at which the session itself has read the files.
CONF_LOADED: Final[LiteralString] = "select pg_conf_load_time() as at"

PENDING_RESTART: Final[LiteralString] = "select name from pg_settings where pending_restart order by name"

WAL_SEGMENTS: Final[LiteralString] = "select name from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$' order by name"
CLUSTER_BYTES: Final[LiteralString] = "select sum(pg_database_size(oid))::bigint as bytes from pg_database"

# The view reads the files anew. A setting that waits for a restart has an error there.
FILE_ENTRIES: Final[LiteralString] = """
select lower(name) as name, coalesce(setting, '') as value, sourcefile as file, sourceline as line
  from pg_file_settings where name is not null order by seqno
"""

LIVE_SETTINGS: Final[LiteralString] = """
select lower(name) as name, setting as value, current_setting(name) as shown, unit, vartype as kind, context, source,
       coalesce(boot_val, '') as "default", pending_restart
  from pg_settings where context <> 'internal'
"""

# postgresql.auto.conf comes with a copy; the files beside it do not always.
FILE_SETTINGS: Final[LiteralString] = """
select distinct on (name) name, setting from pg_file_settings
 where error is null and name is not null and sourcefile !~ 'postgresql[.]auto[.]conf$' order by name, seqno desc
"""

# datcollversion and its actual version are of PostgreSQL 15 and later (PostgreSQL docs, 54.15).
CHECKUP: Final[LiteralString] = """
select extract(epoch from clock_timestamp()) as clock_s,
       (select row_to_json(a) from (
           select archived_count as archived, coalesce(nullif(current_setting('archive_library', true), ''),
                  current_setting('archive_command')) as command,
                  case when last_failed_time > coalesce(last_archived_time, '-infinity') then last_failed_wal
                   end as failing_wal
             from pg_stat_archiver where current_setting('archive_mode') <> 'off') a) as archiver,
       (select wait_event from pg_stat_activity where backend_type = 'startup') as replay_waits_for,
       (select row_to_json(s) from (
           select pid, usename as user, extract(epoch from clock_timestamp() - xact_start) as seconds
             from pg_stat_activity
            where backend_type = 'client backend' and pid <> pg_backend_pid() and xact_start is not null
            order by xact_start limit 1) s) as oldest_query,
       (select coalesce(sum(confl_tablespace + confl_lock + confl_snapshot + confl_bufferpin + confl_deadlock), 0)
          from pg_stat_database_conflicts)::bigint as conflicts,
       (select coalesce(json_object_agg(name, setting), '{}') from pg_settings
         where name in ('recovery_target', 'recovery_target_name', 'recovery_target_time', 'recovery_target_xid',
                        'recovery_target_lsn', 'restore_command', 'recovery_end_command', 'archive_cleanup_command')
           and setting <> '') as recovery_settings,
       array(select datname from pg_database
              where datallowconn and datcollversion is not null
                and datcollversion <> pg_database_collation_actual_version(oid)) as collations
"""
