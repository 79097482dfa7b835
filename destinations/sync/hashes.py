"""Key, content hash and fate of every row of a snapshot, kept beside a sync's ledger.

::

    hashes-<digest>.parquet    _key, _hash and _class String, in the snapshot's order

Hashing costs far more than comparing, and the hashes depend on the audience's rows and on
the sync's declaration alone (``<digest>`` names both). So they are worked out once, in a
stream, and whoever plans on the same rows again reads two columns. The file holds nothing
that could not be worked out anew: it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl

from destinations.driver import HASH, KEY
from destinations.errors import StoreroomError
from destinations.sync.config import SyncConfig
from destinations.sync.content import with_hash
from destinations.sync.durable import opened, place
from destinations.sync.fields import mapped
from destinations.sync.snapshot import ROWS_PER_GROUP, Snapshot
from destinations.sync.suppression import IDENTIFIER, SUPPRESSED, Suppression, comparable

CLASS = "_class"
PATTERN = "hashes-*"


def hashed(
    snapshot: Snapshot,
    config: SyncConfig,
    consent_column: str | None,
    suppression: Suppression,
    folder: Path,
    identifiers: list[str],
) -> pl.LazyFrame:
    """``_key``, ``_hash``, ``_class`` String of every row, sorted by key (nulls first).

    ``_class`` is null where the row is wanted, else ``duplicate``, ``deleted``, ``filtered``
    or ``withheld``.

    Args:
        folder: where the hashes are kept; those of other rows or declarations are deleted.
        identifiers: columns by which the destination knows who is meant.

    Raises:
        StoreroomError: the snapshot is not in the order in which audiences are published.
    """
    identifiers = identifiers if suppression.identifiers else []
    declared = (
        "/".join(identifiers) + f"{config.fingerprint(consent_column)}/{suppression.fingerprint()}"
    )
    named = hashlib.sha256(f"{snapshot.digest}/{declared}".encode()).hexdigest()[:32]
    path = folder / f"hashes-{named}.parquet"
    if not path.exists():
        for other in folder.glob(PATTERN):
            other.unlink(missing_ok=True)
        rows = _rows(snapshot, config, consent_column, suppression, identifiers)
        place(
            path,
            lambda temporary: rows.sink_parquet(
                temporary, compression="lz4", row_group_size=ROWS_PER_GROUP, engine="streaming"
            ),
            cache=True,
        )
        if not _in_order(path):
            path.unlink()
            raise StoreroomError(
                f"{snapshot.path} is not sorted by '{config.key}'.", "Publish the audience again."
            )
    return pl.scan_parquet(opened(path), glob=False)


def _rows(
    snapshot: Snapshot,
    config: SyncConfig,
    consent_column: str | None,
    suppression: Suppression,
    identifiers: list[str],
) -> pl.LazyFrame:
    scan = snapshot.scan()
    wanted = pl.sql_expr(config.where) if config.where is not None else pl.lit(True)
    consented = pl.col(consent_column) if consent_column is not None else pl.lit(True)
    rows = scan.select(
        pl.col(config.key).cast(pl.String).alias(KEY),
        pl.when(~wanted.fill_null(False))
        .then(pl.lit("filtered"))
        .when(~consented.fill_null(False))
        .then(pl.lit("withheld"))
        .otherwise(pl.lit(None, dtype=pl.String))
        .alias(CLASS),
        *(
            comparable(pl.col(column)).alias(f"{IDENTIFIER}{number}")
            for number, column in enumerate(identifiers)
        ),
        *mapped(config, "add", scan.collect_schema()),
    )
    types = {name: dtype for name, dtype in rows.collect_schema().items() if name in config.mapping}
    found = with_hash(rows, types, HASH).select(KEY, HASH, CLASS, pl.col(f"^{IDENTIFIER}.*$"))
    if suppression.deleted or suppression.identifiers:
        deleted = pl.when(SUPPRESSED).then(pl.lit("deleted")).otherwise(pl.col(CLASS))
        found = (
            suppression.marked(found).with_columns(deleted.alias(CLASS)).select(KEY, HASH, CLASS)
        )
    same = pl.col(KEY) == pl.col(KEY).shift(1)
    twice = (same | (pl.col(KEY) == pl.col(KEY).shift(-1))).fill_null(False)
    return found.with_columns(
        pl.when(twice).then(pl.lit("duplicate")).otherwise(pl.col(CLASS)).alias(CLASS)
    )


def _in_order(path: Path) -> bool:
    key = pl.col(KEY)
    backwards = (key < key.shift(1)).any() | (key.is_null() & key.shift(1).is_not_null()).any()
    found = pl.scan_parquet(opened(path), glob=False).select(backwards).collect(engine="streaming")
    return not found.item()
