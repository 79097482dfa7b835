with syncs as (

    select
        connection,
        audience,
        max(last_run) as last_run,
        bool_or(is_paused) as is_paused,
        bool_or(is_under_way) as is_under_way,
        count(file) as files
    from {{ ref('sync_ledger_files') }}
    group by connection, audience

),

states as (

    select
        connection,
        audience,
        count(*) filter (where is_held) as held,
        count(*) filter (where refused_change is not null) as rejected,
        count(*) filter (where is_in_doubt) as in_doubt,
        min(first_at) as first_acknowledged_at,
        max(last_at) filter (where state = 'held') as last_acknowledged_at
    from {{ ref('sync_keys') }}
    group by connection, audience

),

final as (

    select
        syncs.connection,
        syncs.audience,
        syncs.connection || '/' || syncs.audience as sync,
        coalesce(states.held, 0) as held,
        coalesce(states.rejected, 0) as rejected,
        coalesce(states.in_doubt, 0) as in_doubt,
        states.first_acknowledged_at,
        states.last_acknowledged_at,
        syncs.last_run,
        syncs.is_paused,
        syncs.is_under_way,
        syncs.files
    from syncs
    left join states
        on syncs.connection = states.connection and syncs.audience = states.audience

)

select * from final
