import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from destinations import registry
from destinations.catalog_index import digest_of
from destinations.connections import Connection
from destinations.errors import ConfigurationError
from destinations.language.requests import Request

GOOD = (Path(registry.CATALOG) / "crm" / "hubspot.yaml").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path / "state"))


def connection(destination="hubspot", sandbox=False, **given):
    return Connection(
        name="crm",
        destination=destination,
        consent="not_required",
        settings=given,
        sandbox=sandbox,
    )


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Installs a package of specs, as an installed distribution would look."""

    def install(name: str, specs: dict[str, str]):
        site = tmp_path / name
        package = site / f"{name}_specs"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise RuntimeError('listing runs no plugin code')")
        for destination, text in specs.items():
            (package / f"{destination}.yaml").write_text(text)
        dist = site / f"{name}-1.2.dist-info"
        dist.mkdir()
        (dist / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (dist / "entry_points.txt").write_text(f"[storeroom.destinations]\n{name} = {name}_specs\n")
        monkeypatch.syspath_prepend(str(site))
        importlib.invalidate_caches()

    return install


def test_the_listing_is_sorted_and_whole():
    rows = registry.list_destinations()
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    files = {path.stem for path in registry.CATALOG.glob("[!_]*/*.yaml")}
    assert {row.id for row in rows} == files
    assert all(json.dumps(row.as_row()) for row in rows)


def test_the_listing_says_what_the_specs_say():
    for row in registry.list_destinations():
        capabilities = registry.capabilities_of(row.id)
        assert set(row.operations) == {operation.value for operation in capabilities.operations}
        assert row.batch_size == capabilities.batch_rows
        assert row.per_row_results == capabilities.per_row_results


@pytest.mark.parametrize(
    ("destination", "clears"), [("webhook", True), ("hubspot", False), ("sqlite", True)]
)
def test_whether_nulls_empty_a_field_is_known_beforehand(destination, clears):
    assert registry.capabilities_of(destination).clears is clears


def test_a_changed_spec_is_read_again(plugin):
    plugin("acme", {"acme": GOOD.replace("id: hubspot", "id: acme")})
    assert registry.summary_of("acme").name == "HubSpot CRM"
    path = registry.summary_of("acme").path
    path.write_text(path.read_text().replace("name: HubSpot CRM", "name: Acme"))
    assert registry.summary_of("acme").name == "Acme"


def test_an_unknown_id_names_the_nearest():
    with pytest.raises(ConfigurationError, match="Did you mean 'hubspot'"):
        registry.load_spec("hubspto")


def test_plugins_bring_destinations_without_running_code(plugin):
    plugin("acme", {"acme": GOOD.replace("id: hubspot", "id: acme")})
    summary = registry.summary_of("acme")
    assert (summary.origin, summary.version) == ("acme", "1.2")
    assert registry.load_spec("acme").id == "acme"
    assert "acme_specs" not in sys.modules


def test_two_of_one_name_are_refused(plugin):
    plugin("acme", {"hubspot": GOOD})
    with pytest.raises(ConfigurationError, match="'hubspot' is brought by storeroom"):
        registry.list_destinations()


def test_a_plugin_that_names_no_package_is_refused(plugin, monkeypatch, tmp_path):
    plugin("acme", {})
    (tmp_path / "acme" / "acme-1.2.dist-info" / "entry_points.txt").write_text(
        "[storeroom.destinations]\nacme = nowhere_at_all\n"
    )
    with pytest.raises(ConfigurationError, match="no package"):
        registry.list_destinations()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"acces_token": {"env": "X"}}, "Did you mean 'access_token'"),
        ({"access_token": "abc"}, r"write `access_token: {env: CRM_ACCESS_TOKEN}`"),
    ],
)
def test_settings_are_checked_before_anything_is_opened(given, words):
    with pytest.raises(ConfigurationError, match=f"(?i){words}"):
        registry.capabilities_of(connection(**given))
    with pytest.raises(ConfigurationError, match=f"(?i){words}"):
        registry.open_driver(connection(**given), {}, "profile_id", "loyal")


@pytest.mark.parametrize(
    ("given", "target", "words"),
    [
        ({}, {}, "'access_token' is missing"),
        ({"membership_property": "In Loyal"}, {}, "right form"),
        ({}, {"list": 1}, "no setting 'list'"),
        ({}, {"access_token": "abc"}, "stands in clear"),
    ],
)
def test_missing_and_misshapen_settings_are_refused(monkeypatch, given, target, words):
    monkeypatch.setenv("HUB", "token-of-hubspot")
    token = {} if "missing" in words else {"access_token": {"env": "HUB"}}
    with pytest.raises(ConfigurationError, match=words):
        registry.open_driver(connection(**token, **given), target, "profile_id", "loyal")


def test_a_variable_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("HUB_NOT_SET", raising=False)
    with pytest.raises(ConfigurationError, match="HUB_NOT_SET"):
        registry.open_driver(
            connection(access_token={"env": "HUB_NOT_SET"}), {}, "profile_id", "loyal"
        )


def test_the_sandbox_needs_no_secret_and_no_vendor(monkeypatch):
    monkeypatch.setenv("STOREROOM_SANDBOX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("HUB", "a-real-token")
    given = {"access_token": {"env": "HUB"}, "membership_property": {"env": "HUB"}}
    real = connection(sandbox=True, **given)
    driver = registry.open_driver(real, {}, "profile_id", "loyal")
    assert driver._account._login.headers == {"Authorization": "Bearer sandbox-access_token"}
    assert driver._account.url(Request("GET", "/x")) == "http://127.0.0.1:9/hubspot/x"
    driver.close()


def test_a_code_adapter_is_opened_with_the_audiences_key(tmp_path):
    given = {"path": str(tmp_path / "a.sqlite"), "table": "people"}
    driver = registry.open_driver(connection("sqlite", **given), {}, "customer_id", "loyal")
    assert driver._settings.key_column == "customer_id"
    driver.close()
    with pytest.raises(ConfigurationError, match="Did you mean 'table'"):
        registry.open_driver(connection("sqlite", tabel="x"), {}, "id", "loyal")
    with pytest.raises(ConfigurationError, match="table"):
        registry.open_driver(connection("sqlite", path="x"), {}, "id", "loyal")
    with pytest.raises(ConfigurationError, match="sandbox"):
        registry.open_driver(connection("sqlite", sandbox=True, **given), {}, "id", "loyal")


def test_secrets_of_code_adapters_come_from_the_environment():
    with pytest.raises(ConfigurationError, match="stands in clear"):
        registry.capabilities_of(connection("postgres", dsn="postgresql://a:b@c/d", table="x"))


def test_descriptions_hold_for_every_destination():
    for row in registry.list_destinations():
        description = registry.describe(row.id)
        assert description["operations"]
        assert json.dumps(description)


def test_a_listing_parses_no_spec_of_the_catalog(monkeypatch):
    """Cold, with nothing in the user's cache folder: the index ships with the specs."""
    monkeypatch.setattr("yaml.load", None)
    assert len(registry.list_destinations()) == len(registry.list_destinations()) > 10


