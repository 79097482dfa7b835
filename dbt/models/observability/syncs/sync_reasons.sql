{%- set fields = {
    'fate': 'VARCHAR', 'message': 'VARCHAR', 'rows': 'BIGINT', 'keys': ['VARCHAR']
} %}

with runs as (

    select
        connection,
        audience,
        sync,
        run,
        started_at,
        {{ json_structs('reasons', '$', fields) }} as told
    from {{ ref('sync_runs') }}

),

final as (

    select
        runs.connection,
        runs.audience,
        runs.sync,
        runs.run,
        runs.started_at,
        items.item.fate,
        items.item.message as reason,
        items.item.rows as row_count,
        items.item.keys as example_keys
    from {{ unnest_items('runs', 'told') }}

)

select * from final
