"""YAML with the line of every key, and nothing that could hang or fool a reader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

MOST_CHARACTERS = 200_000
MOST_NODES = 20_000
DEEPEST = 40

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Dates stay text: a body says what it says."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}


class MarkedError(ValueError):
    """Text that is no YAML, or none that a spec may be."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True)
class Marked:
    value: Any
    node: yaml.Node

    def line(self, path: tuple[Any, ...]) -> int:
        """The line (from 1) of the deepest key on ``path`` that the text has."""
        node, line = self.node, self.node.start_mark.line
        for name in path:
            step = _below(node, name)
            if step is None:
                continue  # the name of a variant, which stands in no file
            line, node = step
        return line + 1

    def has(self, path: tuple[Any, ...]) -> bool:
        """Whether ``path`` leads, name by name, to something in the text."""
        node = self.node
        for name in path:
            step = _below(node, name)
            if step is None:
                return False
            node = step[1]
        return True


def read(text: str) -> Marked:
    """Parse one document.

    Raises:
        MarkedError: not YAML, a key given twice, or too large or deep to be a spec.
    """
    if len(text) > MOST_CHARACTERS:
        raise MarkedError(f"longer than {MOST_CHARACTERS} characters", 1)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise MarkedError("the file is empty", 1)
            _measure(node)
            return Marked(loader.construct_document(node), node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise MarkedError(f"not YAML: {error.problem}", mark.line + 1 if mark else 1) from None
    except yaml.YAMLError as error:
        raise MarkedError(f"not YAML: {error}", 1) from None
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        if isinstance(error, MarkedError):
            raise
        raise MarkedError(f"not a value that YAML has: {error}", 1) from None


def _measure(root: yaml.Node) -> None:
    """Refuse what aliases blow up, and keys that stand twice."""
    seen = 0
    waiting = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        line = node.start_mark.line + 1
        if seen > MOST_NODES or depth > DEEPEST:
            raise MarkedError("too large or too deep to be a spec", line)
        if isinstance(node, yaml.SequenceNode):
            waiting += [(child, depth + 1) for child in node.value]
        elif isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, child in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in names and key.value != "<<":
                        raise MarkedError(
                            f"the key '{key.value}' stands twice", key.start_mark.line + 1
                        )
                    names.add(key.value)
                waiting.append((child, depth + 1))


def _below(node: yaml.Node, name: Any) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        # The last of equal keys is the one that holds: merged keys come first.
        for key, child in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value == str(name):
                return key.start_mark.line, child
    if isinstance(node, yaml.SequenceNode) and isinstance(name, int) and name < len(node.value):
        return node.value[name].start_mark.line, node.value[name]
    return None
