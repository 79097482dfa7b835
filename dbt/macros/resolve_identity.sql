{#- What identity_graph needs before its own select, in scratch tables.

    graph_seeds (identifier_id, former_profile_id, edge_load_seq, node): identifiers that are new,
    were seen again or gained an edge since the graph was last built. A component that is already
    resolved takes part as one node, its profile id, so that the work follows what changed.
    graph_labels (node, component): the nodes that the new edges connect.

    Edges and identifiers have watermarks of their own, because either model may have been built
    alone; an edge waits until its identifiers are there. -#}
{% macro resolve_identity(identifiers, edges) -%}
    {%- if execute -%}
        {%- do scratch_table('graph_new_edges',
            'select left_identifier_id, right_identifier_id, load_seq from ' ~ edges
            ~ ' where load_seq > ' ~ watermark('edge_load_seq')
            ~ ' and load_seq <= (select coalesce(max(load_seq), -1) from ' ~ identifiers ~ ')') -%}

        {%- set touched -%}
            select identifier_id, max(edge_load_seq) as edge_load_seq
            from (
                select identifier_id, -1 as edge_load_seq from {{ identifiers }}
                where load_seq > {{ watermark('load_seq') }}
                union all
                select left_identifier_id, load_seq from graph_new_edges
                union all
                select right_identifier_id, load_seq from graph_new_edges
            ) as changes
            group by identifier_id
        {%- endset -%}

        {%- if is_incremental() -%}
            {%- do scratch_table('graph_seeds',
                'select t.identifier_id, g.profile_id as former_profile_id, '
                ~ 'greatest(t.edge_load_seq, coalesce(g.edge_load_seq, -1)) as edge_load_seq, '
                ~ 'coalesce(g.profile_id, t.identifier_id) as node '
                ~ 'from (' ~ touched ~ ') as t left join ' ~ this ~ ' as g on t.identifier_id = g.identifier_id') -%}
        {%- else -%}
            {%- do scratch_table('graph_seeds',
                'select t.identifier_id, cast(null as ' ~ api.Column.translate_type('string')
                ~ ') as former_profile_id, t.edge_load_seq, t.identifier_id as node from (' ~ touched ~ ') as t') -%}
        {%- endif -%}

        {%- do scratch_table('graph_node_edges',
            'select distinct l.node as left_node, r.node as right_node from graph_new_edges as e'
            ~ ' inner join graph_seeds as l on e.left_identifier_id = l.identifier_id'
            ~ ' inner join graph_seeds as r on e.right_identifier_id = r.identifier_id'
            ~ ' where l.node <> r.node') -%}
        {%- do connected_components('graph_node_edges', 'graph_labels') -%}
    {%- endif -%}
{%- endmacro %}
