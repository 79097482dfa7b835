import base64
import datetime as dt
import hashlib

import phonenumbers
import polars as pl
import pytest

from destinations.language.normalise import NORMALISERS, normalised, prepare
from destinations.language.phones import _parsed, e164
from destinations.language.spec import DestinationField

VECTORS = {
    "trim": [(" a b ", "a b"), ("  ", None)],
    "lower": [(" A B ", "a b")],
    "email": [(" Ann@Example.COM ", "ann@example.com"), ("ann@example", None), ("a b@c.de", None)],
    "email_gmail": [
        # https://developers.google.com/data-manager/api/devguides/concepts/formatting
        ("cloudy.sanfrancisco+shopping@gmail.com", "cloudysanfrancisco@gmail.com"),
        ("user.name+NYC@Example.com", "user.name+nyc@example.com"),
        ("+a@gmail.com", None),
        ("a.b@googlemail.com", "ab@googlemail.com"),
        ("a.b@example.com", "a.b@example.com"),
    ],
    "uid2": [
        # https://unifiedid.com/docs/getting-started/gs-normalization-encoding
        ("jane.doe@gmail.com", "janedoe@gmail.com"),
        ("JANEDOE+UID2@gmail.com", "janedoe@gmail.com"),
        ("Jane.Doe+UID2@example.com", "jane.doe+uid2@example.com"),
        ("a.b@googlemail.com", "a.b@googlemail.com"),
    ],
    "phone_e164": [
        ("+44 20 7946 0958", "+442079460958"),
        ("0044 (0)20 7946 0958", "+442079460958"),
        ("020 7946 0958", None),
        ("none", None),
    ],
    "phone_digits": [("+1 (201) 555-0123", "12015550123")],
    "name": [("O'Brien-Smith", "obriensmith"), (" ÉVA ", "éva"), ("Mary Jane", "mary jane")],
    "city": [("St. Paul's", "stpauls")],
    "state": [("New York", "newyork")],
    "postal_code": [("90210-1234", "90210"), ("SW1A 1AA", "sw1a1aa")],
    "country_2": [
        ("gb", "GB"),
        ("UK", "GB"),
        ("usa", "US"),
        ("Deutschland", None),
        ("Germany", "DE"),
        ("United States", "US"),
        ("Côte d'Ivoire", "CI"),
        ("czech republic", "CZ"),
        ("BRA", "BR"),
        ("Hong Kong", "HK"),
        ("England", None),
        ("1", None),
    ],
    "country_2_lower": [("GB ", "gb")],
    "gender": [("Female", "f"), ("m", "m"), ("x", None)],
    "birth_date": [("1990-01-31", "19900131"), ("19900131", "19900131"), ("1990-02-30", None)],
    "maid": [("AECE52E7-03EE-455A-B3C4-E57283966239", "aece52e7-03ee-455a-b3c4-e57283966239")],
}


@pytest.mark.parametrize("name", sorted(NORMALISERS))
def test_vectors(name):
    given = [value for value, _ in VECTORS[name]] + [None]
    frame = pl.DataFrame({"x": given}, schema={"x": pl.String})
    found = frame.select(normalised(pl.col("x"), name))["x"].to_list()
    assert found == [wanted for _, wanted in VECTORS[name]] + [None]


def test_a_number_without_country_code_takes_the_country_of_its_row():
    frame = pl.DataFrame(
        {
            "phone": ["020 7946 0958", "(201) 555-0123", "201 555 0123", "+49 30 901820", "1"],
            "country": ["GB", "United States", None, "US", "GB"],
        }
    )
    fields = {"phone": DestinationField(normalise="phone_e164")}
    found = prepare(frame, fields)
    assert found["phone"].to_list() == ["+442079460958", "+12015550123", None, "+4930901820", None]
    assert found["country"].to_list() == frame["country"].to_list()
    other = {"phone": DestinationField(normalise="phone_digits", country_field="home")}
    assert prepare(frame, other)["phone"].to_list()[0] is None
    home = prepare(frame.rename({"country": "home"}), other)
    assert home["phone"].to_list()[0] == "442079460958"


