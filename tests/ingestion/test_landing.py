"""Files into the raw zone: every format, every damage, each version once."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import zstandard

from dagster_project.ingestion import ensure_raw, ingest, open_rejections
from dagster_project.ingestion.raw_zone import TABLES, locked, scan
from destinations.errors import LockedError, StoreroomError


def calls(make_call, count, first=0):
    return [make_call(messageId=f"m{i}", userId=f"u{i % 7}") for i in range(first, first + count)]


def lines(values) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def test_every_format_gives_the_same_events(make_zone, make_call, tmp_path):
    made = calls(make_call, 50)
    frame = pl.DataFrame(
        {
            "type": ["track"] * 50,
            "event": [c["event"] for c in made],
            "messageId": [c["messageId"] for c in made],
            "user_id": [c["userId"] for c in made],
            "timestamp": [c["timestamp"] for c in made],
            "properties": [json.dumps(c["properties"]) for c in made],
        }
    )
    typed = frame.with_columns(
        pl.col("timestamp").str.to_datetime(time_zone="UTC"),
        pl.lit({"price": 12.5}, dtype=pl.Struct({"price": pl.Float64})).alias("properties"),
    )
    parquet = tmp_path / "typed.parquet"
    typed.write_parquet(parquet)
    contents = {
        "a.jsonl": lines(made),
        "a.ndjson": lines(made).rstrip(b"\n"),
        "a.json": b"\xef\xbb\xbf" + lines(made).replace(b"\n", b"\r\n\r\n"),
        "a.jsonl.gz": gzip.compress(lines(made[:20])) + gzip.compress(lines(made[20:])),
        "a.jsonl.zst": zstandard.compress(lines(made[:20])) + zstandard.compress(lines(made[20:])),
        "a.csv": frame.write_csv().encode(),
        "a.csv.gz": gzip.compress(frame.write_csv(separator=";").encode()),
        "a.csv.zst": zstandard.compress(frame.write_csv(separator="\t").encode()),
        "a.parquet": parquet.read_bytes(),
    }
    zone = make_zone()
    for name, content in contents.items():
        zone.land(f"events/{name}", content)
    report = zone.ingest()
    assert (report.files_loaded, report.lines, report.events) == (9, 450, 450)
    assert report.rejected == {}
    same = ["message_id", "type", "event", "user_id", "timestamp", "properties"]
    events = zone.events()
    expected = events.filter(pl.col("file") == "events/a.jsonl").select(same).sort("message_id")
    for name in contents:
        found = events.filter(pl.col("file") == f"events/{name}")
        assert found.select(same).sort("message_id").equals(expected), name
    assert expected["timestamp"].unique().to_list() == [datetime(2024, 5, 31, 10)]  # noqa: DTZ001


def test_an_unchanged_file_is_loaded_once_and_a_changed_one_again(zone, make_call):
    path = zone.land("events/a.jsonl", calls(make_call, 3))
    assert zone.ingest().events == 3
    again = zone.ingest()
    assert (again.files_loaded, again.files_skipped, again.load_seqs) == (0, 1, ())
    os.utime(path)
    assert zone.ingest().files_skipped == 1
    (zone.raw / "stamps.json").unlink()
    assert zone.ingest().files_skipped == 1
    zone.land("events/a.jsonl", calls(make_call, 5))
    changed = zone.ingest()
    assert (changed.events, changed.load_seqs) == (5, (2,))
    zone.land("events/a.jsonl", calls(make_call, 3))
    assert zone.ingest().files_skipped == 1, "content that was loaded before under this name"


def test_same_size_and_mtime_do_not_hide_a_change(zone, make_call):
    old = time.time() - 1000
    path = zone.land("events/a.jsonl", [make_call(messageId="m1")])
    os.utime(path, (old, old))
    zone.ingest()
    zone.land("events/a.jsonl", [make_call(messageId="m2")])
    os.utime(path, (old, old))
    assert zone.ingest().events == 1
    assert zone.events()["message_id"].to_list() == ["m1", "m2"]


def test_a_broken_stamp_cache_is_no_harm(zone, make_call):
    zone.land("events/a.jsonl", calls(make_call, 3))
    zone.ingest()
    for content in (b"{", b"[]", b'{"events/a.jsonl": 5}', b'{"events/a.jsonl": ["x"]}'):
        (zone.raw / "stamps.json").write_bytes(content)
        assert zone.ingest().files_skipped == 1


def test_files_still_being_written_wait(zone, make_call):
    for name in ("events/.a.jsonl", "events/_a.jsonl", "events/a.jsonl.tmp", "events/a.PART",
                 "events/_dir/a.jsonl"):  # fmt: skip
        zone.land(name, calls(make_call, 1))
    zone.land("elsewhere/a.jsonl", calls(make_call, 1))
    report = zone.ingest()
    assert report.files_loaded == 0
    assert report.unmatched == ("elsewhere/a.jsonl",)


def test_a_file_that_changes_while_it_is_read_waits(zone, make_call, monkeypatch):
    from dagster_project.ingestion import landing as module

    zone.land("events/a.jsonl", calls(make_call, 2))
    growing = zone.land("events/b.jsonl", calls(make_call, 2))
    load_file = module.load_file

    def load_and_append(file, writer):
        counts = load_file(file, writer)
        if file.path == growing:
            with growing.open("ab") as out:
                out.write(lines(calls(make_call, 1, first=10)))
        return counts

    monkeypatch.setattr(module, "load_file", load_and_append)
    report = zone.ingest()
    assert (report.files_loaded, report.events) == (1, 2)
    assert "changed" in report.waiting["events/b.jsonl"]
    monkeypatch.undo()
    assert zone.ingest().events == 3


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_cut_stream_gives_what_could_be_read(zone, make_call, compress):
    made = [
        make_call(messageId=f"m{i}", properties={"x": random.Random(i).random()})
        for i in range(4000)
    ]
    whole = compress(lines(made))
    name = "events/a.jsonl." + ("gz" if compress is gzip.compress else "zst")
    zone.land(name, whole[: len(whole) * 2 // 3])
    report = zone.ingest()
    assert report.rejected == {"damaged_file": 1}
    assert report.lines == report.events + 1
    assert zone.reasons() == {report.events + 1: "damaged_file"}
    # A zstd frame comes in blocks of 128 KiB, so that a cut one may give none.
    assert compress is zstandard.compress or report.events > 2000
    assert zone.events()["message_id"].to_list() == [f"m{i}" for i in range(report.events)]
    zone.land(name, whole)
    assert zone.ingest().events == 4000
    assert zone.reasons() == {}, "the whole file took the place of the cut one"


def test_a_cut_csv_gives_whole_rows_only(zone, make_call):
    table = "type,event,userId,timestamp\n" + "".join(
        f"track,e,u{random.Random(i).random()},2024-05-01\n" for i in range(3000)
    )
    zone.land("events/a.csv.gz", gzip.compress(table.encode())[:-1000])
    report = zone.ingest()
    assert report.rejected == {"damaged_file": 1}
    assert report.events > 1000
    assert zone.events()["user_id"].str.len_chars().min() > 10
    assert zone.reasons() == {report.events + 2: "damaged_file"}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", b"", "empty_file"),
        ("a.jsonl", b"\n \n", "empty_file"),
        ("a.parquet", b"PAR1 no, it is not PAR1", "unreadable_file"),
        ("a.csv", b"\xff\xfe,b\n1,2\n", "unreadable_file"),
        ("a.csv", b"\n1,2\n", "unreadable_file"),
        ("a.csv", b"a,a\n1,2\n", "unreadable_file"),
        ("a.csv", b"id,price\n1,2\n", "unreadable_file"),
        ("a.pdf", b"%PDF", "unsupported_format"),
    ],
)
def test_what_cannot_be_read_is_rejected_as_a_whole(zone, make_call, name, content, reason):
    zone.land(f"events/bad/{name}", content)
    zone.land("events/good.jsonl", calls(make_call, 2))
    report = zone.ingest()
    assert report.rejected == {reason: 1}
    assert (report.events, report.lines) == (2, 3)
    assert zone.reasons() == {None: reason}
    assert zone.ingest().files_skipped == 2


def test_not_a_compressed_stream_at_all(zone):
    zone.land("events/a.jsonl.gz", b"plain text")
    zone.land("events/a.jsonl.zst", b"plain text")
    assert zone.ingest().rejected == {"damaged_file": 2}


def test_bad_csv_rows_stand_at_their_lines(zone):
    rows = b"type,event,userId,timestamp\ntrack,e,u,2024-05-01\nx,y\ntrack,e,,2024-05-01\n"
    zone.land("events/a.csv", rows + b"track,e,\xff,2024-05-01\ntrack,e,u\x00,2024-05-01\n")
    assert zone.ingest().events == 1
    assert zone.reasons() == {
        3: "bad_row",
        4: "missing_identity",
        5: "not_utf8",
        6: "nul_character",
    }


def test_a_line_longer_than_a_call_may_be(zone, make_call):
    long = make_call(messageId="long", properties={"text": "x" * (1 << 20)})
    zone.land("events/a.jsonl", [make_call(messageId="a"), long, make_call(messageId="b")])
    assert zone.ingest().rejected == {"too_long": 1}
    assert zone.reasons() == {2: "too_long"}
    assert zone.events()["message_id"].to_list() == ["a", "b"]


def test_lateness_and_progress(zone, make_call):
    zone.land(
        "events/a.jsonl",
        [
            make_call(
                messageId=str(i),
                timestamp="2024-05-01T00:00:00Z",
                receivedAt=f"2024-05-01T00:00:{i:02}Z",
            )
            for i in range(60)
        ],
    )
    seen = []
    report = ingest(
        zone.sources,
        zone.landing,
        zone.raw,
        datetime(2024, 6, 1, tzinfo=UTC),
        on_progress=seen.append,
    )
    assert (report.lateness.max, round(report.lateness.p95)) == (59.0, 56)
    assert (seen[-1].files, seen[-1].bytes) == (1, seen[-1].bytes_total)


def test_loads_are_bounded(zone, make_call, monkeypatch):
    monkeypatch.setattr("dagster_project.ingestion.landing.LOAD_BYTES", 2000)
    for i in range(6):
        zone.land(f"events/{i}.jsonl", calls(make_call, 5, first=i * 5))
    report = zone.ingest()
    assert len(report.load_seqs) > 2
    assert report.load_seqs == tuple(range(1, len(report.load_seqs) + 1))
    assert sorted(zone.events()["message_id"]) == sorted(f"m{i}" for i in range(30))


def test_the_empty_load_is_always_there(tmp_path):
    ensure_raw(tmp_path / "raw")
    ensure_raw(tmp_path / "raw")
    for name, schema in TABLES.items():
        frame = scan(tmp_path / "raw", name).collect()
        assert frame.height == 0
        assert dict(frame.drop("load_seq").schema) == schema
    assert open_rejections(tmp_path / "raw").collect().is_empty()


def test_an_empty_landing_zone_is_fine_and_a_missing_one_is_not(zone):
    report = zone.ingest()
    assert (report.load_seqs, report.lateness) == ((), None)
    zone.landing.rmdir()
    with pytest.raises(StoreroomError, match=r"does not exist.*Create the folder"):
        zone.ingest()
    with pytest.raises(ValueError, match="time zone"):
        ingest(zone.sources, zone.root, zone.raw, datetime(2024, 1, 1))  # noqa: DTZ001


def test_two_at_once_do_not_mix(zone, make_call):
    zone.land("events/a.jsonl", calls(make_call, 1))
    ensure_raw(zone.raw)
    with locked(zone.raw), pytest.raises(LockedError, match=str(os.getpid())):
        zone.ingest()
    assert zone.ingest().events == 1


LOADER = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from dagster_project.ingestion import Sources, ingest
module = sys.modules["dagster_project.ingestion.landing"]
module.LOAD_BYTES = 40_000
root = Path(sys.argv[1])
sources = Sources.model_validate({"sources": [{"name": "events", "path": "events/**/*"}]})
print("ready", flush=True)
ingest(sources, root / "landing", root / "raw", datetime(2024, 6, 1, tzinfo=UTC))
"""


def test_killed_at_any_moment_nothing_is_lost_or_doubled(zone, make_call):
    for i in range(24):
        zone.land(
            f"events/{i:02}.jsonl", [*calls(make_call, 120, first=i * 120), {"type": "nonsense"}]
        )
    chance = random.Random(7)
    killed = 0
    for attempt in range(40):
        process = subprocess.Popen(
            [sys.executable, "-c", LOADER, str(zone.root)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        process.stdout.readline()
        try:
            process.wait(chance.uniform(0, 0.4) if attempt < 12 else 60)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        process.stdout.close()
        if process.returncode == 0:
            break
        if (zone.raw / "loads" / "load_seq=00000000").is_dir():
            zone.check_accounts()
    assert killed >= 5
    zone.ingest()
    assert sorted(zone.events()["message_id"]) == sorted(f"m{i}" for i in range(24 * 120))
    files = zone.table("files")
    assert sorted(files["file"]) == [f"events/{i:02}.jsonl" for i in range(24)]
    assert len(zone.reasons()) == 1
    assert zone.table("rejected").height == 24
    assert sorted(files["load_seq"].unique()) == list(range(1, files["load_seq"].max() + 1))
