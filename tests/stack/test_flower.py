"""What Flower shows of a job: its tasks in words, and no secret that came with it."""

import contextlib
import json
from pathlib import Path

import httpx
import pytest

from tests.nodes import ROOT, free_port
from tests.servers import reply, serving
from tests.stack.running import stack
from tests.waiting import until

SECRETS = ("signature-of-source", "key-of-callback", "pass-of-source", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3")


@pytest.mark.faults  # for its length
def test_tasks_are_told_in_words_and_no_secret_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPCLIP_PRIVATE_NETWORKS", "127.0.0.1/32")
    monkeypatch.setenv("TOPCLIP_WEBHOOK_SECRET", "whsec_" + SECRETS[3])
    with serving(reply((ROOT / "demo/footage.mp4").read_bytes())) as server, stack(tmp_path / "data") as running:
        base = server.url().removesuffix("/video.mp4")
        options = {"count": 2, "min_length": 5, "max_length": 10, "quality": "draft", "aspect": "1:1", "fit": "pad"}
        options["callback_url"] = f"{base}/hook?key={SECRETS[1]}"
        body = {"source": f"{base}/video.mp4?signature={SECRETS[0]}", "options": options}
        bad = {
            "source": f"http://127.0.0.1:{free_port()}/video.mp4?signature={SECRETS[0]}&pass={SECRETS[2]}",
            "options": options,
        }
        answers = [httpx.post(f"{running.urls['web']}/api/jobs", json=b, timeout=20) for b in (body, bad)]
        assert [answer.status_code for answer in answers] == [202, 202], [answer.text for answer in answers]
        jobs = [answer.json()["id"] for answer in answers]
        flower = running.urls["flower"]

        def shown() -> str:
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"{flower}/api/tasks?limit=500", timeout=20).text
            return "{}"

        until(lambda: f"render/1 of job {jobs[0]}, attempt 1" in shown(), 120, shown)
        until(lambda: "callback/0 of job" in shown(), 60, shown)
        until(lambda: json.loads(shown()).get(jobs[1], {}).get("exception"), 60, shown)  # it will be tried again
        tasks = json.loads(shown())
        assert any("analyse/0 of job" in t["kwargs"] and t["kwargs"].endswith(" s") for t in tasks.values())
        assert {task["name"] for task in tasks.values()} >= {"topclip.analyse", "topclip.render", "topclip.callback"}
        pages = [httpx.get(f"{flower}/task/{task}", timeout=20).text for task in tasks]
        pages += [
            shown(),
            httpx.get(f"{flower}/workers", timeout=20).text,
            httpx.get(f"{flower}/broker", timeout=20).text,
        ]
        assert [secret for secret in SECRETS for page in pages if secret in page] == []
        refused = httpx.post(f"{flower}/api/task/revoke/{jobs[0]}?terminate=true", timeout=20)
        assert refused.status_code == 403  # it is read-only
        logs = "".join(path.read_text(errors="replace") for path in (tmp_path / "data/logs").rglob("*.log"))
        assert "topclip.render" in logs
        assert [secret for secret in SECRETS if secret in logs] == []
