{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['identifier_id', 'purpose']
    )
}}

with calls as (

    select * from {{ ref('stg_events') }}
    where
        identifier_id is not null
        and {{ json_text('context', '$.consent.categoryPreferences') }} is not null
        and {{ in_new_loads() }}

),

statements as (

    {% for purpose in var('consent_purposes') -%}
    select
        identifier_id,
        '{{ purpose }}' as purpose,
        {{ json_text('context', '$.consent.categoryPreferences.' ~ purpose) }} = 'true'
            as is_granted,
        occurred_at,
        message_id,
        load_seq
    from calls
    {%- if not loop.last %}

    union all

    {% endif -%}
    {%- endfor %}

),

candidates as (

    select * from statements
    where is_granted is not null
    {%- if is_incremental() %}

    union all

    select known.* from {{ this }} as known
    where known.identifier_id in (select statements.identifier_id from statements)
    {%- endif %}

),

ranked as (

    select
        *,
        row_number() over (
            partition by identifier_id, purpose
            order by occurred_at desc, message_id desc
        ) as recency
    from candidates

),

final as (

    select
        identifier_id,
        purpose,
        is_granted,
        occurred_at,
        message_id,
        load_seq
    from ranked
    where recency = 1

)

select * from final
