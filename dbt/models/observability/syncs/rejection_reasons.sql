with told as (

    select
        connection,
        audience,
        sync,
        reason,
        count(distinct run) as runs,
        max(row_count) as most_rows,
        min(started_at) as first_seen_at,
        max(started_at) as last_seen_at
    from {{ ref('sync_reasons') }}
    where fate = 'rejected'
    group by connection, audience, sync, reason

),

still as (

    select
        sync,
        reason,
        count(*) as open_rows,
        max(attempts) as most_attempts
    from {{ ref('sync_rejections') }}
    group by sync, reason

),

final as (

    select
        told.connection,
        told.audience,
        told.sync,
        told.reason,
        coalesce(still.open_rows, 0) as open_rows,
        still.most_attempts,
        told.runs,
        told.most_rows,
        told.first_seen_at,
        told.last_seen_at
    from told
    left join still on told.sync = still.sync and told.reason = still.reason

)

select * from final
