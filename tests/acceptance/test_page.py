"""The page in real Chromium on the real stack: submit a video, watch it being worked on, play a clip, delete the job."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright

from bench.walkers import Place, Scene, make
from tests.media import Media
from tests.stack.running import Running, stack
from tests.waiting import until

CHROMIUM = shutil.which("chromium") or ""
DONE_MS = 90_000
expect.set_options(timeout=15_000)  # where the machine has other tests to run, the page is slower than five seconds

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM and os.environ.get("CI") != "true", reason="no chromium on the PATH"),
]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Media(tmp_path_factory.mktemp("media"))("base.mp4")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with stack(tmp_path_factory.mktemp("page") / "data", "--no-flower") as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser, running: Running) -> Iterator[Page]:
    """The page on a phone; whatever it complains of in its console is a fault."""
    found = browser.new_page(viewport={"width": 390, "height": 844})
    faults: list[str] = []
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    found.goto(running.urls["web"])
    yield found
    found.close()
    assert faults == []


def _submit(page: Page, video: Path, aspect: str, count: int = 1) -> Locator:
    page.set_input_files("#file", video)
    page.check(f'input[name="aspect"][value="{aspect}"]')
    for name, value in (("count", count), ("min_length", 2), ("max_length", 3)):
        page.fill(f"#{name}", str(value))
    page.click("#go")
    card = page.locator(".job").filter(has_text=video.name).first
    card.wait_for(timeout=30_000)
    return card


def _again(card: Locator, epoch: int) -> None:
    """Wait for what the attempt made: the card says Done of the one before until it has heard of the new one."""
    expect(card.locator(f'.clips[data-epoch="{epoch}"]')).to_be_visible(timeout=DONE_MS)
    expect(card.locator(".state")).to_have_text("Done")


def _fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_a_video_goes_in_and_a_clip_plays(page: Page, video: Path, running: Running) -> None:
    expect(page.locator("#empty")).to_be_visible()
    card = _submit(page, video, "9:16")
    expect(page.locator("#file-name")).to_have_text("Drop a video here")
    expect(card.locator(".state")).to_have_text("Done", timeout=DONE_MS)
    clip = card.locator("video").first
    clip.wait_for()
    clip.evaluate("v => { v.muted = true; return v.play(); }")
    until(lambda: clip.evaluate("v => v.currentTime") > 0.3, 20)
    assert clip.evaluate("v => v.videoWidth / v.videoHeight") == pytest.approx(9 / 16, abs=0.01)
    expect(card.locator(".why dt")).to_have_count(7)
    assert _fits(page)

    with page.expect_download() as download:
        card.get_by_text("Download", exact=True).click()
    assert download.value.suggested_filename == f"{video.stem}-clip-1.mp4"
    assert download.value.path().stat().st_size > 1000

    card.get_by_text("Delete").click()
    card.get_by_text("Delete it for good?").click()
    expect(page.locator("#empty")).to_be_visible(timeout=30_000)
    assert running.get("/api/jobs").json()["jobs"] == []


def test_a_cancelled_job_can_be_retried(page: Page, video: Path, running: Running) -> None:
    worker = running.find(" worker ")
    worker.suspend()  # so that the job stays where it is
    card = _submit(page, video, "source")
    card.get_by_text("Cancel", exact=True).click()
    card.get_by_text("Cancel the job?").click()
    expect(card.locator(".state")).to_have_text("Cancelled", timeout=30_000)
    worker.resume()
    card.get_by_text("Retry", exact=True).click()
    expect(card.locator(".state")).to_have_text("Done", timeout=DONE_MS)
    expect(card.get_by_text("Retry")).to_have_count(0)
    expect(card.locator("video")).to_be_visible()
    (job,) = running.get("/api/jobs").json()["jobs"]
    assert (job["epoch"], job["state"]) == (2, "SUCCEEDED")
    card.get_by_text("Delete").click()
    card.get_by_text("Delete it for good?").click()
    expect(page.locator("#empty")).to_be_visible(timeout=30_000)


def test_clips_of_a_finished_job_are_planned_again_and_widened(page: Page, video: Path, running: Running) -> None:
    card = _submit(page, video, "source")
    expect(card.locator(".state")).to_have_text("Done", timeout=DONE_MS)
    card.get_by_text("Why these moments").click()
    picture = card.get_by_alt_text("Signals, shots")
    until(lambda: picture.evaluate("i => i.naturalWidth") == 1200, 30)
    card.get_by_text("Other clips").click()
    card.get_by_label("Longest, s").fill("2.5")
    card.get_by_text("Plan again", exact=True).click()
    _again(card, 2)
    card.get_by_text("Trim or widen").click()
    card.get_by_label("From, s").fill("-1")
    card.get_by_text("Cut again", exact=True).click()
    expect(card.locator(".clip .fault")).to_contain_text("Value must be greater")
    card.get_by_label("From, s").fill("0.4")
    card.get_by_label("To, s").fill("4")
    card.get_by_text("Cut again", exact=True).click()
    expect(card.locator(".clip-line b")).to_have_text("0:00–0:04", timeout=DONE_MS)
    job = running.get("/api/jobs").json()["jobs"][0]
    assert (job["epoch"], job["options"]["max_length"]) == (3, 2.5)
    assert _fits(page)
    card.get_by_text("Delete").click()
    card.get_by_text("Delete it for good?").click()
    expect(page.locator("#empty")).to_be_visible(timeout=30_000)


def test_ranges_are_named_and_a_cut_out_is_shown_and_set(page: Page, tmp_path: Path, running: Running) -> None:
    video = tmp_path / "face.mp4"
    make(Scene("face", 4.0, lambda t: [Place(0.3, 0.12)], "face"), video)
    page.select_option("#mode", "ranges")
    expect(page.locator("#count")).to_be_hidden()
    page.set_input_files("#file", video)
    page.check('input[name="aspect"][value="9:16"]')
    page.fill("#ranges", "0:01")
    page.click("#go")
    expect(page.locator("#fault")).to_contain_text("ranges such as")
    page.fill("#ranges", "0:00.5-0:02, 2.4-3.6")
    page.click("#go")
    card = page.locator(".job").filter(has_text="face.mp4").first
    expect(card.locator(".state")).to_have_text("Done", timeout=DONE_MS)
    expect(card.locator("h4")).to_have_text("The ranges asked for")
    expect(card.locator("video")).to_have_count(2)
    clip = card.locator(".clip").first
    clip.get_by_text("How it is framed").click()
    expect(clip.locator(".framing p")).to_contain_text("a face")
    box = clip.locator(".framing path").bounding_box()
    assert box
    sheet = clip.locator(".framing svg").bounding_box()
    assert sheet
    middle = (box["y"] + box["height"] / 2 - sheet["y"]) / sheet["height"]
    assert middle == pytest.approx(0.3, abs=0.05)
    clip.get_by_text("Trim or widen").click()
    clip.get_by_label("Stand at").fill("0.7")
    other = card.locator(".clip").last
    other.get_by_text("Trim or widen").click()
    clip.get_by_text("Cut again", exact=True).click()
    _again(card, 2)
    expect(other.get_by_label("Stand at")).to_be_visible()  # the clip that nobody changed is left as it was
    expect(clip.get_by_label("Stand at")).to_be_hidden()
    job = running.get("/api/jobs").json()["jobs"][0]
    framings = [h["framing"] for h in running.get(f"/api/jobs/{job['id']}/plan").json()["highlights"]]
    assert [f["method"] for f in framings] == ["asked", "faces"]
    assert [k["x"] for k in framings[0]["keyframes"]] == [pytest.approx(0.7, abs=1e-3)]
    card.get_by_text("Other clips").click()
    card.get_by_label("Captions").select_option("off")
    card.get_by_text("Plan again", exact=True).click()
    _again(card, 3)
    job = running.get("/api/jobs").json()["jobs"][0]
    assert job["options"]["captions"] == "off"
    plan = running.get(f"/api/jobs/{job['id']}/plan").json()
    assert plan["highlights"][0]["framing"] == framings[0]  # which captions do not choose
    assert _fits(page)
    card.get_by_text("Delete").click()
    card.get_by_text("Delete it for good?").click()
    expect(page.locator("#empty")).to_be_visible(timeout=30_000)


def test_a_link_is_sent_with_who_is_to_be_told_and_one_that_is_none_is_refused(page: Page) -> None:
    page.fill("#source", "not a link")
    page.click("#go")
    expect(page.locator("#source")).to_have_attribute("aria-invalid", "true")
    page.fill("#source", "https://example.com/talk.mp4")
    page.get_by_text("Subtitles, audience, notification").click()
    page.fill("#callback_url", "https://example.com/told")
    sent: list[str] = []

    def answer(route: Route) -> None:
        sent.append(route.request.post_data or "")
        route.fulfill(status=202, json={"id": "a", "status_url": "/api/job-status/a"})

    page.route("**/api/jobs", lambda route: answer(route) if route.request.method == "POST" else route.continue_())
    page.click("#go")
    expect(page.locator("#source")).to_have_value("")  # it was taken
    (body,) = (json.loads(text) for text in sent)
    assert body["source"] == "https://example.com/talk.mp4"
    assert body["options"]["callback_url"] == "https://example.com/told"


def test_faults_are_told_at_the_field_and_by_the_server(page: Page, tmp_path: Path) -> None:
    page.click("#go")
    expect(page.locator("#fault")).to_contain_text("Choose a video")
    text = tmp_path / "notes.mp4"
    text.write_text("this is no video")
    page.set_input_files("#file", text)
    page.fill("#min_length", "20")
    page.fill("#max_length", "10")
    page.click("#go")
    expect(page.locator("#fault")).to_contain_text("shorter than the shortest")
    expect(page.locator("#max_length")).to_have_attribute("aria-invalid", "true")


@pytest.mark.faults
def test_an_outage_of_redis_is_told_and_heals_by_itself(page: Page, video: Path, running: Running) -> None:
    card = _submit(page, video, "source")
    expect(card.locator(".state")).to_have_text("Done", timeout=DONE_MS)
    redis = running.find("redis-server")
    redis.suspend()
    expect(page.locator("#banner")).to_contain_text("Redis is away", timeout=15_000)
    expect(card.locator("video")).to_be_visible()
    redis.resume()
    expect(page.locator("#banner")).to_be_hidden(timeout=15_000)


def test_it_can_be_used_by_keyboard_alone(page: Page) -> None:
    seen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.name || ''"))
    assert [name for name in seen if name] == [
        *("file", "source", "aspect", "mode", "count", "min_length", "max_length", "captions", "go")
    ]


@pytest.mark.parametrize("width", [320, 430, 1280])
def test_nothing_sticks_out(page: Page, running: Running, width: int) -> None:
    for path in ("/", "/api/docs"):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(running.urls["web"] + path)
        assert _fits(page), path
