"""A plausible shop, one day of files at a time.

Day 1 is the first load of a shop that has traded for half a year: its ERP and CRM hand
over all they know, its web and app collectors the last two weeks. Every later day
brings that day's calls, orders, refunds and changed customers. What a day holds
depends on the seed, the number of people and the day alone.
"""

from __future__ import annotations

import zlib
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from dagster_project.demo import files
from dagster_project.demo.calls import visit_calls
from dagster_project.demo.exports import REFUND_WITHIN, customers, history_orders, order_lines
from dagster_project.demo.flaws import BAD_PRICE, KINDS, bad_orders, flawed
from dagster_project.demo.people import COLLECTED_FROM, population
from dagster_project.demo.visits import delivered_on, visits

START = date(2026, 1, 5)
# People at a time: bounds the memory whatever the population. Day 1 has far more of each.
_SLICE_FIRST, _SLICE_LATER = 25_000, 100_000
_CUT_LINES = 200


@dataclass(frozen=True)
class DemoDay:
    """What one day's files hold."""

    day: int
    date: date
    files: tuple[Path, ...]
    """Those of the sources web, app, erp and crm, in this order; none of a source without rows."""
    calls: dict[str, int]
    """Good calls by source, copies included: an order is one call, whatever its lines."""
    bad: dict[str, int]
    """What is to be rejected, by kind of flaw: web lines, except ``bad_price`` (orders of the ERP)
    and ``truncated_file`` (files, of which what comes before the break is readable)."""
    repeated: int
    """Of ``calls``, those whose message id stands in the same day's files already."""
    resent: int
    """Of ``calls``, those delivered the day before already."""
    late: int
    """Of ``calls``, those of an app that was offline on the day they happened, resent ones aside."""


def generate(
    landing: Path, day: int, users: int = 2000, seed: int = 7, start: date = START
) -> DemoDay:
    """Write the files of one day under ``landing``; again gives the same bytes.

    ``day`` counts from 1, which is the date ``start``; ``users`` is the number of people who
    ever come, some of them on later days.

    Raises:
        ValueError: ``day`` is below 1 or ``users`` below 0.
    """
    if day < 1 or users < 0:
        raise ValueError(f"day counts from 1 and users from 0, not day={day}, users={users}")
    today = start + timedelta(days=day - 1)
    web, app = landing / f"web/{today}.jsonl.gz", landing / f"app/{today}.jsonl.zst"
    erp, crm = landing / f"erp/orders-{today}.csv", landing / f"crm/customers-{today}.parquet"
    count: Counter[str] = Counter()
    bad: Counter[str] = Counter(dict.fromkeys((*KINDS, "truncated_file"), 0))
    cut = pl.DataFrame(schema={"line": pl.String})
    nobody = _Slice.of(0, 0, day, seed, start)
    with ExitStack() as stack:
        add_web = stack.enter_context(files.gzip_lines(web))
        add_app = stack.enter_context(files.zstd_lines(app))
        add_erp = stack.enter_context(files.csv(erp, nobody.orders.columns))
        add_crm = stack.enter_context(files.parquet(crm, nobody.customers))
        size = _SLICE_FIRST if day == 1 else _SLICE_LATER
        for first in range(0, users, size):
            part = _Slice.of(first, min(first + size, users), day, seed, start)
            browsed = part.calls.filter(~pl.col("app"))
            flaws = flawed(browsed)
            add_web(pl.concat([browsed.select("line"), *flaws.values()]))
            add_app(part.calls.filter("app").select("line"))
            unreadable = bad_orders(part.orders)
            add_erp(part.orders)
            add_erp(unreadable)
            add_crm(part.customers)
            bad.update({kind: rows.height for kind, rows in flaws.items()})
            bad[BAD_PRICE] += unreadable.height
            count.update(part.count())
            cut = browsed.select("line").head(_CUT_LINES) if first == 0 else cut
    written = [web, app, erp, crm]
    if day == 1:
        written.append(landing / f"web/{today}-upload-2.jsonl.gz")
        readable = _cut_upload(written[-1], cut)
        count.update({"web": readable, "repeated": readable})
        bad["truncated_file"] += written[-1].exists()
    return DemoDay(
        day=day,
        date=today,
        files=tuple(path for path in written if path.exists()),
        calls={source: count[source] for source in ("web", "app", "erp", "crm")},
        bad=dict(bad),
        repeated=count["repeated"],
        resent=count["resent"],
        late=count["late"],
    )


@dataclass(frozen=True)
class _Slice:
    """One day of some of the people."""

    calls: pl.DataFrame
    orders: pl.DataFrame
    customers: pl.DataFrame

    @staticmethod
    def of(first: int, last: int, day: int, seed: int, start: date) -> _Slice:
        people = population(first, last, seed)
        earliest = COLLECTED_FROM if day == 1 else day - REFUND_WITHIN
        found = visits(people, earliest, day)
        placed = found.filter("orders")
        if day == 1:
            placed = pl.concat([history_orders(people), placed], how="diagonal")
        return _Slice(
            calls=visit_calls(delivered_on(found, day), start),
            orders=order_lines(placed, day, start),
            customers=customers(people, day, start),
        )

    def count(self) -> dict[str, int]:
        copy = self.calls["copy"]
        return {
            "web": self.calls.height - int(self.calls["app"].sum()),
            "app": int(self.calls["app"].sum()),
            "erp": self.orders.n_unique(["order_id", "status"]),
            "crm": self.customers.height,
            "repeated": int((copy == "repeated").sum()),
            "resent": int((copy == "resent").sum()),
            "late": int((self.calls["late"] & (copy != "resent")).sum()),
        }


def _cut_upload(path: Path, lines: pl.DataFrame) -> int:
    """An upload that broke off and was begun anew: nothing in it that the whole file lacks.

    Returns how many whole lines can still be read of it.
    """
    text = files.zipped(files.as_text(lines)) if lines.height else b""
    broken = text[: len(text) * 3 // 5]
    with files.appearing(path) as file:
        file.write(broken)
    return zlib.decompressobj(wbits=31).decompress(broken).count(b"\n")
