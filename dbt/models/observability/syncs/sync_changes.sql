with final as (

    select
        connection,
        audience,
        sync,
        run,
        started_at,
        mode,
        held_before,
        planned_adds,
        added,
        planned_updates,
        updated,
        removes as planned_removes,
        removed,
        merged,
        held_before + added - removed - merged as held_after
    from {{ ref('sync_runs') }}

)

select * from final
