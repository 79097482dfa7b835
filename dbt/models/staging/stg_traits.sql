{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['identifier_id', 'trait']
    )
}}

with calls as (

    select
        identifier_id,
        message_id,
        occurred_at,
        load_seq,
        traits,
        {{ json_entries('traits') }} as trait_entries
    from {{ ref('stg_events') }}
    where
        event_type = 'identify'
        and identifier_id is not null
        and traits is not null
        and {{ in_new_loads() }}

),

entries as (

    select
        calls.identifier_id,
        calls.message_id,
        calls.occurred_at,
        calls.load_seq,
        item.key as sent_name,
        {{ json_scalar('item.value') }} as sent_value,
        items.item_number
    from {{ unnest_items('calls', 'trait_entries') }}

    -- an address is a trait in pieces
    union all

    select
        identifier_id,
        message_id,
        occurred_at,
        load_seq,
        'country' as sent_name,
        {{ json_text('traits', '$.address.country') }} as sent_value,
        0 as item_number
    from calls

),

named as (

    select
        identifier_id,
        lower({{ replace_all('sent_name', '([a-z0-9])([A-Z])', '\\1_\\2') }}) as trait,
        trim(sent_value) as value,
        occurred_at,
        message_id,
        load_seq,
        item_number
    from entries

),

candidates as (

    select * from named
    -- a null says nothing: mapped tables send one for every empty cell
    where value <> ''
    {%- if is_incremental() %}

    union all

    select
        known.*,
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
            order by occurred_at desc, message_id desc, item_number desc
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
