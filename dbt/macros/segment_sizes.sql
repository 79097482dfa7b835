{#- Every model under models/segments with its size: segment, members.

    dbt must know what a model reads before it has read the other files, so whoever starts dbt says
    in STOREROOM_SEGMENTS which segments there are (names or files, parted by blanks); Storeroom
    does. A segment that is not named there is counted all the same if it has been built: it only
    lacks its arrow in the lineage, and the promise that it is built first. -#}
{% macro segment_sizes() -%}
    {%- set named = [] -%}
    {%- for file in env_var('STOREROOM_SEGMENTS', '').split() -%}
        {%- do named.append(file.split('/')[-1] | replace('.sql', '')) -%}
    {%- endfor -%}
    {%- set counted = namespace(relations={}) -%}
    {%- for name in named | unique | sort -%}
        {%- do counted.relations.update({name: ref(name)}) -%}
    {%- endfor -%}
    {%- if execute -%}
        {%- for node in graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') | sort(attribute='name')
            if 'segments' in node.fqn[1:-1] and node.name not in counted.relations -%}
            {%- set relation = adapter.get_relation(node.database, node.schema, node.alias) -%}
            {%- if relation -%}
                {%- do counted.relations.update({node.name: relation}) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {%- for name, relation in counted.relations.items() %}
    select
        '{{ name }}' as segment,
        count(*) as members
    from {{ relation }}
        {%- if not loop.last %}
    union all
        {%- endif -%}
    {%- else %}
    select
        cast(null as {{ api.Column.translate_type('string') }}) as segment,
        cast(null as bigint) as members
    where false
    {%- endfor -%}
{%- endmacro %}
