with graph as (

    select * from {{ ref('identity_graph') }}

),

identifiers as (

    select
        graph.profile_id,
        identifiers.identifier_type,
        identifiers.identifier_value,
        identifiers.first_seen_at,
        identifiers.last_seen_at
    from graph
    inner join {{ ref('identity_identifiers') }} as identifiers
        on graph.identifier_id = identifiers.identifier_id
    -- ids that an alias call only assumed are in the graph, but nobody's
    where identifiers.occurrences > 0

),

traits as (

    select
        graph.profile_id,
        {%- for trait in ['first_name', 'last_name', 'country'] %}
        {%- set is_this = "traits.trait = '" ~ trait ~ "'" %}
        {{ latest_value('traits.value', 'traits.occurred_at', 'traits.message_id', is_this) }}
            as {{ trait }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('stg_traits') }} as traits
    inner join graph on traits.identifier_id = graph.identifier_id
    group by graph.profile_id

),

consents as (

    select
        graph.profile_id,
        {%- for purpose in var('consent_purposes') %}
        {%- set is_this = "consents.purpose = '" ~ purpose ~ "'" %}
        {{ latest_value(
            'consents.is_granted', 'consents.occurred_at', 'consents.message_id', is_this
        ) }}
            as consent_{{ purpose }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('stg_consents') }} as consents
    inner join graph on consents.identifier_id = graph.identifier_id
    group by graph.profile_id

),

people as (

    select
        profile_id,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        {%- for identifier_type in var('identifier_types') %}
        {%- set is_this = "identifier_type = '" ~ identifier_type ~ "'" %}
        {{ latest_value('identifier_value', 'last_seen_at', 'identifier_value', is_this) }}
            as {{ identifier_type }},
        {{ sorted_list('identifier_value', is_this) }}
            as {{ identifier_type }}s{{ ',' if not loop.last }}
        {%- endfor %}
    from identifiers
    group by profile_id

),

final as (

    select
        people.profile_id,
        people.user_id,
        people.email,
        people.phone,
        people.anonymous_id,
        traits.first_name,
        traits.last_name,
        traits.country,
        {% for purpose in var('consent_purposes') -%}
        consents.consent_{{ purpose }},
        {% endfor -%}
        {% for identifier_type in var('identifier_types') -%}
        people.{{ identifier_type }}s,
        {% endfor -%}
        people.first_seen_at,
        people.last_seen_at
    from people
    left join traits on people.profile_id = traits.profile_id
    left join consents on people.profile_id = consents.profile_id

)

select * from final
