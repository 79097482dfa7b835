"""What an answer means: the `answer:` and `errors:` of a spec."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from destinations.language.part import Part

HEADER = "header:"
"""Before the name of a header whose value is captured."""


class NamedRows(Part):
    """A list in the answer that names rows, by position or by a value of theirs.

    Exactly one of ``index`` and ``key`` says how an element names its row.
    """

    at: str
    """Dotted path of the list in the answer."""
    index: str | None = None
    """Dotted path, in an element, of the row's position in the request; ``@`` the element
    itself; ``#`` the element's own position in the list (answers parallel to the request)."""
    key: str | None = None
    """Dotted path, in an element, of the value that names the row; ``@`` the element itself.
    A list found there names several rows."""
    field: str = "meta.key"
    """Which value of the row it is: a field, ``meta.key`` or ``remote_id``."""
    when: dict[str, Any] = {}
    """Only elements in which these dotted paths have these values (``{status: error}``)."""
    message: str | None = None
    """Dotted path, in an element, of the vendor's words."""
    id: str | None = None
    """Dotted path, in an element, of the destination's own id of the row."""


def _several(declared: Any) -> Any:
    return (declared,) if isinstance(declared, dict | NamedRows) else declared


_Lists = Annotated[
    tuple[NamedRows, ...],
    BeforeValidator(_several, json_schema_input_type=NamedRows | tuple[NamedRows, ...]),
]


class Answer(Part):
    """When an answer means that rows were taken; everything else is an error.

    The rows accepted are: those that ``accepted`` names; or, without it, all rows that
    ``rejected`` does not name, provided ``status`` and ``body`` hold and ``count`` agrees.
    A row that an ``accepted`` list should name and does not is in doubt, never delivered.
    """

    format: Literal["json", "csv", "xml", "ndjson", "text"] = "json"
    """How a successful answer is read (:mod:`destinations.http.documents`); errors may be JSON too."""
    status: tuple[int, ...] = (200,)
    body: dict[str, Any] = {}
    """Dotted paths that must have these values, else the whole answer is an error
    (``{success: true}``; a list: any of its values; null: absent or null; ``[]``: an empty list)."""
    accepted: NamedRows | None = None
    rejected: _Lists = ()
    """One list, or several where the vendor parts its refusals by reason."""
    retry: _Lists = ()
    """The same of rows that the vendor cannot take now (throttled, locked): they are sent again."""
    count: str | None = None
    """Dotted path of the number of rows taken; another number than sent is a refusal of the
    batch without row detail."""
    refused_count: str | None = None
    """Dotted path of the number of rows not taken; more than 0, or beside ``rejected`` more than
    its lists name, likewise."""
    at: str | None = None
    """Dotted path of a list in which ``match`` finds the row's element; ``id`` and ``capture``
    are then paths in that element (one row per request only)."""
    match: dict[str, str] = {}
    """Dotted paths in an element, with the values it must have: ``{email: "{email}"}``; without
    any the list's first element. Text is compared as it stands, e-mail fields in any case."""
    capture: dict[str, str] = {}
    """Name -> dotted path of a value that later steps use, for all rows of the request; it must
    be there, unless the path ends in ``?``. ``header:Location`` is a header of the answer."""
    id: str | None = None
    """Dotted path of the destination's own id of the row (one row per request only): from then
    on ``{remote_id}`` and ``{<step>.id}``. It must be there, unless the path ends in ``?``."""

    @property
    def lists(self) -> tuple[NamedRows, ...]:
        """All lists that name rows, those of the accepted first."""
        return (*((self.accepted,) if self.accepted else ()), *self.rejected, *self.retry)


class ErrorRule(Part):
    """What an answer means, whatever its status. Rules are asked before ``answer``; the first
    that fits decides. Without one: 401 and 403 are ``auth``, 408, 425, 429 and 5xx ``retry``,
    other 4xx ``reject``, redirects ``abort``; another 2xx than promised leaves rows in doubt.
    """

    status: tuple[int, ...] = ()
    """Statuses it is for; empty for any."""
    body: dict[str, Any] = {}
    """Dotted paths that must have these values for the rule to fit (as in ``answer``)."""
    means: Literal["reject", "retry", "auth", "abort", "accept", "done", "gone"]
    """``reject`` the row (or, for a batch, find the guilty rows), ``retry`` later, ``auth``: the
    credentials are wrong, ``abort``: nothing can succeed on this connection, ``accept``: what was
    asked already is so (409 on a creation; later steps follow), ``done``: nothing remains to be
    done for the row (404 on a removal; later steps are left out), ``gone``: nothing is known by the
    remembered ``{remote_id}`` any more (the row goes through the steps again without it, once)."""
    capture: dict[str, str] = {}
    """With ``accept``: what later steps need, found in this answer (the id in a conflict)."""


class RetryAfter(Part):
    """Where the vendor says how long to wait, and in which form."""

    header: str = "Retry-After"
    """Asked first; ``Retry-After`` itself is always understood."""
    body: str | None = None
    """Dotted path in the answer, asked where no header says anything."""
    form: Literal["seconds", "milliseconds", "epoch", "date", "auto"] = "auto"
