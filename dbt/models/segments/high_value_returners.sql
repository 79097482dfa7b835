with final as (

    select profile_id
    from {{ ref('profile_traits') }}
    where
        revenue > 1000
        and refunded >= 0.3 * revenue

)

select * from final
