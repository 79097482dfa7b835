{#- Not kept: it is as large as all ledgers together, and what asks it wants little of it. -#}
{{ config(materialized='ephemeral') }}

{%- set columns = {
    '_key': 'varchar', 'state': 'varchar', 'hash': 'varchar', 'remote_id': 'varchar', 'maybe': 'boolean',
    'refused': 'varchar', 'message': 'varchar', 'attempts': 'integer',
    'first_at': 'timestamp with time zone', 'last_at': 'timestamp with time zone', 'run': 'varchar',
    'request': 'integer', 'changed_at': 'timestamp with time zone', 'changed_run': 'varchar'
} %}
{%- set delta_columns = dict(columns, gone='boolean') %}

with counting as (

    select
        connection,
        audience,
        file,
        position
    from {{ ref('sync_ledger_files') }}
    where file is not null

),

bases as (

    {{ ledger_rows('bases', columns) }}

),

deltas as (

    {{ ledger_rows('deltas', delta_columns) }}

),

-- of the deltas that count the last one to speak of a key decides
later as (

    select
        counting.connection,
        counting.audience,
        deltas.*,
        row_number() over (
            partition by counting.connection, counting.audience, deltas._key
            order by counting.position desc
        ) as age
    from deltas
    inner join counting on deltas.file = counting.file

),

rows_of_bases as (

    select
        counting.connection,
        counting.audience,
        bases.*
    from bases
    inner join counting on bases.file = counting.file
    where not exists (
        select 1 from later
        where
            later.connection = counting.connection
            and later.audience = counting.audience
            and later._key = bases._key
    )

),

live as (

    select * from rows_of_bases
    union all
    select * exclude (gone, age) from later
    where age = 1 and not gone

),

final as (

    select
        connection,
        audience,
        connection || '/' || audience as sync,
        _key as key,
        state,
        hash is not null as is_held,
        maybe as is_in_doubt,
        refused as refused_change,
        message as reason,
        attempts,
        remote_id,
        {{ utc('first_at') }} as first_at,
        {{ utc('last_at') }} as last_at,
        run as last_run,
        request as last_request,
        {{ utc('changed_at') }} as changed_at,
        changed_run,
        hash
    from live

)

select * from final
