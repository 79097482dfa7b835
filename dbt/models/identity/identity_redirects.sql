{{ config(materialized='view') }}

-- A profile's id is that of one of its identifiers, so every id that it can ever have had is that
-- of another: no history has to be kept to follow one.
with final as (

    select
        {{ profile_id_of('identifier_id') }} as former_profile_id,
        profile_id
    from {{ ref('identity_graph') }}
    where {{ profile_id_of('identifier_id') }} <> profile_id

)

select * from final
