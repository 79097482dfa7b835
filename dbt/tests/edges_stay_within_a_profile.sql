-- Two identifiers of one call are one person's.
select
    edges.left_identifier_id,
    edges.right_identifier_id
from {{ ref('identity_edges') }} as edges
left join {{ ref('identity_graph') }} as lefts on edges.left_identifier_id = lefts.identifier_id
left join {{ ref('identity_graph') }} as rights on edges.right_identifier_id = rights.identifier_id
where
    lefts.profile_id is null
    or lefts.profile_id is distinct from rights.profile_id
