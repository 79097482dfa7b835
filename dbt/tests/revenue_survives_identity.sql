-- Orders of somebody add up to the same, before and after they are counted by person.
with staged as (

    select sum(orders.revenue) as revenue
    from {{ ref('stg_orders') }} as orders
    where
        orders.identifier_id is not null
        and orders.order_id not in (
            select cancelled.order_id from {{ ref('stg_order_cancellations') }} as cancelled
            where cancelled.order_id is not null
        )

),

by_person as (

    select sum(revenue) as revenue from {{ ref('profile_traits') }}

)

select
    staged.revenue as staged_revenue,
    by_person.revenue as profile_revenue
from staged
cross join by_person
where coalesce(staged.revenue, 0) <> coalesce(by_person.revenue, 0)
