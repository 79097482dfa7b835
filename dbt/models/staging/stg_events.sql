{{ config(materialized='incremental', incremental_strategy='append') }}

with source as (

    select * from {{ source('raw', 'events') }}
    where {{ in_new_loads() }}

),

numbered as (

    select
        *,
        row_number() over (
            partition by message_id
            order by load_seq, file, line
        ) as copy_number
    from source

),

-- a message counts once for ever, however often and in however many files it comes
first_copies as (

    select * from numbered
    where
        copy_number = 1
        {%- if is_incremental() %}
        and not exists (
            select 1 from {{ this }} as known
            where known.message_id = numbered.message_id
        )
        {%- endif %}

),

addressed as (

    select
        *,
        -- the traits of a group call describe the group, not the person
        coalesce(
            case when type = 'identify' then {{ json_text('traits', '$.email') }} end,
            {{ json_text('context', '$.traits.email') }}
        ) as sent_email,
        coalesce(
            case when type = 'identify' then {{ json_text('traits', '$.phone') }} end,
            {{ json_text('context', '$.traits.phone') }}
        ) as sent_phone
    from first_copies

),

normalised as (

    select
        message_id,
        type as event_type,
        event as event_name,
        {{ normalised_identifier('user_id', 'user_id') }} as user_id,
        {{ normalised_identifier('email', 'sent_email') }} as email,
        {{ normalised_identifier('phone', 'sent_phone') }} as phone,
        {{ normalised_identifier('anonymous_id', 'anonymous_id') }} as anonymous_id,
        {{ normalised_identifier('user_id', 'previous_id') }} as previous_id,
        group_id,
        timestamp as occurred_at,
        cast(timestamp as date) as occurred_on,
        sent_at,
        received_at,
        loaded_at,
        properties,
        traits,
        context,
        source as source_name,
        file as source_file,
        line as source_line,
        load_seq
    from addressed

),

final as (

    select
        message_id,
        event_type,
        event_name,
        -- any identifier of a call leads to the same profile: the first one stands for all
        coalesce(
            {%- for identifier_type in var('identifier_types') %}
            '{{ identifier_type }}:' || {{ identifier_type }}{{ ',' if not loop.last }}
            {%- endfor %}
        ) as identifier_id,
        user_id,
        email,
        phone,
        anonymous_id,
        previous_id,
        group_id,
        occurred_at,
        occurred_on,
        sent_at,
        received_at,
        loaded_at,
        properties,
        traits,
        context,
        source_name,
        source_file,
        source_line,
        load_seq
    from normalised

)

select * from final
