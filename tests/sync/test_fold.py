"""Folding events into state, against a model that goes event by event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.sync.fold import STATE, fold, stretches
from destinations.sync.journal import EVENTS, Entry, Journal, frames_of

START = datetime(2026, 1, 1, tzinfo=UTC)
ANSWERS = ("accepted", "rejected", "retry", "in_doubt")


@dataclass
class Known:
    hash: str | None = None
    maybe: bool = False
    refused: str | None = None
    attempts: int = 0
    remote_id: str | None = None

    @property
    def gone(self) -> bool:
        return self.hash is None and not self.maybe and self.refused is None


step = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from(("send", "send", "send", "rule", "forget")),
    st.sampled_from(("add", "update", "remove")),
    st.sampled_from(ANSWERS),
    st.sampled_from(("h1", "h2", "h3")),
    st.none() | st.just("r1"),
)
run = st.tuples(st.lists(step, max_size=8), st.sets(st.sampled_from("abc")))


def told(
    model: dict[str, Known], key: str, event: str, change: str, hash_: str, remote: str | None
) -> None:
    known = model.setdefault(key, Known())
    if event == "accepted" and change == "remove":
        model[key] = Known()
    elif event == "accepted":
        model[key] = Known(hash_, remote_id=remote or known.remote_id)
    elif event == "rejected":
        known.refused, known.attempts = change, known.attempts + 1
    elif event == "in_doubt":
        known.maybe = True
    elif event == "forget":
        known.refused, known.attempts = None, 0


@settings(max_examples=150, deadline=None)
@given(st.lists(run, min_size=1, max_size=4))
def test_fold_agrees_with_the_model(runs) -> None:
    state = pl.DataFrame(schema=STATE)
    model: dict[str, Known] = {}
    for steps, killed in runs:
        events = []

        def note(key, event, change, hash_, remote, events=events):
            at = START + timedelta(seconds=len(events))
            events.append((key, event, change, hash_, remote, None, at, None))

        accepted = set()
        # A run forgets first and sends then.
        for key, kind, change, answer, hash_, remote in sorted(
            steps, key=lambda s: s[1] != "forget"
        ):
            if key in accepted:  # a run sends nothing more of a row that was accepted
                continue
            if (kind, answer) == ("send", "accepted"):
                accepted.add(key)
            if kind == "forget":
                note(key, "forget", None, None, None)
                told(model, key, "forget", change, hash_, None)
            elif kind == "rule":
                note(key, "rejected", change, hash_, None)
                told(model, key, "rejected", change, hash_, None)
            else:
                note(key, "claim", change, None, None)
                note(key, answer, change, hash_, remote)
                told(model, key, answer, change, hash_, remote)
        for key in killed - accepted:  # claimed, then the process died
            note(key, "claim", "add", None, None)
            model.setdefault(key, Known()).maybe = True
        if not events:
            continue
        frame = pl.DataFrame(events, schema=EVENTS, orient="row")
        delta = fold(frame, state.lazy(), "run").rows
        assert delta["_key"].is_sorted()
        untouched = state.join(delta, on="_key", how="anti")
        state = pl.concat([untouched, delta.filter(~pl.col("gone")).select(list(STATE))]).sort(
            "_key"
        )
        found = {
            row["_key"]: Known(
                row["hash"], row["maybe"], row["refused"], row["attempts"], row["remote_id"]
            )
            for row in state.iter_rows(named=True)
        }
        for known in model.values():
            if known.hash is None and not known.maybe:
                known.remote_id = known.remote_id if known.refused else None
        model = {key: known for key, known in model.items() if not known.gone}
        assert found == model


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("abcdefghij"), st.integers(0, 99)), min_size=1, max_size=5
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 20),
)
def test_stretches_give_every_event_once_by_keys_and_in_order(written, at_once) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr("destinations.sync.fold.EVENTS_AT_ONCE", at_once)
        journal = Journal(Path(folder) / "journal")
        for events in written:
            names = [key for key, _ in events]
            journal.commit(
                [Entry(names, ["accepted"] * len(names), messages=[str(n) for _, n in events])]
            )
        journal.close()
        parts = list(stretches(journal.path, frames_of(journal.path)))
    seen: list[str] = []
    for part in parts:
        assert not seen or max(seen) < part["_key"].min()
        seen += part["_key"].to_list()
    found = pl.concat(parts).select("_key", "message")
    for key in "abcdefghij":
        told = [str(number) for events in written for name, number in events if name == key]
        assert found.filter(pl.col("_key") == key)["message"].to_list() == told
