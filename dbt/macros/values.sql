{#- Money is exact: four decimals, so that a sum does not depend on the order of its rows. -#}
{% macro money(expression) -%}
    cast({{ expression }} as decimal(18, 4))
{%- endmacro %}

{% macro try_money(expression) -%}
    try_cast({{ expression }} as decimal(18, 4))
{%- endmacro %}


{#- The value with the greatest (at, tie) among the rows where the condition holds. -#}
{% macro latest_value(value, at, tie, condition='true') -%}
    {{ return(adapter.dispatch('latest_value')(value, at, tie, condition)) }}
{%- endmacro %}

{% macro default__latest_value(value, at, tie, condition) -%}
    arg_max({{ value }}, row({{ at }}, {{ tie }})) filter (where {{ condition }})
{%- endmacro %}

{% macro spark__latest_value(value, at, tie, condition) -%}
    max_by({{ value }}, struct({{ at }}, {{ tie }})) filter (where {{ condition }})
{%- endmacro %}


{#- The values of the rows where the condition holds, sorted; an empty list where there are none. -#}
{% macro sorted_list(value, condition='true') -%}
    {{ return(adapter.dispatch('sorted_list')(value, condition)) }}
{%- endmacro %}

{% macro default__sorted_list(value, condition) -%}
    coalesce(list({{ value }} order by {{ value }}) filter (where {{ condition }}), [])
{%- endmacro %}

{% macro spark__sorted_list(value, condition) -%}
    array_sort(collect_list(case when {{ condition }} then {{ value }} end))
{%- endmacro %}


{#- One row per element of a list of structs: yields the alias `item` in the from clause. -#}
{% macro unnest_items(relation, list_column) -%}
    {{ return(adapter.dispatch('unnest_items')(relation, list_column)) }}
{%- endmacro %}

{% macro default__unnest_items(relation, list_column) -%}
    {{ relation }} cross join unnest({{ relation }}.{{ list_column }}) with ordinality as items (item, item_number)
{%- endmacro %}

{% macro spark__unnest_items(relation, list_column) -%}
    {{ relation }} lateral view posexplode({{ list_column }}) items as item_number, item
{%- endmacro %}


{% macro seconds_between(earlier, later) -%}
    {{ return(adapter.dispatch('seconds_between')(earlier, later)) }}
{%- endmacro %}

{% macro default__seconds_between(earlier, later) -%}
    (epoch_ms({{ later }}) - epoch_ms({{ earlier }})) / 1000.0
{%- endmacro %}

{% macro spark__seconds_between(earlier, later) -%}
    (unix_millis({{ later }}) - unix_millis({{ earlier }})) / 1000.0
{%- endmacro %}


{% macro hours_before(moment, hours) -%}
    {{ moment }} - interval '{{ hours }}' hour
{%- endmacro %}


{#- A table that lives for one model's run. -#}
{% macro scratch_table(name, query) -%}
    {{ return(adapter.dispatch('scratch_table')(name, query)) }}
{%- endmacro %}

{% macro default__scratch_table(name, query) -%}
    {%- do run_query('create or replace temporary table ' ~ name ~ ' as ' ~ query) -%}
{%- endmacro %}

{% macro spark__scratch_table(name, query) -%}
    {%- do run_query('drop table if exists ' ~ name) -%}
    {%- do run_query('create table ' ~ name ~ ' as ' ~ query) -%}
{%- endmacro %}
