with final as (

    select profile_id
    from {{ ref('profile_traits') }}
    where
        email is not null
        and consent_email

)

select * from final
