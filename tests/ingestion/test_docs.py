"""docs/ingestion.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from dagster_project.ingestion import REASONS, Sources

PAGE = (Path(__file__).parents[2] / "docs" / "ingestion.md").read_text(encoding="utf-8")


def test_every_reason_is_on_the_page_and_no_other():
    section = PAGE.split("## Rejected rows", 1)[1]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, flags=re.MULTILINE)) == REASONS


def test_the_example_makes_calls(make_zone):
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    zone = make_zone()
    zone.sources = Sources.model_validate(yaml.safe_load(example))
    zone.land(
        "erp/orders-1.csv",
        "order_id,customer,status,ordered_at,sku,quantity,price\n"
        "1,c1,completed,2024-05-01,a,2,1.50\n1,c1,completed,2024-05-01,b,1,2\n2,c1,open,,a,1,n/a\n",
    )
    report = zone.ingest()
    assert (report.events, report.filtered, report.rejected) == (1, 1, {})
    assert json.loads(zone.events()["properties"].item()) == {
        "order_id": "1",
        "revenue": 5.0,
        "products": [{"product_id": "a", "quantity": 2}, {"product_id": "b", "quantity": 1}],
    }
