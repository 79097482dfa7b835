{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['identifier_id', 'occurred_on']
    )
}}

{%- set counts = {
    'events': "true",
    'page_views': "event_type in ('page', 'screen')",
    'products_viewed': "event_name = 'Product Viewed'",
    'products_added': "event_name = 'Product Added'",
    'checkouts_started': "event_name = 'Checkout Started'",
} %}

with events as (

    select * from {{ ref('stg_events') }}
    where
        identifier_id is not null
        and {{ in_new_loads() }}

),

seen as (

    select
        identifier_id,
        occurred_on,
        {% for name, condition in counts.items() -%}
        count(*) filter (where {{ condition }}) as {{ name }},
        {% endfor -%}
        max(occurred_at) filter (
            where event_name in ('Product Added', 'Checkout Started')
        ) as last_cart_at,
        max(load_seq) as load_seq
    from events
    group by identifier_id, occurred_on

),

parts as (

    select * from seen
    {%- if is_incremental() %}

    union all

    select known.* from {{ this }} as known
    inner join seen
        on
            known.identifier_id = seen.identifier_id
            and known.occurred_on = seen.occurred_on
    {%- endif %}

),

final as (

    select
        identifier_id,
        occurred_on,
        {% for name in counts -%}
        cast(sum({{ name }}) as bigint) as {{ name }},
        {% endfor -%}
        max(last_cart_at) as last_cart_at,
        max(load_seq) as load_seq
    from parts
    group by identifier_id, occurred_on

)

select * from final
