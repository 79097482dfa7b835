with measured as (

    select {{ utc('current_timestamp') }} as measured_at

),

runs as (

    select
        connection,
        audience,
        sync,
        max(started_at) as last_run_at,
        {{ latest_value('status', 'started_at', 'run') }} as last_status,
        max(started_at) filter (where status = 'ok') as last_ok_at,
        max(snapshot_at) filter (where status = 'ok') as snapshot_at
    from {{ ref('sync_runs') }}
    group by connection, audience, sync

),

final as (

    select
        runs.connection,
        runs.audience,
        runs.sync,
        runs.last_run_at,
        runs.last_status,
        runs.last_ok_at,
        runs.snapshot_at,
        {{ seconds_between('runs.snapshot_at', 'measured.measured_at') }} as age_seconds,
        measured.measured_at
    from runs
    cross join measured

)

select * from final
