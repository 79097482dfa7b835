{#- Reads the files of the syncs' ledgers. Before the first sync there are none, which is an error
    to a reader of files: then, and only then, the rows are those of an empty table. -#}

{#- Rows of one source of the ledger: `columns` (name: type), and `file`, where they stand. -#}
{% macro ledger_rows(table, columns) -%}
    {%- set files = source('ledger', table) -%}
    {%- if not execute or ledger_has(files) -%}
        {{ adapter.dispatch('ledger_reader')(files, columns) }}
    {%- else -%}
    select
        {%- for name, type in columns.items() %}
        cast(null as {{ type }}) as {{ name }},
        {%- endfor %}
        cast(null as varchar) as file
    where false
    {%- endif -%}
{%- endmacro %}

{% macro ledger_has(files) -%}
    {{ return(adapter.dispatch('ledger_has')(files)) }}
{%- endmacro %}

{% macro default__ledger_has(files) -%}
    {{ return(run_query('select count(*) from glob(' ~ files ~ ')').columns[0].values()[0] > 0) }}
{%- endmacro %}

{#- Of a file of JSON lines the last one may be torn by a kill, or be under way: its row is null. -#}
{% macro default__ledger_reader(files, columns) -%}
    select
        {%- for name, type in columns.items() %}
        cast({{ name }} as {{ type }}) as {{ name }},
        {%- endfor %}
        file
    {%- if '.parquet' in files | string %}
    from read_parquet({{ files }}, union_by_name = true, filename = 'file')
    {%- elif '.jsonl' in files | string %}
    from read_ndjson({{ files }}, columns = {{ columns | tojson | replace('"', "'") }}, ignore_errors = true, filename = 'file')
    {%- else %}
    from read_json({{ files }}, columns = {{ columns | tojson | replace('"', "'") }}, filename = 'file')
    {%- endif %}
{%- endmacro %}


{#- The sync's two names, from the path of a file of its ledger. -#}
{% macro connection_of(file) -%}
    regexp_extract({{ file }}, '([^/]+)/[^/]+/[^/]+$', 1)
{%- endmacro %}

{% macro audience_of(file) -%}
    regexp_extract({{ file }}, '([^/]+)/[^/]+$', 1)
{%- endmacro %}


{#- A moment with a zone, as UTC without one. -#}
{% macro utc(column) -%}
    {{ return(adapter.dispatch('utc')(column)) }}
{%- endmacro %}

{% macro default__utc(column) -%}
    {{ column }} at time zone 'UTC'
{%- endmacro %}

{% macro spark__utc(column) -%}
    to_utc_timestamp({{ column }}, current_timezone())
{%- endmacro %}


{#- The moment in the name of a snapshot or a run (20260102T030405000006Z), UTC. -#}
{% macro moment_of(version) -%}
    cast(
        substring({{ version }}, 1, 4) || '-' || substring({{ version }}, 5, 2) || '-' || substring({{ version }}, 7, 2)
        || ' ' || substring({{ version }}, 10, 2) || ':' || substring({{ version }}, 12, 2)
        || ':' || substring({{ version }}, 14, 2) || '.' || substring({{ version }}, 16, 6) as timestamp
    )
{%- endmacro %}
