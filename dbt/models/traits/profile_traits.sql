with profiles as (

    select * from {{ ref('profiles') }}

),

orders as (

    select * from {{ ref('trait_orders') }}

),

engagement as (

    select * from {{ ref('trait_engagement') }}

),

final as (

    select
        profiles.profile_id,
        profiles.user_id,
        profiles.email,
        profiles.phone,
        profiles.anonymous_id,
        profiles.first_name,
        profiles.last_name,
        profiles.country,
        {% for purpose in var('consent_purposes') -%}
        profiles.consent_{{ purpose }},
        {% endfor -%}
        profiles.first_seen_at,
        profiles.last_seen_at,

        coalesce(orders.orders_count, 0) as orders_count,
        coalesce(orders.cancelled_orders_count, 0) as cancelled_orders_count,
        coalesce(orders.revenue, 0) as revenue,
        orders.average_order_value,
        coalesce(orders.products_bought, 0) as products_bought,
        coalesce(orders.items_bought, 0) as items_bought,
        coalesce(orders.refunds_count, 0) as refunds_count,
        coalesce(orders.refunded, 0) as refunded,
        coalesce(orders.net_revenue, 0) as net_revenue,
        orders.first_order_at,
        orders.last_order_at,
        orders.last_refund_at,

        coalesce(engagement.events_count, 0) as events_count,
        coalesce(engagement.active_days, 0) as active_days,
        coalesce(engagement.page_views, 0) as page_views,
        coalesce(engagement.products_viewed, 0) as products_viewed,
        coalesce(engagement.products_added, 0) as products_added,
        coalesce(engagement.checkouts_started, 0) as checkouts_started,
        engagement.favourite_category,
        engagement.last_category,
        engagement.last_cart_at
    from profiles
    left join orders on profiles.profile_id = orders.profile_id
    left join engagement on profiles.profile_id = engagement.profile_id

)

select * from final
