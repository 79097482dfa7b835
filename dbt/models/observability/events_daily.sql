{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='occurred_on',
        tags=['partitioned_daily']
    )
}}

{%- set is_range = var('min_date') and var('max_date') %}

with events as (

    select events.* from {{ ref('stg_events') }} as events
    {%- if is_range %}
    where events.occurred_on between date '{{ var("min_date") }}' and date '{{ var("max_date") }}'
    {%- elif is_incremental() %}
    where events.occurred_on in (
        select newcomers.occurred_on from {{ ref('stg_events') }} as newcomers
        where {{ in_new_loads('newcomers.load_seq') }}
    )
    {%- endif %}

),

measured as (

    select
        *,
        {{ seconds_between('occurred_at', 'coalesce(received_at, loaded_at)') }} as seconds_late
    from events

),

final as (

    select
        occurred_on,
        source_name,
        event_type,
        event_name,
        count(*) as events,
        count(*) filter (where identifier_id is null) as without_profile,
        count(*) filter (where seconds_late > 86400) as late_events,
        avg(seconds_late) as mean_seconds_late,
        max(seconds_late) as max_seconds_late,
        -- days built on request say nothing of the days around them
        {% if is_range -%}
        least(max(load_seq), {{ watermark() }}) as load_seq
        {%- else -%}
        max(load_seq) as load_seq
        {%- endif %}
    from measured
    group by occurred_on, source_name, event_type, event_name

)

select * from final
