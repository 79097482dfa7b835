{{ audience('newsletter_subscribers', fields=[
    'email', 'first_name', 'last_name', 'phone', 'country', 'favourite_category',
]) }}
