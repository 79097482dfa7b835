{#- The data's clock: what "90 days ago" counts from. Never the wall clock, so that the same
    events give the same members whenever they are built. -#}
{% macro as_of() -%}
    (select clock.as_of from {{ ref('data_clock') }} as clock)
{%- endmacro %}
