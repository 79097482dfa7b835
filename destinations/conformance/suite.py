"""Asking one destination every question."""

from __future__ import annotations

import io
import logging
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from destinations.conformance.bench import Bench, DoesNotApply, Failed, bench, expect
from destinations.conformance.cases import CASES
from destinations.language.spec import Spec
from destinations.sandbox import Sandbox


@dataclass(frozen=True)
class Verdict:
    case: str
    state: Literal["ok", "failed", "skipped"]
    text: str = ""

    def as_row(self) -> dict[str, str]:
        return {"case": self.case, "state": self.state, "text": self.text}


def examine(spec: Spec, sandbox: Sandbox, only: Iterable[str] | None = None) -> Iterator[Verdict]:
    """Ask one destination every question, or some; the sandbox has to play it."""
    with bench(spec, sandbox) as opened:
        for name in only or CASES:
            yield ask(opened, name)


def ask(opened: Bench, name: str) -> Verdict:
    """One case, on a destination that remembers nothing and behaves."""
    if opened.sandbox is not None:
        opened.sandbox.reset(opened.spec.id)
    opened.outcomes.clear()
    try:
        with _listening() as heard:
            CASES[name](opened)
        _no_secret(opened, heard.getvalue())
    except DoesNotApply as why:
        return Verdict(name, "skipped", str(why))
    except Failed as failure:
        return Verdict(name, "failed", str(failure))
    except Exception:
        return Verdict(name, "failed", traceback.format_exc(limit=-3))
    return Verdict(name, "ok")


@contextmanager
def _listening() -> Iterator[io.StringIO]:
    """Everything that is logged inside the block, of every level."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _no_secret(opened: Bench, logged: str) -> None:
    """Nothing that is kept or logged holds a secret."""
    secrets = [f"sandbox-{name}" for name, one in opened.spec.settings.items() if one.secret]
    kept = "\n".join(str(one) for one in opened.outcomes)
    for secret in secrets if opened.sandbox is not None else ():
        expect(secret not in logged, f"the secret {secret} was logged")
        expect(secret not in kept, f"the secret {secret} stands in what is kept of an answer")
