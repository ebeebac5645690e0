"""What watches the service fits what it shows: rules, dashboard and the autoscaler's query name figures that are there."""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import RedisError

from tests.fakes import FakeClient
from tests.nodes import ROOT, program
from topclip.config import Settings
from topclip.storage.local import LocalStore
from web.app import create_app
from workers import figures
from workers.budget import StoreUse
from workers.figures import Figures, field_of
from workers.names import QUEUES

MONITORING = ROOT / "deploy/monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((MONITORING / "grafana/dashboards/topclip.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
DEPLOYMENT, SCALED = yaml.safe_load_all((ROOT / "deploy/keda/scaledobject.yaml").read_text())
QUERY = SCALED["spec"]["triggers"][0]["metadata"]["query"]
OF_PROMETHEUS = {"up"}


class BusyClient(FakeClient):
    """A service in which everything has happened once."""

    def health(self) -> dict[str, Any]:
        told = super().health()
        worker = told["workers"][0] | {"memory_bytes": 1, "memory_limit_bytes": 2, "disk_free_bytes": 3}
        counts = {field_of(name, "probe/PROBE_ERROR"): 1.0 for name in (figures.FAILURES, figures.RETRIES)}
        for name, label in ((figures.RUN, "probe"), (figures.WAIT, "control")):
            counts |= {field_of(name, label, bound): 1.0 for bound in ("1", figures.SUM)}
        oldest = {"QUEUED": 1.0}
        return told | {
            "workers": [worker | {"clock_ahead_s": 0.0}],
            "figures": figures.Counted(counts),
            "oldest_s": oldest,
            "jobs": oldest,
        }


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The samples of `/metrics`, and the labels of each."""
    folder = tmp_path_factory.mktemp("data")
    client = BusyClient()
    client.use = StoreUse(1, 1, 1.0)
    settings = Settings(data_dir=folder, store_budget_gb=1.0)
    http = create_app(settings, client, LocalStore(folder / "store")).test_client()
    http.get("/api/job-status/none")
    families = text_string_to_metric_families(http.get("/metrics").text)
    found: dict[str, set[str]] = {}
    for sample in itertools.chain.from_iterable(family.samples for family in families):
        found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions() -> list[tuple[str, str]]:
    """Every query, and where it stands."""
    found = [(rule["alert"], rule["expr"]) for rule in RULES]
    found += [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
    return [*found, ("KEDA", QUERY)]


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_figure_that_is_asked_for_is_shown(where: str, expression: str, shown: dict[str, set[str]]) -> None:
    named = set(re.findall(r"\b(?:topclip|process)_\w+", expression))
    missing = {
        n for n in named if n not in shown and n != "topclip_status_reads_total"
    }  # which comes with the first read
    assert missing == set()
    assert named or OF_PROMETHEUS & set(re.findall(r"\w+", expression))
    for name, labels in re.findall(r"\b(topclip_\w+)\{([^}]*)\}", expression):
        asked = set(re.findall(r"(\w+)\s*=~?", labels))
        assert asked <= shown.get(name, {"source"}) | {"job", "instance"}


def test_what_prometheus_calls_a_good_name(shown: dict[str, set[str]]) -> None:
    units = ("_seconds", "_bytes", "_total", "_bucket", "_sum", "_count", "_created")
    for name in (n for n in shown if n.startswith("topclip_")):
        assert not re.search(r"_(ms|s|mb|kb|milliseconds|percent)(_|$)", name), name
        if name.endswith(("_bucket", "_sum", "_count")):
            assert name.rsplit("_", 1)[0].endswith(units), name


def test_panels_are_told_apart_and_lie_side_by_side() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_grafana_finds_its_source_and_its_dashboard() -> None:
    grafana = MONITORING / "grafana"
    source = yaml.safe_load((grafana / "provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    assert {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]} == {source["uid"]}
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert source["url"] == "http://prometheus:9090"
    where, inside = services["grafana"]["volumes"][0].split(":")[:2]
    folder = yaml.safe_load((grafana / "provisioning/dashboards/topclip.yml").read_text())["providers"][0]["options"][
        "path"
    ]
    assert (ROOT / where / Path(folder).relative_to(inside) / "topclip.json").exists()
    assert services["grafana"]["environment"]["GF_PATHS_PROVISIONING"] == f"{inside}/provisioning"
    assert {name for name, service in services.items() if service.get("profiles")} == {"prometheus", "grafana"}


def test_prometheus_is_given_a_key_of_its_own(tmp_path: Path) -> None:
    command = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["prometheus"]["command"][0]
    script = command.replace("$$", "$").replace("/tmp/api-key", str(tmp_path / "key")).partition("exec")[0]
    subprocess.run(["sh", "-c", script], check=True, env={"PROMETHEUS_KEY": "key_1"})
    assert (tmp_path / "key").read_text() == "key_1"
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0


def test_a_worker_that_is_scaled_away_has_the_time_to_end_what_it_runs() -> None:
    pod = DEPLOYMENT["spec"]["template"]["spec"]
    given = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    settings = Settings.from_env(given, dotenv=Path("/dev/null"))
    assert pod["terminationGracePeriodSeconds"] >= settings.drain_s + 15
    assert float(SCALED["spec"]["triggers"][0]["metadata"]["threshold"]) == settings.concurrency
    assert "-Q" not in pod["containers"][0]["command"]  # it takes from all queues


def test_no_worker_is_scaled_away_because_nobody_can_tell() -> None:
    """While Redis or the web is away the query finds nothing, which KEDA takes for no work unless it is told."""
    assert SCALED["spec"]["triggers"][0]["metadata"]["ignoreNullValues"] == "false"


def test_the_guide_says_what_to_do_about_each_alert() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    assert [rule["alert"] for rule in RULES if f"| `{rule['alert']}` |" not in page] == []
    assert set(re.findall(r"^\| `(TopClip\w+)` \|", page, re.MULTILINE)) == {rule["alert"] for rule in RULES}


def test_the_guide_names_every_figure(shown: dict[str, set[str]]) -> None:
    page = (ROOT / "docs/operations.md").read_text()
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown if name.startswith("topclip_")}
    bare = {name for name in bare if not name.endswith("_created")}
    assert sorted(name for name in bare if f"`{name}`" not in page) == []


def test_every_alert_is_tried_by_the_rules_tests() -> None:
    text = (MONITORING / "alerts.test.yml").read_text()
    assert [r["alert"] for r in RULES if f'{{alertname="{r["alert"]}", alertstate="firing"' not in text] == []


class TestPromtool:
    """By Prometheus' own checker (Debian's package `prometheus`)."""

    @pytest.fixture
    def promtool(self) -> str:
        return program("promtool")

    def test_the_configuration_is_sound(self, promtool: str, tmp_path: Path) -> None:
        folder = shutil.copytree(MONITORING, tmp_path / "monitoring")
        config = folder / "prometheus.yml"
        config.write_text(config.read_text().replace("/tmp/api-key", str(tmp_path / "api-key")))
        (tmp_path / "api-key").write_text("key")
        done = subprocess.run([promtool, "check", "config", config], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"{len(RULES)} rules found" in done.stdout

    def test_the_alerts_come_when_they_should_and_not_before(self, promtool: str) -> None:
        argv = [promtool, "test", "rules", MONITORING / "alerts.test.yml"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_every_query_is_one(self, promtool: str, tmp_path: Path) -> None:
        rules = [{"record": f"test:q{i}", "expr": text} for i, (_, text) in enumerate(expressions())]
        path = tmp_path / "queries.yml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
        done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_the_autoscaler_asks_for_as_many_as_there_is_work(self, promtool: str, tmp_path: Path) -> None:
        def series(name: str, value: float, labels: str = "") -> dict[str, str]:
            return {"series": f'topclip_{name}{{instance="a"{labels}}}', "values": f"{value:g}x9"}

        def case(leases: int, depth: int, wait_s: float, wanted: int) -> dict[str, Any]:
            inputs = [series("leases", leases), series("queue_depth", depth, ', queue="render"')]
            inputs += [series("queue_oldest_wait_seconds", wait_s, ', queue="render"')]
            expected = {"expr": QUERY, "eval_time": "1m", "exp_samples": [{"labels": "{}", "value": wanted}]}
            return {"interval": "15s", "input_series": inputs, "promql_expr_test": [expected]}

        cases = [case(0, 0, 0, 0), case(4, 3, 5, 4), case(4, 30, 60, 34)]
        path = tmp_path / "keda.yml"
        path.write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": cases}))
        done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_times_fall_into_their_buckets_and_what_could_not_be_written_is_kept() -> None:
    class Written(dict[str, float]):
        is_away = True

        def pipeline(self) -> "Written":
            return self

        def __enter__(self) -> "Written":
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def hincrbyfloat(self, key: str, field: str, n: float) -> None:
            assert key == "p:figures"
            if not self.is_away:
                self[field] = self.get(field, 0) + n

        def execute(self) -> None:
            if self.is_away:
                raise RedisError

    redis, counted = Written(), Figures()
    for seconds in (0.1, 0.11, 9999.0):
        counted.took(figures.RUN, "probe", seconds)
    with pytest.raises(RedisError):
        counted.write(redis, "p:")  # type: ignore[arg-type]
    redis.is_away = False
    counted.write(redis, "p:")  # type: ignore[arg-type]
    counted.write(redis, "p:")  # type: ignore[arg-type]
    [(task, times)] = figures.Counted(redis).times(figures.RUN)
    assert (task, round(times.sum_s, 2), dict(times.buckets)["0.5"]) == ("probe", 9999.21, 2)
    assert times.buckets[0] == ("0.1", 1)
    assert times.buckets[-1] == ("+Inf", 3)
    assert dict(figures.Counted(redis).counts(figures.REPAIRS)) == {"redriven": 0, "restored": 0}
    assert len(QUEUES) * len(figures.BOUNDS_S) < 100  # the hash stays small
