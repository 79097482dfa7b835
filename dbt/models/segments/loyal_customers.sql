with final as (

    select profile_id
    from {{ ref('profile_traits') }}
    where
        orders_count >= 5
        and revenue > 1000

)

select * from final
