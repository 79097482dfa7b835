{{ audience('cart_abandoners', fields=[
    'email', 'phone', 'first_name', 'last_name', 'orders_count', 'last_category', 'last_cart_at',
]) }}
