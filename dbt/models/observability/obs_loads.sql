{{ config(materialized='incremental', incremental_strategy='append') }}

with files as (

    select
        load_seq,
        source as source_name,
        count(*) as files,
        cast(sum(lines) as bigint) as lines,
        cast(sum(events) as bigint) as events,
        cast(sum(rejected) as bigint) as rejected,
        cast(sum(mapped) as bigint) as mapped_lines,
        cast(sum(filtered) as bigint) as filtered_lines,
        cast(sum(rejected_lines) as bigint) as rejected_lines,
        max(loaded_at) as loaded_at
    from {{ source('raw', 'loaded_files') }}
    where {{ in_new_loads() }}
    group by load_seq, source

),

-- a replay brings events without a file of its own
calls as (

    select
        load_seq,
        source as source_name,
        count(*) as calls,
        max(loaded_at) as loaded_at
    from {{ source('raw', 'events') }}
    where {{ in_new_loads() }}
    group by load_seq, source

),

final as (

    select
        coalesce(files.load_seq, calls.load_seq) as load_seq,
        coalesce(files.source_name, calls.source_name) as source_name,
        coalesce(files.files, 0) as files,
        coalesce(files.lines, 0) as lines,
        coalesce(files.events, 0) as events,
        coalesce(files.rejected, 0) as rejected,
        coalesce(files.mapped_lines, 0) as mapped_lines,
        coalesce(files.filtered_lines, 0) as filtered_lines,
        coalesce(files.rejected_lines, 0) as rejected_lines,
        coalesce(calls.calls, 0) as calls,
        coalesce(files.loaded_at, calls.loaded_at) as loaded_at
    from files
    full outer join calls
        on
            files.load_seq = calls.load_seq
            and files.source_name = calls.source_name

)

select * from final
