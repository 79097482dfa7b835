with final as (

    select
        connection,
        audience,
        sync,
        key,
        refused_change as change,
        reason,
        attempts,
        is_held,
        last_at
    from {{ ref('sync_keys') }}
    where refused_change is not null

)

select * from final
