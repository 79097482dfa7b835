{{ config(materialized='incremental', incremental_strategy='append') }}

with final as (

    select
        message_id,
        {{ json_text('properties', '$.order_id') }} as order_id,
        occurred_at as cancelled_at,
        load_seq
    from {{ ref('stg_events') }}
    where
        event_type = 'track'
        and event_name = 'Order Cancelled'
        and {{ in_new_loads() }}

)

select * from final
