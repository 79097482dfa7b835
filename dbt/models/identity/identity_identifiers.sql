{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='identifier_id'
    )
}}

with seen as (

    select
        identifier_id,
        identifier_type,
        identifier_value,
        min(occurred_at) filter (where not is_assumed) as first_seen_at,
        max(occurred_at) filter (where not is_assumed) as last_seen_at,
        count(*) filter (where not is_assumed) as occurrences,
        max(load_seq) as load_seq
    from {{ ref('stg_identifiers') }}
    where {{ in_new_loads() }}
    group by identifier_id, identifier_type, identifier_value

),

parts as (

    select * from seen
    {%- if is_incremental() %}

    union all

    select known.* from {{ this }} as known
    where known.identifier_id in (select seen.identifier_id from seen)
    {%- endif %}

),

final as (

    select
        identifier_id,
        identifier_type,
        identifier_value,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        cast(sum(occurrences) as bigint) as occurrences,
        max(load_seq) as load_seq
    from parts
    group by identifier_id, identifier_type, identifier_value

)

select * from final
