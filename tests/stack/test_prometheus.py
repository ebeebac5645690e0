"""A real Prometheus with our configuration reads a real service by its key, and has an answer to what the rules ask."""

import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.nodes import ROOT, free_port, program
from tests.stack.running import Running, stack
from tests.test_monitoring import PANELS, QUERY, RULES
from tests.waiting import until

KEY = "topclip_key-of-the-scraper"


@pytest.fixture
def keyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TOPCLIP_API_KEYS", f"topclip:{KEY}")
    with stack(tmp_path / "data", "--no-flower") as running:
        yield running


@pytest.mark.faults  # for its length
def test_it_reads_the_service_and_watches_it(keyed: Running, tmp_path: Path) -> None:
    binary, port = program("prometheus"), free_port()
    config = (ROOT / "deploy/monitoring/prometheus.yml").read_text().replace("/tmp/api-key", str(tmp_path / "api-key"))
    config = config.replace("web:8000", keyed.urls["web"].removeprefix("http://")).replace("15s", "1s")
    config = config.replace("10s", "1s").replace("[alerts.yml]", f'["{ROOT}/deploy/monitoring/alerts.yml"]')
    (tmp_path / "api-key").write_text(KEY)
    (tmp_path / "prometheus.yml").write_text(config)
    argv = [binary, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/tsdb"]
    with (tmp_path / "prometheus.log").open("w") as log:
        server = subprocess.Popen([*argv, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)

    def ask(path: str, **query: str) -> Any:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=query, timeout=20)
        except httpx.HTTPError:
            return None
        assert answer.status_code in (200, 503), answer.text  # 503: it is not ready
        return answer.json()["data"] if answer.status_code == 200 else None

    def value(query: str) -> float | None:
        found = ask("query", query=query)
        return float(found["result"][0]["value"][1]) if found and found["result"] else None

    try:
        until(lambda: value('up{job="topclip"}') == 1, 60, (tmp_path / "prometheus.log").read_text)
        until(lambda: value("max(topclip_workers)") == 1, 30)
        assert value(QUERY) == 0
        rules = ask("rules")["groups"][0]["rules"]
        assert {rule["name"] for rule in rules} == {rule["alert"] for rule in RULES}
        until(lambda: {rule["health"] for rule in ask("rules")["groups"][0]["rules"]} == {"ok"}, 30)
        for query in (target["expr"] for panel in PANELS for target in panel["targets"]):
            assert ask("query", query=query) is not None, query
        assert not {a["labels"]["alertname"] for a in ask("alerts")["alerts"] if a["state"] == "firing"}
        keyed.find("redis-server").suspend()
        until(lambda: value('ALERTS{alertname="TopClipRedisAway"}') == 1, 60)
        keyed.find("redis-server").resume()
        until(lambda: value('ALERTS{alertname="TopClipRedisAway"}') is None, 60)
    finally:
        server.terminate()
        server.wait(20)
