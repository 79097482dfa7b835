with loads as (

    select
        source_name,
        cast(sum(files) as bigint) as files,
        cast(sum(lines) as bigint) as lines,
        cast(sum(events) as bigint) as events,
        cast(sum(rejected) as bigint) as rejected,
        cast(sum(mapped_lines) as bigint) as mapped_lines,
        cast(sum(filtered_lines) as bigint) as filtered_lines,
        cast(sum(rejected_lines) as bigint) as rejected_lines,
        cast(sum(calls) as bigint) as calls,
        max(loaded_at) as last_loaded_at
    from {{ ref('obs_loads') }}
    group by source_name

),

staged as (

    select
        source_name,
        count(*) as staged_events,
        count(*) filter (where identifier_id is null) as without_profile
    from {{ ref('stg_events') }}
    group by source_name

),

open_rejections as (

    select
        source_name,
        count(*) as open_rejections
    from {{ ref('stg_rejected_events') }}
    group by source_name

),

final as (

    select
        loads.source_name,
        loads.files,
        loads.lines,
        loads.mapped_lines,
        loads.filtered_lines,
        loads.rejected_lines,
        loads.events,
        loads.rejected,
        loads.calls - loads.events as replayed,
        coalesce(open_rejections.open_rejections, 0) as open_rejections,
        coalesce(staged.staged_events, 0) as staged_events,
        loads.calls - coalesce(staged.staged_events, 0) as duplicates,
        coalesce(staged.without_profile, 0) as without_profile,
        loads.last_loaded_at
    from loads
    left join staged on loads.source_name = staged.source_name
    left join open_rejections on loads.source_name = open_rejections.source_name

)

select * from final
