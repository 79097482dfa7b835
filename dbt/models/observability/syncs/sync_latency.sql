-- Runs that had nothing to send take no time, and would hide those that had.
with sending as (

    select
        *,
        max(started_at) over (partition by sync) as latest
    from {{ ref('sync_runs') }}
    where requests > 0

),

final as (

    select
        connection,
        audience,
        sync,
        count(*) as runs,
        percentile_cont(0.5) within group (order by seconds) as seconds_p50,
        percentile_cont(0.95) within group (order by seconds) as seconds_p95,
        percentile_cont(0.99) within group (order by seconds) as seconds_p99,
        max(seconds) as seconds_max,
        percentile_cont(0.5) within group (order by waited) as waited_p50,
        percentile_cont(0.95) within group (order by waited) as waited_p95,
        max(waited) as waited_max,
        cast(sum(requests) as bigint) as requests,
        cast(sum(delivered + removed) as bigint) as rows_sent,
        max(latest) as last_sent_at
    from sending
    where started_at >= {{ hours_before('latest', 720) }}
    group by connection, audience, sync

)

select * from final
