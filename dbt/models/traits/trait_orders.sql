with graph as (

    select * from {{ ref('identity_graph') }}

),

cancelled as (

    select distinct order_id from {{ ref('stg_order_cancellations') }}

),

orders as (

    select
        graph.profile_id,
        orders.order_id,
        orders.ordered_at,
        orders.revenue,
        cancelled.order_id is not null as is_cancelled
    from {{ ref('stg_orders') }} as orders
    inner join graph on orders.identifier_id = graph.identifier_id
    left join cancelled on orders.order_id = cancelled.order_id

),

order_totals as (

    select
        profile_id,
        count(*) filter (where not is_cancelled) as orders_count,
        count(*) filter (where is_cancelled) as cancelled_orders_count,
        {{ money('coalesce(sum(revenue) filter (where not is_cancelled), 0)') }} as revenue,
        min(ordered_at) filter (where not is_cancelled) as first_order_at,
        max(ordered_at) filter (where not is_cancelled) as last_order_at
    from orders
    group by profile_id

),

line_totals as (

    select
        orders.profile_id,
        count(distinct order_lines.product_id) as products_bought,
        {{ money('sum(order_lines.quantity)') }} as items_bought
    from {{ ref('stg_order_lines') }} as order_lines
    inner join orders on order_lines.order_id = orders.order_id
    where not orders.is_cancelled
    group by orders.profile_id

),

refund_totals as (

    select
        graph.profile_id,
        count(*) as refunds_count,
        {{ money('sum(refunds.refunded)') }} as refunded,
        max(refunds.refunded_at) as last_refund_at
    from {{ ref('stg_refunds') }} as refunds
    inner join graph on refunds.identifier_id = graph.identifier_id
    group by graph.profile_id

),

final as (

    select
        coalesce(order_totals.profile_id, refund_totals.profile_id) as profile_id,
        coalesce(order_totals.orders_count, 0) as orders_count,
        coalesce(order_totals.cancelled_orders_count, 0) as cancelled_orders_count,
        coalesce(order_totals.revenue, 0) as revenue,
        {{ money('order_totals.revenue / nullif(order_totals.orders_count, 0)') }}
            as average_order_value,
        coalesce(line_totals.products_bought, 0) as products_bought,
        coalesce(line_totals.items_bought, 0) as items_bought,
        coalesce(refund_totals.refunds_count, 0) as refunds_count,
        coalesce(refund_totals.refunded, 0) as refunded,
        {{ money('coalesce(order_totals.revenue, 0) - coalesce(refund_totals.refunded, 0)') }}
            as net_revenue,
        order_totals.first_order_at,
        order_totals.last_order_at,
        refund_totals.last_refund_at
    from order_totals
    full outer join refund_totals on order_totals.profile_id = refund_totals.profile_id
    left join line_totals on order_totals.profile_id = line_totals.profile_id

)

select * from final
