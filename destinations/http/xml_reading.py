"""XML from elsewhere, read without what makes XML dangerous: no document type, so no entities."""

from __future__ import annotations

from typing import Any, NoReturn
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.parsers import expat


class XmlError(ValueError):
    """Bytes that are no XML, or XML with a document type."""


def xml_root(content: bytes) -> Element:
    """The root element; names of namespaces are left as they are written (``soap:Body``).

    Raises:
        XmlError: no well-formed XML, or one with a document type.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refused
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
        return builder.close()
    except (expat.ExpatError, ParseError, AssertionError) as error:
        raise XmlError(f"not XML: {error}") from None


def _refused(*_: Any) -> NoReturn:
    raise XmlError("a document type is not read")
