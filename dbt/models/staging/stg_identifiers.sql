{{ config(materialized='view') }}

with events as (

    select * from {{ ref('stg_events') }}
    where identifier_id is not null

),

occurrences as (

    {% for identifier_type in var('identifier_types') -%}
    select
        message_id,
        '{{ identifier_type }}' as identifier_type,
        {{ identifier_type }} as identifier_value,
        false as is_assumed,
        occurred_at,
        load_seq
    from events
    where {{ identifier_type }} is not null

    union all

    {% endfor -%}
    -- an alias call does not say of what type the id is that it leaves
    {% for identifier_type in ['user_id', 'anonymous_id'] -%}
    select
        message_id,
        '{{ identifier_type }}' as identifier_type,
        previous_id as identifier_value,
        true as is_assumed,
        occurred_at,
        load_seq
    from events
    where
        event_type = 'alias'
        and previous_id is not null
    {%- if not loop.last %}

    union all

    {% endif -%}
    {%- endfor %}

),

final as (

    select
        message_id,
        identifier_type || ':' || identifier_value as identifier_id,
        identifier_type,
        identifier_value,
        is_assumed,
        occurred_at,
        load_seq
    from occurrences

)

select * from final
