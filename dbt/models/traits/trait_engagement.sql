with graph as (

    select * from {{ ref('identity_graph') }}

),

activity as (

    select
        graph.profile_id,
        cast(sum(days.events) as bigint) as events_count,
        count(distinct days.occurred_on) as active_days,
        cast(sum(days.page_views) as bigint) as page_views,
        cast(sum(days.products_viewed) as bigint) as products_viewed,
        cast(sum(days.products_added) as bigint) as products_added,
        cast(sum(days.checkouts_started) as bigint) as checkouts_started,
        max(days.last_cart_at) as last_cart_at
    from {{ ref('activity_days') }} as days
    inner join graph on days.identifier_id = graph.identifier_id
    group by graph.profile_id

),

category_totals as (

    select
        graph.profile_id,
        category_views.category,
        sum(category_views.views) as views,
        max(category_views.last_viewed_at) as last_viewed_at
    from {{ ref('category_views') }} as category_views
    inner join graph on category_views.identifier_id = graph.identifier_id
    group by graph.profile_id, category_views.category

),

categories as (

    select
        profile_id,
        {{ latest_value('category', 'views', 'category') }} as favourite_category,
        {{ latest_value('category', 'last_viewed_at', 'category') }} as last_category
    from category_totals
    group by profile_id

),

final as (

    select
        activity.profile_id,
        activity.events_count,
        activity.active_days,
        activity.page_views,
        activity.products_viewed,
        activity.products_added,
        activity.checkouts_started,
        categories.favourite_category,
        categories.last_category,
        activity.last_cart_at
    from activity
    left join categories on activity.profile_id = categories.profile_id

)

select * from final
