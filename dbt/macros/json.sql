{#- JSON stands as text in the raw zone; these are the only places that take it apart. -#}

{% macro json_text(column, path) -%}
    {{ return(adapter.dispatch('json_text')(column, path)) }}
{%- endmacro %}

{% macro default__json_text(column, path) -%}
    json_extract_string({{ column }}, '{{ path }}')
{%- endmacro %}

{% macro spark__json_text(column, path) -%}
    get_json_object({{ column }}, '{{ path }}')
{%- endmacro %}


{#- Rows (key, value) of a JSON object, as a list of structs to unnest; values are text, null
    for JSON null. -#}
{% macro json_entries(column) -%}
    {{ return(adapter.dispatch('json_entries')(column)) }}
{%- endmacro %}

{% macro default__json_entries(column) -%}
    {#- By pointer, because a key may hold anything; what is no object has no entries. -#}
    list_transform(
        case when json_type({{ column }}) = 'OBJECT' then json_keys({{ column }}) end,
        lambda key: {
            'key': key,
            'value': json_extract_string(
                {{ column }}, '/' || replace(replace(key, '~', '~0'), '/', '~1')
            )
        }
    )
{%- endmacro %}

{% macro spark__json_entries(column) -%}
    map_entries(from_json({{ column }}, 'map<string,string>'))
{%- endmacro %}


{#- A JSON list of objects as a typed list of structs; fields maps names to types. -#}
{% macro json_structs(column, path, fields) -%}
    {{ return(adapter.dispatch('json_structs')(column, path, fields)) }}
{%- endmacro %}

{% macro default__json_structs(column, path, fields) -%}
    from_json(json_extract({{ column }}, '{{ path }}'), '[{{ tojson(fields) }}]')
{%- endmacro %}

{% macro spark__json_structs(column, path, fields) -%}
    from_json(
        get_json_object({{ column }}, '{{ path }}'),
        'array<struct<
        {%- for name, type in fields.items() -%}
            {{ name }}:{{ type | replace('VARCHAR', 'STRING') }}{{ ',' if not loop.last }}
        {%- endfor -%}>>'
    )
{%- endmacro %}