def test_numbers_told_by_their_shape_are_what_parsing_makes_of_them():
    numbers = []
    for region in phonenumbers.SUPPORTED_REGIONS:
        for kind in (0, 1):
            example = phonenumbers.example_number_for_type(region, kind)
            if example is not None:
                number = phonenumbers.format_number(example, 0)
                numbers += [number, number + "1", number[:-2], number[:3] + "0" + number[3:]]
                numbers.append(phonenumbers.format_number(example, 1))
    found = pl.DataFrame({"x": numbers}).select(e164(pl.col("x")))["x"].to_list()
    assert found == [_parsed(number, None) for number in numbers]


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "md5"])
def test_digests_in_base64(algorithm):
    # https://unifiedid.com/docs/getting-started/gs-normalization-encoding
    raw = hashlib.new(algorithm, b"user@example.com").digest()
    wanted = base64.b64encode(raw).decode()
    frame = pl.DataFrame({"x": [" User@Example.com", wanted, raw.hex().upper(), None]})
    field = DestinationField(normalise="uid2", hash=algorithm, hash_encoding="base64")
    assert prepare(frame, {"x": field})["x"].to_list() == [wanted, wanted, wanted, None]


def test_uid2_own_pair():
    frame = pl.DataFrame({"x": ["user@example.com"]})
    field = DestinationField(normalise="uid2", hash="sha256", hash_encoding="base64")
    assert prepare(frame, {"x": field})["x"].to_list() == [
        "tMmiiTI7IaAcPpQPFQ65uMVCWH8av9jw4cwf/F5HVRQ="
    ]


def test_meta_own_pair_of_address_and_digest():
    # https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/customer-information-parameters
    frame = pl.DataFrame({"email": ["John_Smith@gmail.com"]})
    fields = {"email": DestinationField(normalise="email", hash="sha256")}
    assert prepare(frame, fields)["email"].to_list() == [
        "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"
    ]


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "md5"])
def test_digests_pass_and_everything_else_is_hashed(algorithm):
    digest = hashlib.new(algorithm, b"ann").hexdigest()
    frame = pl.DataFrame({"x": ["ann", digest.upper(), f" {digest} ", None, "ünï"]})
    found = prepare(frame, {"x": DestinationField(hash=algorithm)})["x"].to_list()
    assert found == [
        digest,
        digest,
        digest,
        None,
        hashlib.new(algorithm, "ünï".encode()).hexdigest(),
    ]


@pytest.mark.parametrize(
    ("wanted", "given", "found"),
    [
        ("string", [12, None], ["12", None]),
        ("string", [True, None], ["true", None]),
        ("number", ["1.5", "x", None], [1.5, None, None]),
        ("integer", ["3", "3.5", None], [3, None, None]),
        ("integer", ["358401234567890123", "3.0"], [358401234567890123, 3]),
        ("integer", [3.0, 3.5, None], [3, None, None]),
        ("boolean", ["Yes", "0", "perhaps", None], [True, False, None, None]),
        ("boolean", [1, 0, None], [True, False, None]),
        (
            "date",
            [dt.datetime.fromisoformat("2026-01-31 08:00"), None],
            [dt.date(2026, 1, 31), None],
        ),
        ("datetime", [dt.date(2026, 1, 31), None], [dt.datetime.fromisoformat("2026-01-31"), None]),
    ],
)
def test_declared_types(wanted, given, found):
    frame = pl.DataFrame({"x": given}, strict=False)
    assert prepare(frame, {"x": DestinationField(type=wanted)})["x"].to_list() == found


def test_empty_frames_and_columns_of_nulls_pass():
    fields = {"x": DestinationField(normalise="phone_e164", hash="sha256")}
    assert prepare(pl.DataFrame(schema={"x": pl.String}), fields).height == 0
    assert prepare(pl.DataFrame({"x": [None, None]}), fields)["x"].to_list() == [None, None]
