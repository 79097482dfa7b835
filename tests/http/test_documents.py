"""Answers in every format, read into the same values."""

import pytest

from destinations.http.documents import MISSING, document_of, found, listed, parsed
from destinations.http.xml_reading import XmlError, xml_root
from destinations.language.replies import Answer

ENTITIES = b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'


@pytest.mark.parametrize(
    ("form", "body", "value"),
    [
        ("json", b'{"a": 1}', {"a": 1}),
        ("ndjson", b'{"a": 1}\n\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ("csv", b'\xef\xbb\xbfa,b.c\r\n1,"x, ""y""\r\nz"\r\n', [{"a": "1", "b.c": 'x, "y"\r\nz'}]),
        ("csv", b"a,b\r\n", []),
        ("csv", b"a,b\r\n1\r\n", MISSING),
        ("csv", b"a,a\r\n1,2\r\n", MISSING),
        ("xml", b"<a b='1'>t<c>2</c><d/><d>3</d></a>",
         {"a": {"@b": "1", "#text": "t", "c": "2", "d": ["", "3"]}}),
        ("xml", b"<a>", MISSING),
        ("xml", ENTITIES, MISSING),
        ("text", "é".encode(), "é"),
        ("text", b"\xff", MISSING),
    ],
)  # fmt: skip
def test_formats(form, body, value):
    assert parsed(body, form) == value


def test_no_document_type_is_read():
    with pytest.raises(XmlError, match="document type"):
        xml_root(ENTITIES)


def test_an_error_may_be_json_whatever_the_format():
    answer = Answer(format="csv")
    assert document_of(b'{"message": "no"}', answer, 400) == {"message": "no"}
    assert document_of(b"a\r\n1\r\n", answer, 200) == [{"a": "1"}]


def test_one_element_of_xml_is_a_list_of_one():
    document = parsed(b"<a><e><id>1</id></e><none/></a>", "xml")
    assert listed("a.e", document, "xml") == [{"id": "1"}]
    assert listed("a.none", document, "xml") == []
    assert listed("a.other", document, "xml") is MISSING
    assert found("b.c", {"b.c": 1}) == 1
