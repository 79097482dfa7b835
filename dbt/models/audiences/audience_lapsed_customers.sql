{{ audience('lapsed_customers', fields=[
    'email', 'phone', 'first_name', 'last_name', 'country',
    'orders_count', {'lifetime_revenue': 'revenue'}, 'last_order_at',
]) }}
