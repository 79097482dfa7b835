{#- Connected components in plain SQL, in scratch tables.

    Reads the scratch table `edges` (left_node, right_node), any type; leaves the scratch table
    `labels` (node, component): one row per node that has an edge, the same component for all nodes
    that are connected. Components are numbers that mean nothing outside one run.

    Each round every node points at its smallest neighbour, pointers are followed to their end by
    doubling, and the graph is contracted to the ends. A node that nobody pointed at points at
    somebody in the next round, so the nodes halve at least every second round. -#}
{% macro connected_components(edges, labels, max_rounds=64) -%}
    {%- set node = labels ~ '_node' -%}
    {%- set edge = labels ~ '_edge' -%}
    {%- set next_edge = labels ~ '_next_edge' -%}
    {%- set parent = labels ~ '_parent' -%}
    {%- set next_parent = labels ~ '_next_parent' -%}
    {%- set assigned = labels ~ '_assigned' -%}

    {%- do scratch_table(node,
        'select node, row_number() over (order by node) as number from ('
        ~ 'select left_node as node from ' ~ edges ~ ' union select right_node from ' ~ edges ~ ') as nodes') -%}
    {%- do scratch_table(edge,
        'select distinct least(l.number, r.number) as low, greatest(l.number, r.number) as high from ' ~ edges
        ~ ' as e inner join ' ~ node ~ ' as l on e.left_node = l.node inner join ' ~ node
        ~ ' as r on e.right_node = r.node where l.number <> r.number') -%}
    {%- do scratch_table(assigned, 'select number, number as component from ' ~ node) -%}

    {%- set state = namespace(edges=scratch_count(edge), moved=0) -%}
    {%- for round in range(max_rounds) if state.edges > 0 -%}
        {%- do scratch_table(parent,
            'select number, min(neighbour) as parent from ('
            ~ 'select high as number, low as neighbour from ' ~ edge
            ~ ' union all select low, low from ' ~ edge ~ ') as pointers group by number') -%}

        {%- set state.moved = 1 -%}
        {%- for jump in range(max_rounds) if state.moved > 0 -%}
            {%- do scratch_table(next_parent,
                'select p.number, q.parent, q.parent <> p.parent as moved from ' ~ parent
                ~ ' as p inner join ' ~ parent ~ ' as q on p.parent = q.number') -%}
            {%- set state.moved = scratch_count(next_parent ~ ' where moved') -%}
            {%- do scratch_table(parent, 'select number, parent from ' ~ next_parent) -%}
        {%- endfor -%}
        {%- if state.moved > 0 -%}
            {{- exceptions.raise_compiler_error('connected_components: pointers did not settle') -}}
        {%- endif -%}

        {%- do scratch_table(next_parent,
            'select a.number, coalesce(p.parent, a.component) as component from ' ~ assigned
            ~ ' as a left join ' ~ parent ~ ' as p on a.component = p.number') -%}
        {%- do scratch_table(assigned, 'select number, component from ' ~ next_parent) -%}
        {%- do scratch_table(next_edge,
            'select distinct least(l.parent, r.parent) as low, greatest(l.parent, r.parent) as high from ' ~ edge
            ~ ' as e inner join ' ~ parent ~ ' as l on e.low = l.number inner join ' ~ parent
            ~ ' as r on e.high = r.number where l.parent <> r.parent') -%}
        {%- do scratch_table(edge, 'select low, high from ' ~ next_edge) -%}
        {%- set state.edges = scratch_count(edge) -%}
    {%- endfor -%}
    {%- if state.edges > 0 -%}
        {{- exceptions.raise_compiler_error(
            'connected_components: ' ~ state.edges ~ ' edges left after ' ~ max_rounds ~ ' rounds'
        ) -}}
    {%- endif -%}

    {%- do scratch_table(labels,
        'select n.node, a.component from ' ~ node ~ ' as n inner join ' ~ assigned ~ ' as a on n.number = a.number') -%}
{%- endmacro %}


{% macro scratch_count(relation) -%}
    {%- set counted = run_query('select count(*) as row_count from ' ~ relation) -%}
    {{- return(counted.columns[0].values()[0]) -}}
{%- endmacro %}
