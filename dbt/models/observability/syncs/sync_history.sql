{#- A view: the ledgers hold it already. -#}
{{ config(materialized='view') }}
{%- set columns = {
    '_key': 'varchar', 'hash': 'varchar', 'remote_id': 'varchar', 'maybe': 'boolean', 'run': 'varchar',
    'valid_from': 'timestamp with time zone', 'valid_to': 'timestamp with time zone', 'ended_by': 'varchar'
} %}

with ended as (

    {{ ledger_rows('history', columns) }}

),

heads as (

    {{ ledger_rows('heads', {'history': 'json'}) }}

),

listed as (

    select
        file,
        {{ json_structs('history', '$', {'file': 'VARCHAR'}) }} as parts
    from heads

),

counting as (

    select replace(listed.file, 'head.json', '') || items.item.file as file
    from {{ unnest_items('listed', 'parts') }}

),

final as (

    select
        connection,
        audience,
        sync,
        key,
        hash,
        remote_id,
        is_in_doubt,
        changed_run as run,
        changed_at as valid_from,
        cast(null as timestamp) as valid_to,
        cast(null as varchar) as ended_by
    from {{ ref('sync_keys') }}
    where is_held or is_in_doubt
    union all
    select
        {{ connection_of('ended.file') }} as connection,
        {{ audience_of('ended.file') }} as audience,
        {{ connection_of('ended.file') }} || '/' || {{ audience_of('ended.file') }} as sync,
        ended._key as key,
        ended.hash,
        ended.remote_id,
        ended.maybe as is_in_doubt,
        ended.run,
        {{ utc('ended.valid_from') }} as valid_from,
        {{ utc('ended.valid_to') }} as valid_to,
        ended.ended_by
    from ended
    inner join counting on ended.file = counting.file

)

select * from final
