{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='identifier_id',
        pre_hook="{{ resolve_identity(ref('identity_identifiers'), ref('identity_edges')) }}"
    )
}}

with identifiers as (

    select * from {{ ref('identity_identifiers') }}

),

seeds as (

    select * from graph_seeds

),

labels as (

    select * from graph_labels

),

-- all identifiers of every profile that a seed belongs to, and those that are new
members as (

    select
        identifier_id,
        former_profile_id,
        edge_load_seq,
        node,
        true as is_seed
    from seeds
    where former_profile_id is null
    {%- if is_incremental() %}

    union all

    select
        graph.identifier_id,
        graph.profile_id as former_profile_id,
        coalesce(seen_again.edge_load_seq, graph.edge_load_seq) as edge_load_seq,
        graph.profile_id as node,
        seen_again.identifier_id is not null as is_seed
    from {{ this }} as graph
    left join seeds as seen_again on graph.identifier_id = seen_again.identifier_id
    where
        graph.profile_id in (
            select touched.former_profile_id from seeds as touched
            where touched.former_profile_id is not null
        )
    {%- endif %}

),

placed as (

    select
        members.identifier_id,
        members.former_profile_id,
        members.edge_load_seq,
        members.is_seed,
        identifiers.load_seq,
        first_value(members.identifier_id) over (
            partition by coalesce(cast(labels.component as varchar), members.node)
            order by
                identifiers.first_seen_at asc nulls last,
                {{ identifier_priority('identifiers.identifier_type') }},
                identifiers.identifier_value
        ) as oldest_identifier_id
    from members
    inner join identifiers on members.identifier_id = identifiers.identifier_id
    left join labels on members.node = labels.node

),

resolved as (

    select
        *,
        {{ profile_id_of('oldest_identifier_id') }} as profile_id
    from placed

),

final as (

    select
        identifier_id,
        profile_id,
        edge_load_seq,
        load_seq
    from resolved
    where
        former_profile_id is distinct from profile_id
        or is_seed

)

select * from final
