{{ config(materialized='incremental', incremental_strategy='append') }}

with final as (

    select
        message_id,
        {{ json_text('properties', '$.order_id') }} as order_id,
        identifier_id,
        occurred_at as refunded_at,
        -- some shops write what they gave back as a negative amount
        abs(coalesce(
            {{ try_money(json_text('properties', '$.total')) }},
            {{ try_money(json_text('properties', '$.revenue')) }},
            0
        )) as refunded,
        upper({{ json_text('properties', '$.currency') }}) as currency,
        load_seq
    from {{ ref('stg_events') }}
    where
        event_type = 'track'
        and event_name = 'Order Refunded'
        and {{ in_new_loads() }}

)

select * from final
