-- Nothing is lost between a file and staging.
select source_name from {{ ref('obs_ingestion') }}
where
    lines <> mapped_lines + filtered_lines + rejected_lines
    or events + replayed <> staged_events + duplicates
    or duplicates < 0
    or replayed < 0
