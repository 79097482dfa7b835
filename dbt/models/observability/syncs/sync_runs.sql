{%- set columns = {
    'connection': 'varchar', 'audience': 'varchar', 'sync': 'varchar', 'run': 'varchar', 'mode': 'varchar',
    'snapshot': 'varchar', 'status': 'varchar', 'message': 'varchar', 'started_at': 'timestamp',
    'seconds': 'double', 'waited': 'double', 'rows': 'bigint', 'delivered': 'bigint', 'unchanged': 'bigint',
    'filtered': 'bigint', 'withheld': 'bigint', 'rejected': 'bigint', 'deferred': 'bigint', 'added': 'bigint',
    'updated': 'bigint', 'removes': 'bigint', 'removed': 'bigint', 'removes_rejected': 'bigint',
    'removes_deferred': 'bigint', 'merged': 'bigint', 'planned_adds': 'bigint', 'planned_updates': 'bigint',
    'held_before': 'bigint', 'requests': 'bigint', 'retries': 'bigint', 'reasons': 'json'
} %}

with reports as (

    {{ ledger_rows('runs', columns) }}

),

final as (

    select
        connection,
        audience,
        sync,
        run,
        started_at,
        cast(started_at as date) as started_on,
        mode,
        status,
        message,
        snapshot,
        {{ moment_of('snapshot') }} as snapshot_at,
        seconds,
        waited,
        rows as rows_read,
        delivered,
        unchanged,
        filtered,
        withheld,
        rejected,
        deferred,
        added,
        updated,
        removes,
        removed,
        removes_rejected,
        removes_deferred,
        merged,
        planned_adds,
        planned_updates,
        held_before,
        requests,
        retries,
        reasons
    from reports
    -- a line that a kill tore, or that is being written
    where run is not null and reasons is not null

)

select * from final
