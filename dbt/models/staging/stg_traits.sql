{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['identifier_id', 'trait']
    )
}}

with events as (

    select
        identifier_id,
        message_id,
        occurred_at,
        load_seq,
        case when event_type = 'identify' then traits end as identify_traits,
        {{ json_text('context', '$.traits') }} as context_traits
    from {{ ref('stg_events') }}
    where
        identifier_id is not null
        and {{ in_new_loads() }}

),

-- where one call says a thing twice, the later of these counts
statements as (

    {% for column in ['context_traits', 'identify_traits'] -%}
    select
        identifier_id,
        message_id,
        occurred_at,
        load_seq,
        {{ loop.index0 }} as precedence,
        {{ json_entries(column) }} as entries,
        {{ json_text(column, '$.address.country') }} as address_country
    from events
    where {{ column }} is not null
    {%- if not loop.last %}

    union all

    {% endif -%}
    {%- endfor %}

),

given as (

    select
        statements.identifier_id,
        statements.message_id,
        statements.occurred_at,
        statements.load_seq,
        statements.precedence,
        item.key as sent_name,
        item.value as sent_value,
        items.item_number
    from {{ unnest_items('statements', 'entries') }}

    union all

    select
        identifier_id,
        message_id,
        occurred_at,
        load_seq,
        precedence,
        'country' as sent_name,
        address_country as sent_value,
        0 as item_number
    from statements

),

named as (

    select
        identifier_id,
        lower({{ replace_all('sent_name', '([a-z0-9])([A-Z])', '\\1_\\2') }}) as trait,
        trim(sent_value) as value,
        occurred_at,
        message_id,
        load_seq,
        precedence,
        item_number
    from given

),

candidates as (

    select * from named
    -- a null says nothing: mapped tables send one for every empty cell
    where value <> ''
    {%- if is_incremental() %}

    union all

    select
        known.*,
        0 as precedence,
        0 as item_number
    from {{ this }} as known
    where known.identifier_id in (select named.identifier_id from named)
    {%- endif %}

),

ranked as (

    select
        *,
        row_number() over (
            partition by identifier_id, trait
            order by occurred_at desc, message_id desc, precedence desc, item_number desc
        ) as recency
    from candidates

),

final as (

    select
        identifier_id,
        trait,
        value,
        occurred_at,
        message_id,
        load_seq
    from ranked
    where recency = 1

)

select * from final
