{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['left_identifier_id', 'right_identifier_id']
    )
}}

with identifiers as (

    select * from {{ ref('stg_identifiers') }}
    where {{ in_new_loads() }}

),

seen as (

    select
        lefts.identifier_id as left_identifier_id,
        rights.identifier_id as right_identifier_id,
        min(lefts.occurred_at) as first_seen_at,
        max(lefts.occurred_at) as last_seen_at,
        count(distinct lefts.message_id) as occurrences,
        max(lefts.load_seq) as load_seq
    from identifiers as lefts
    inner join identifiers as rights
        on
            lefts.message_id = rights.message_id
            and lefts.identifier_id < rights.identifier_id
    group by lefts.identifier_id, rights.identifier_id

),

parts as (

    select * from seen
    {%- if is_incremental() %}

    union all

    select known.* from {{ this }} as known
    inner join seen
        on
            known.left_identifier_id = seen.left_identifier_id
            and known.right_identifier_id = seen.right_identifier_id
    {%- endif %}

),

final as (

    select
        left_identifier_id,
        right_identifier_id,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        cast(sum(occurrences) as bigint) as occurrences,
        max(load_seq) as load_seq
    from parts
    group by left_identifier_id, right_identifier_id

)

select * from final
