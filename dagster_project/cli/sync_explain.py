"""``storeroom syncs explain``: one person, from the audience to the destination's answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from dagster_project.cli.output import Exit, cell, out, print_json
from dagster_project.cli.syncs import Json, chosen
from destinations.paths import audiences_dir, syncs_dir
from destinations.sync.explain import Explanation
from destinations.sync.explain import explain as explain_key


def explain(
    profile: str,
    *,
    connection: str | None = None,
    audience: str | None = None,
    show_values: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> Exit:
    """Say why a person is, or is not, at a destination: audience, consent, ledger, run, answer.

    Parameters
    ----------
    profile
        The person's key in the audiences (profile_id).
    connection
        Only this connection.
    audience
        Only this audience.
    show_values
        Leave the person's data readable; it is masked otherwise.
    as_json
        Print one JSON object a line.
    """
    found = [
        explain_key(
            sync.config, sync.consent_column, audiences_dir(), syncs_dir(), profile, show_values
        )
        for sync in chosen(connection, audience)
    ]
    if as_json:
        print_json(asdict(one) for one in found)
        return Exit.DONE
    for one in found:
        _show(one)
    return Exit.DONE


def _show(one: Explanation) -> None:
    out.print(f"[bold]{one.sync}[/]: {one.verdict}")
    _say(one.why)
    for row in one.rows:
        values = ", ".join(f"{name}={value}" for name, value in row.items() if value is not None)
        _say(f"audience {one.snapshot}: {values}")
    if one.ledger:
        ledger = one.ledger
        content = "the present content" if ledger["present"] else "other content, or none"
        _say(
            f"ledger: {ledger['state']}, {content} acknowledged; remote id "
            f"{cell(ledger['remote_id'])}; first {cell(ledger['first_at'])}, last "
            f"{cell(ledger['last_at'])}; refused {ledger['attempts']} times"
        )
        if ledger["run"]:
            _say(
                f"last answered: request {cell(ledger['request'])} of run {ledger['run']}; held as "
                f"it is since {cell(ledger['changed_at'])}, run {cell(ledger['changed_run'])}"
            )
        if ledger["message"]:
            _say(f"it said: {ledger['message']}")
    if one.run:
        _say(f"run {one.run['run']} ({one.run['status']}): {one.run['accounting']}")
    for answer in one.answers:
        _say(f"request: {answer.get('request')}")
        _say(f"answer: {answer.get('response')}")
    if one.interrupted:
        _say("A run is under way, or was killed: its answers are not in this yet.")


def _say(text: str) -> None:
    out.print(f"  {text}", markup=False, soft_wrap=True)
