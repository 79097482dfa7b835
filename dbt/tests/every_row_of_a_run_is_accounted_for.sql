{{ config(tags=['sync_observability']) }}

-- Nothing is lost between an audience and its destination.
select
    sync,
    run
from {{ ref('sync_runs') }}
where
    rows_read <> delivered + unchanged + filtered + withheld + rejected + deferred
    or removes <> removed + removes_rejected + removes_deferred
    or delivered <> added + updated
