with final as (

    select profile_id
    from {{ ref('profile_traits') }}
    where
        last_order_at < {{ hours_before(as_of(), 90 * 24) }}

)

select * from final
