{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['identifier_id', 'category']
    )
}}

with views as (

    select
        identifier_id,
        trim({{ json_text('properties', '$.category') }}) as category,
        occurred_at,
        load_seq
    from {{ ref('stg_events') }}
    where
        event_type = 'track'
        and event_name in ('Product Viewed', 'Product List Viewed')
        and identifier_id is not null
        and {{ in_new_loads() }}

),

seen as (

    select
        identifier_id,
        category,
        count(*) as views,
        max(occurred_at) as last_viewed_at,
        max(load_seq) as load_seq
    from views
    where category <> ''
    group by identifier_id, category

),

parts as (

    select * from seen
    {%- if is_incremental() %}

    union all

    select known.* from {{ this }} as known
    inner join seen
        on
            known.identifier_id = seen.identifier_id
            and known.category = seen.category
    {%- endif %}

),

final as (

    select
        identifier_id,
        category,
        cast(sum(views) as bigint) as views,
        max(last_viewed_at) as last_viewed_at,
        max(load_seq) as load_seq
    from parts
    group by identifier_id, category

)

select * from final
