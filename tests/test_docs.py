"""The documentation names what there is: every setting, error, endpoint and command, and its links lead somewhere."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from cli.main import COMMANDS
from topclip import errors
from topclip.config import Settings, variable

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "demo" / "README.md"])
CODES = sorted(
    {k.code for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.TopClipError)},
)
VARIABLES = [variable(name) for name in Settings.model_fields]


def first_cells(page: Path) -> set[str]:
    """What stands in backquotes in the first column of a page's tables."""
    return {found for line in page.read_text().splitlines() for found in re.findall(r"^\| `([^`]+)` ", line)}


def test_every_setting_is_documented_and_no_other() -> None:
    assert first_cells(ROOT / "docs" / "configuration.md") == set(VARIABLES)


def test_the_documented_meaning_of_a_setting_is_the_codes() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert [n for n, f in Settings.model_fields.items() if f"| {f.description} |" not in page] == []


def test_the_example_environment_names_every_setting_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text()
    named = dict(re.findall(r"^#(TOPCLIP_\w+|REDIS_URL)=(.*)$", text, re.MULTILINE))
    assert list(named) == VARIABLES
    defaults = Settings()
    assert Settings.from_env({k: v for k, v in named.items() if v}, dotenv=Path("/dev/null")) == defaults


def test_every_error_code_is_documented() -> None:
    assert set(CODES) <= first_cells(ROOT / "docs" / "errors.md")


def test_every_endpoint_is_documented() -> None:
    page = (ROOT / "docs" / "http-api.md").read_text()
    endpoints = set(re.findall(r"@\w+\.(get|post|put|patch|delete)\(\s*\"(/[^\"]*)\"", _sources("web")))
    assert endpoints
    missing = [f"{verb.upper()} {path}" for verb, path in sorted(endpoints) if _shown(path) not in _shown(page)]
    assert missing == []


def _sources(folder: str) -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / folder).rglob("*.py")))


def _shown(text: str) -> str:
    """Paths with their parameters' names left out."""
    return re.sub(r"[<{][^<>{}\s/]*[>}]", "<>", text)


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"topclip {name}" not in text and f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", page.read_text())
    assert [f"{to}#{place}" for to, place in links if place not in _places(page.parent / to if to else page)] == []


def _places(page: Path) -> set[str]:
    """The names that a browser of the repository gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)", text, re.M)}


def test_every_test_that_the_reliability_page_names_is_there() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    named = [
        (file, test) for file, tests in re.findall(r"`(test_\w+\.py)::([\w:]+)`", text) for test in tests.split("::")
    ]
    assert len(named) > text.count("| `test_")  # a row names one at least
    files: dict[str, str] = defaultdict(str)
    for path in (ROOT / "tests").rglob("test_*.py"):
        files[path.name] += path.read_text()
    missing = [(file, test) for file, test in named if not re.search(rf"(def|class) {test}\b", files[file])]
    assert missing == []
