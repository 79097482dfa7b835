with sizes as (

    {{ segment_sizes() }}

),

population as (

    select count(*) as profiles from {{ ref('profiles') }}

),

final as (

    select
        sizes.segment,
        sizes.members,
        population.profiles,
        sizes.members / nullif(population.profiles, 0) as share
    from sizes
    cross join population

)

select * from final
