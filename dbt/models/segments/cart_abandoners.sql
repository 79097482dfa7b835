with final as (

    select profile_id
    from {{ ref('profile_traits') }}
    where
        last_cart_at <= {{ hours_before(as_of(), 1) }}
        and (last_order_at is null or last_order_at < last_cart_at)

)

select * from final
