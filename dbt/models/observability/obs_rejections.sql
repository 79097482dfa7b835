with final as (

    select
        source_name,
        reason,
        count(*) as rejections,
        count(distinct source_file) as files,
        min(detail) as example_detail,
        max(rejected_at) as last_rejected_at
    from {{ ref('stg_rejected_events') }}
    group by source_name, reason

)

select * from final
