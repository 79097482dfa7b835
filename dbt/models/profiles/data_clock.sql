with final as (

    select
        {% if var('as_of') -%}
        cast('{{ var("as_of") }}' as timestamp) as as_of
        {%- else -%}
        max(occurred_at) as as_of
        {%- endif %}
    from {{ ref('stg_events') }}

)

select * from final
