-- A profile's id follows from its members alone, never from the order in which they came.
with ranked as (

    select
        graph.profile_id,
        graph.identifier_id,
        row_number() over (
            partition by graph.profile_id
            order by
                identifiers.first_seen_at asc nulls last,
                {{ identifier_priority('identifiers.identifier_type') }},
                identifiers.identifier_value
        ) as age_rank
    from {{ ref('identity_graph') }} as graph
    inner join {{ ref('identity_identifiers') }} as identifiers
        on graph.identifier_id = identifiers.identifier_id

)

select * from ranked
where
    age_rank = 1
    and profile_id <> {{ profile_id_of('identifier_id') }}
