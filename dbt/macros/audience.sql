{#- An audience is a segment's members with the fields that may be sent: the key, the named columns
    of profile_traits (`{'lifetime_revenue': 'revenue'}` renames one) and every consent. -#}
{% macro audience(segment, fields) -%}
with members as (

    select profile_id from {{ ref(segment) }}

),

traits as (

    select * from {{ ref('profile_traits') }}

),

final as (

    select
        members.profile_id,
        {%- for field in fields %}
            {%- if field is mapping %}
                {%- for name, column in field.items() %}
        traits.{{ column }} as {{ name }},
                {%- endfor %}
            {%- else %}
        traits.{{ field }},
            {%- endif %}
        {%- endfor %}
        {%- for purpose in var('consent_purposes') %}
        traits.consent_{{ purpose }}{{ ',' if not loop.last }}
        {%- endfor %}
    from members
    inner join traits on members.profile_id = traits.profile_id

)

select * from final
{%- endmacro %}
