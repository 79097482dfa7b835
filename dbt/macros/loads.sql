{#- What is new for a model follows from its own rows alone, never from "this run": a model that
    was cut off, or left out, catches up the next time it is built. -#}

{% macro watermark(column='load_seq') -%}
    {%- if execute and is_incremental() -%}
        {%- set query -%}
            select coalesce(max({{ column }}), -1) as watermark from {{ this }}
        {%- endset -%}
        {{- return(run_query(query).columns[0].values()[0]) -}}
    {%- else -%}
        {{- return(-1) -}}
    {%- endif -%}
{%- endmacro %}

{#- A literal, not a subquery: the engine then skips the folders of loads it has already read. -#}
{% macro in_new_loads(column='load_seq') -%}
    {{ column }} > {{ watermark() }}
{%- endmacro %}
