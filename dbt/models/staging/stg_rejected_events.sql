{{ config(materialized='view') }}

with rejected as (

    select * from {{ source('raw', 'rejected_events') }}

),

replayed as (

    select distinct
        file_digest,
        line
    from {{ source('raw', 'replayed') }}

),

-- a corrected file takes the place of the one that was refused
files as (

    select
        file,
        digest,
        load_seq
    from {{ source('raw', 'loaded_files') }}

),

final as (

    select
        rejected.source as source_name,
        rejected.file as source_file,
        rejected.file_digest,
        rejected.line as source_line,
        rejected.reason,
        rejected.detail,
        rejected.raw,
        rejected.rejected_at,
        rejected.load_seq
    from rejected
    where
        not exists (
            select 1 from replayed
            where
                replayed.file_digest = rejected.file_digest
                and replayed.line is not distinct from rejected.line
        )
        and not exists (
            select 1 from files
            where
                files.file = rejected.file
                and files.digest <> rejected.file_digest
                and files.load_seq > rejected.load_seq
        )

)

select * from final
