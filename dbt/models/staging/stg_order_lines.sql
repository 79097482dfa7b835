{{ config(materialized='view') }}

with orders as (

    select * from {{ ref('stg_orders') }}

),

final as (

    select
        orders.order_id,
        items.item_number as line_number,
        coalesce(item.product_id, item.sku) as product_id,
        item.name as product_name,
        item.category,
        item.price,
        coalesce(item.quantity, 1) as quantity,
        {{ money('item.price * coalesce(item.quantity, 1)') }} as amount
    from {{ unnest_items('orders', 'products') }}

)

select * from final
