{%- set columns = {
    'base': 'json', 'deltas': 'json', 'journal': 'varchar', 'last_run': 'varchar',
    'paused': 'boolean'
} %}

with heads as (

    {{ ledger_rows('heads', columns) }}

),

parts as (

    select
        file,
        base,
        {{ json_structs('deltas', '$', {'file': 'VARCHAR', 'rows': 'BIGINT'}) }} as parts
    from heads

),

files as (

    select
        file,
        {{ json_text('base', '$.file') }} as part,
        0 as position,
        cast({{ json_text('base', '$.rows') }} as bigint) as row_count
    from parts
    where {{ json_text('base', '$.file') }} is not null
    union all
    select
        parts.file,
        items.item.file as part,
        items.item_number as position,
        items.item.rows as row_count
    from {{ unnest_items('parts', 'parts') }}

),

final as (

    select
        {{ connection_of('heads.file') }} as connection,
        {{ audience_of('heads.file') }} as audience,
        heads.last_run,
        heads.paused as is_paused,
        heads.journal is not null as is_under_way,
        replace(heads.file, 'head.json', '') || files.part as file,
        files.position,
        coalesce(files.row_count, 0) as row_count
    from heads
    left join files on heads.file = files.file

)

select * from final
