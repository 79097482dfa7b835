{#- One way of writing an identifier, everywhere: normalised, or null where it names nobody. -#}
{% macro normalised_identifier(identifier_type, expression) -%}
    {%- if identifier_type == 'email' -%}
        {%- set value = 'lower(trim(' ~ expression ~ '))' -%}
        {%- set condition = value ~ " like '%_@_%.__%' and " ~ value ~ " not like '% %'" -%}
    {%- elif identifier_type == 'phone' -%}
        {#- 0049 (30) 12-34 and +49 30 1234 are one number; the country of 030 1234 is unknown. -#}
        {%- set value = "regexp_replace(" ~ replace_all(expression, '[^0-9+]', '') ~ ", '^00', '+')" -%}
        {%- set condition = 'length(' ~ value ~ ') between 7 and 16' -%}
    {%- else -%}
        {%- set value = 'trim(' ~ expression ~ ')' -%}
        {%- set condition = 'true' -%}
    {%- endif -%}
    case
        when lower(trim({{ expression }})) not in (
            {%- for blocked in var('blocked_identifiers') -%}
                '{{ blocked }}'{{ ', ' if not loop.last }}
            {%- endfor -%}
        ) and {{ condition }} then {{ value }}
    end
{%- endmacro %}


{% macro replace_all(expression, pattern, replacement) -%}
    {{ return(adapter.dispatch('replace_all')(expression, pattern, replacement)) }}
{%- endmacro %}

{% macro default__replace_all(expression, pattern, replacement) -%}
    regexp_replace({{ expression }}, '{{ pattern }}', '{{ replacement }}', 'g')
{%- endmacro %}

{% macro spark__replace_all(expression, pattern, replacement) -%}
    regexp_replace({{ expression }}, '{{ pattern }}', '{{ replacement }}')
{%- endmacro %}


{#- Where a type stands among those that could name a profile. -#}
{% macro identifier_priority(column) -%}
    case {{ column }}
        {%- for identifier_type in var('identifier_types') %}
            when '{{ identifier_type }}' then {{ loop.index }}
        {%- endfor %}
    end
{%- endmacro %}


{#- The id of the profile whose oldest identifier this is. -#}
{% macro profile_id_of(identifier_id) -%}
    md5({{ identifier_id }})
{%- endmacro %}
