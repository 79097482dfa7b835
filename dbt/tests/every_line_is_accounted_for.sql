-- Nothing is lost between a file and staging.
select source_name from {{ ref('obs_ingestion') }}
where
    lines <> events + rejected
    or events + replayed <> staged_events + duplicates
    or duplicates < 0
    or replayed < 0
