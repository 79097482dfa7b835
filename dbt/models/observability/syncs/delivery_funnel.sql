{%- set counts = [
    'rows_read', 'delivered', 'unchanged', 'filtered', 'withheld', 'rejected', 'deferred',
    'added', 'updated', 'removed', 'requests'
] %}

with final as (

    select
        connection,
        audience,
        sync,
        started_on as day,
        count(*) as runs,
        {%- for counted in counts %}
        cast(sum({{ counted }}) as bigint) as {{ counted }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('sync_runs') }}
    group by connection, audience, sync, started_on

)

select * from final
