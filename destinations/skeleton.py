"""The start of a spec: what an author fills in, and what the loader then asks for."""

from __future__ import annotations

import json

AUTH = {
    "bearer": 'auth: {type: bearer, token: "{settings.api_key}"}',
    "header": 'auth: {type: header, name: X-Api-Key, value: "{settings.api_key}"}',
    "query": 'auth: {type: query, name: api_key, value: "{settings.api_key}"}',
    "basic": 'auth: {type: basic, username: api, password: "{settings.api_key}"}',
}
"""How to log in -> the line that says so; the other logins stand in the language's reference."""


def skeleton(destination: str, name: str, docs: str, base_url: str, auth: str) -> str:
    """A spec that loads, with one operation to be put right by the vendor's documentation."""
    login = AUTH[auth]
    query = ", query: {api_key: <api_key>}" if auth == "query" else ""
    page = json.dumps(docs)
    return f"""\
id: {destination}
name: {json.dumps(name, ensure_ascii=False)}
docs: {page}
settings:
  api_key: {{description: API key, secret: true}}
  list_id: {{description: Id of the list that holds the audience, example: "1", pattern: "[A-Za-z0-9_-]+"}}
base_url: {json.dumps(base_url)}
{login}
# limits: [{{requests: 10, per: 1, docs: {page}}}]
fields:
  email: {{normalise: email, identifier: true, required: true}}
  first_name: {{}}
operations:
  add:
    request: POST /lists/{{settings.list_id}}/members
    # batch: {{rows: 100, docs: {page}}}   # with `each:` around the rows of the body
    body: {{email: "{{email}}", first_name: "{{first_name}}", attributes: "{{custom}}"}}
  remove:
    request: DELETE /lists/{{settings.list_id}}/members/{{email}}
    effect: Takes the person off the list.   # else: remove_none: why there is none
    errors: [{{status: [404], means: done}}]
message: message
# check: {{request: GET /me, answer: {{id: name}}}}
examples:   # from the vendor's page: rows, the exact requests, answers and what they mean
  - operation: remove
    rows: [{{email: ann@example.com}}]
    requests: [{{request: DELETE {_path(base_url)}/lists/1/members/ann%40example.com{query}}}]
    answers: [{{status: 404}}]
    outcomes: [accepted]
"""


def _path(base_url: str) -> str:
    _, _, rest = base_url.partition("://")
    _, slash, path = rest.partition("/")
    return (slash + path).rstrip("/")
