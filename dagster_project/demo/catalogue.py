"""What the shop sells: 240 products, and who they are sold to by name."""

from __future__ import annotations

import polars as pl

from dagster_project.demo.chance import at_index, below, key_of, unit

PRODUCTS = 240
CURRENCY = "EUR"

_CATEGORIES = {
    "Kitchen": ["Kettle", "Teapot", "Chopping Board", "Casserole", "Knife Set", "Espresso Cups"],
    "Lighting": ["Desk Lamp", "Lantern", "Pendant Light", "Candle Holder", "Floor Lamp", "Globe"],
    "Textiles": ["Throw", "Cushion", "Bath Towel", "Table Runner", "Curtain", "Wool Rug"],
    "Garden": ["Watering Can", "Planter", "Bird House", "Fire Bowl", "Deck Chair", "Hammock"],
    "Office": ["Notebook", "Pen Stand", "Bookend", "Wall Clock", "Desk Mat", "Filing Box"],
}
_FINISHES = ["Oak", "Slate", "Ivory", "Copper", "Moss", "Indigo", "Clay", "Smoke"]

_FIRST_NAMES = """
Ada Alan Alice Amara Anna Anton Aziz Beatriz Boris Carla Chloe Clara Daan David Diego Edith Elif
Emil Emma Erik Fatima Felix Finn Freya Grace Hana Hugo Ida Ines Ivan Jana Jonas Julia Kai Karim
Lara Leila Leo Lina Lotte Louis Luca Maja Marco Marie Mateo Mila Mohamed Nina Noah Nora Olga
Oscar Otto Paula Pavel Priya Rosa Ruth Samuel Sara Sofia Sven Tara Theo Tim Vera Victor Yara Zoe
"""

_LAST_NAMES = """
Adler Almeida Andersen Bakker Bauer Becker Bernard Bianchi Borg Brandt Castro Chen Costa Cruz
Dubois Eriksen Evans Ferrari Fischer Fontaine Garcia Greco Haas Hansen Hoffmann Horvat Hughes
Ivanov Jansen Jensen Kaya Keller Khan Klein Kowalski Larsen Lefevre Lopez Marino Martin Meyer
Moreau Murphy Nagy Nielsen Novak Olsen Osman Patel Peeters Pereira Petrov Ricci Rossi Roux
Santos Schmidt Silva Smit Sousa Taylor Toth Vargas Visser Vogel Wagner Walsh Weber Wolf Yilmaz
"""
FIRST_NAMES, LAST_NAMES = _FIRST_NAMES.split(), _LAST_NAMES.split()


def products() -> pl.DataFrame:
    """The catalogue, the same for every shop, in order of popularity.

    Columns: ``product_id`` String, ``name`` String, ``category`` String, ``cents`` Int64 (price).
    """
    categories = [category for category, nouns in _CATEGORIES.items() for _ in nouns]
    nouns = [noun for group in _CATEGORIES.values() for noun in group]
    number = pl.col("number")
    key = key_of(number, 0, "product")
    noun = number % len(nouns)
    return pl.select(number=pl.int_range(PRODUCTS, dtype=pl.Int64)).select(
        product_id=pl.format("SKU-{}", number + 1000),
        name=pl.format("{} {}", at_index(_FINISHES, number // len(nouns)), at_index(nouns, noun)),
        category=at_index(categories, noun),
        # Most things cost 15 to 60, a few some hundreds; prices end in 90.
        cents=((4 + 12 / (unit(key, "price") + 0.03)).cast(pl.Int64) * 100 + 90),
    )


def amount(cents: pl.Expr) -> pl.Expr:
    """Cents as a JSON number (Float64): 31.9, and not the 31.900000000000002 of a division."""
    return (cents / 100).round(2)


def product_of(key: pl.Expr) -> pl.Expr:
    """Index (Int64) of the product that a key fell on: the first ones far more often."""
    return (unit(key, "product") ** 2 * PRODUCTS).cast(pl.Int64)


def quantity_of(key: pl.Expr) -> pl.Expr:
    """How many of it (Int64): mostly one, at most four."""
    return 1 + below(key, "quantity", 10).clip(6, 9) - 6
