import pytest

from destinations.language.template import (
    FUNCTIONS,
    Constant,
    Each,
    Function,
    Member,
    Object,
    Placeholder,
    Spread,
    TemplateError,
    Text,
    each_nodes,
    parse_body,
    parse_text,
    placeholders,
)


def test_a_string_that_is_one_placeholder_stays_one():
    assert parse_text("{email|lower|md5}") == Placeholder(
        "email", (Function("lower"), Function("md5"))
    )
    assert parse_text("{born|format:%H:%M}").functions == (Function("format", "%H:%M"),)


def test_text_around_placeholders():
    assert parse_text("Bearer {settings.token}!") == Text(
        ("Bearer ", Placeholder("settings.token"), "!")
    )
    assert parse_text("plain") == Constant("plain")
    assert parse_text("") == Constant("")


def test_braces_of_graphql_and_doubled_braces_stand_for_themselves():
    text = "mutation($id: ID!) { add(id: $id) { errors { message } } }"
    assert parse_text(text) == Constant(text)
    assert parse_text("{{email}") == Constant("{email}")


def test_a_body_is_a_tree():
    body = parse_body({"a": 1, "...": "{custom}", "rows": {"each": {"id": "{id}"}}, "n": None})
    assert body == Object(
        (
            Member(Constant("a"), Constant(1)),
            Spread(Placeholder("custom")),
            Member(Constant("rows"), Each(Object((Member(Constant("id"), Placeholder("id")),)))),
            Member(Constant("n"), Constant(None)),
        )
    )
    assert [p.name for p in placeholders(body)] == ["custom", "id"]
    assert len(each_nodes(body)) == 1


@pytest.mark.parametrize(
    ("body", "words", "path"),
    [
        ({"a": "{email"}, "does not close", ("a",)),
        ({"a": ["{e mail}"]}, "no placeholder", ("a", 0)),
        ({"a": "{}"}, "no placeholder", ("a",)),
        ({"a": "{email|shout}"}, "no function 'shout'", ("a",)),
        ({"a": "{email|first}"}, "needs an argument", ("a",)),
        ({"a": "{email|first:x}"}, "number of characters", ("a",)),
        ({"a": "{email|lower:x}"}, "takes no argument", ("a",)),
        ({"a": "{custom|lower}"}, "not an object", ("a",)),
        ({"a": "{custom|keys:cf}"}, "one `*`", ("a",)),
        ({"each": 1, "b": 2}, "stands alone", ()),
        ({"each": [{"each": 1}]}, "within another", ()),
        ({"...": "{email}"}, "spreads an object", ("...",)),
        ({"...": "{custom|json}"}, "something else", ("...",)),
    ],
)
def test_what_does_not_parse_says_where_and_why(body, words, path):
    with pytest.raises(TemplateError, match=words) as caught:
        parse_body(body)
    assert caught.value.path == path


def test_every_function_is_explained():
    assert all(FUNCTIONS.values())