def test_a_listing_parses_a_plugins_specs_once_and_an_edited_one_again(plugin, monkeypatch):
    import yaml

    plugin("many", {f"d{n}": GOOD.replace("id: hubspot", f"id: d{n}") for n in range(30)})
    parsed = []
    load = yaml.load
    monkeypatch.setattr("yaml.load", lambda *a, **k: parsed.append(1) or load(*a, **k))
    before = len(registry.list_destinations())
    assert len(parsed) == 30
    path = registry.summary_of("d7").path
    path.write_text(path.read_text().replace("name: HubSpot CRM", "name: Number 7"))
    assert len(registry.list_destinations()) == before
    assert len(parsed) == 31
    assert [row.id for row in registry.search("number 7")] == ["d7"]


def test_a_plugin_may_ship_its_index(plugin, monkeypatch, tmp_path):
    from destinations import generated

    plugin("many", {"d1": GOOD.replace("id: hubspot", "id: d1")})
    assert generated.main([str(tmp_path / "many" / "many_specs")]) == 0
    monkeypatch.setattr("yaml.load", None)
    assert registry.summary_of("d1").batch_size == 100


def test_importing_the_registry_loads_no_library_and_no_spec():
    heavy = ("polars", "pydantic", "yaml", "requests", "duckdb", "rich")
    script = f"import sys, destinations.registry as r; r.list_destinations(); print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"category": "cmr"}, "Did you mean 'crm'"),
        ({"kind": "http"}, "http_api"),
        ({"evidence": "proved"}, "documented, schema-checked, vendor-verified"),
    ],
)
def test_a_filter_that_nothing_can_fit_is_refused(asked, words):
    with pytest.raises(ConfigurationError, match=words):
        registry.search(**asked)


def test_filters_and_search_narrow_the_listing():
    everything = registry.list_destinations()
    for row in everything:
        found = registry.search(row.name.upper(), category=row.category, kind=row.kind)
        assert row in found
        assert all(one.category == row.category and one.kind == row.kind for one in found)
    assert registry.search("no such thing") == []


def test_evidence_counts_only_for_the_text_that_was_compared(plugin, tmp_path):
    plugin("acme", {"acme": GOOD.replace("id: hubspot", "id: acme")})
    path = registry.summary_of("acme").path
    record = {"specs": {"acme": {"spec": digest_of(path)}}}
    (path.parent / "evidence.json").write_text(json.dumps(record))
    assert registry.summary_of("acme").evidence == "schema-checked"
    path.write_text(path.read_text() + "# another text\n")
    assert registry.summary_of("acme").evidence == "documented"
