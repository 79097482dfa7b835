{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='order_id'
    )
}}

with completed as (

    select
        {{ json_text('properties', '$.order_id') }} as order_id,
        message_id,
        identifier_id,
        occurred_at as ordered_at,
        coalesce(
            {{ try_money(json_text('properties', '$.revenue')) }},
            {{ try_money(json_text('properties', '$.total')) }},
            0
        ) as revenue,
        upper({{ json_text('properties', '$.currency') }}) as currency,
        {{ json_structs('properties', '$.products', {
            'product_id': 'VARCHAR',
            'sku': 'VARCHAR',
            'name': 'VARCHAR',
            'category': 'VARCHAR',
            'price': 'DECIMAL(18,4)',
            'quantity': 'DECIMAL(18,4)',
        }) }} as products,
        load_seq
    from {{ ref('stg_events') }}
    where
        event_type = 'track'
        and event_name = 'Order Completed'
        and {{ in_new_loads() }}

),

candidates as (

    select * from completed
    where order_id is not null
    {%- if is_incremental() %}

    union all

    select known.* from {{ this }} as known
    where known.order_id in (select completed.order_id from completed)
    {%- endif %}

),

-- an order that is sent again is a correction
ranked as (

    select
        *,
        row_number() over (
            partition by order_id
            order by ordered_at desc, message_id desc
        ) as recency
    from candidates

),

final as (

    select
        order_id,
        message_id,
        identifier_id,
        ordered_at,
        revenue,
        currency,
        products,
        load_seq
    from ranked
    where recency = 1

)

select * from final
