{%- set segments = [
    ref('loyal_customers'),
    ref('newsletter_subscribers'),
    ref('cart_abandoners'),
    ref('lapsed_customers'),
    ref('high_value_returners'),
] -%}

with sizes as (

    {% for segment in segments -%}
    select
        '{{ segment.identifier }}' as segment,
        count(*) as members
    from {{ segment }}
    {%- if not loop.last %}

    union all

    {% endif -%}
    {%- endfor %}

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
