"""The compose file and the image fit the code: every queue has a consumer, secrets are required, commands exist."""

import itertools
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.nodes import program
from topclip.config import Settings, variable
from workers.names import QUEUES

ROOT = Path(__file__).resolve().parent.parent
SECRETS = (
    "REDIS_PASSWORD",
    "TOPCLIP_API_KEYS",
    "TOPCLIP_SECRET_KEY",
    "FLOWER_PASSWORD",
    "FLOWER_COOKIE_SECRET",
    "PROMETHEUS_KEY",
    "TOPCLIP_WEBHOOK_SECRET",
)
USERS = ("REDIS_WEB_PASSWORD", "REDIS_WORKER_PASSWORD", "REDIS_FLOWER_PASSWORD")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    found: dict[str, Any] = document["services"]
    return found


def test_every_queue_has_a_consumer(services: dict[str, Any]) -> None:
    """A worker without `-Q` takes all queues of celeryconfig.py."""
    consumed: set[str] = set()
    for service in services.values():
        command = service.get("command", "")
        words = shlex.split(command) if isinstance(command, str) else command
        if "worker" in words and "celery" in words:
            named = words[words.index("-Q") + 1].split(",") if "-Q" in words else QUEUES
            consumed.update(named)
    assert consumed == set(QUEUES)


def test_only_known_settings_are_given(services: dict[str, Any]) -> None:
    known = {variable(name) for name in Settings.model_fields}
    for name, service in services.items():
        given = {key for key in service.get("environment", {}) if key.startswith("TOPCLIP_")}
        assert given <= known, name


def test_what_an_operator_may_set_reaches_the_containers(services: dict[str, Any]) -> None:
    """All but what the compose file and its overrides say themselves, and what the image has no use for."""
    text = "".join(path.read_text() for path in (ROOT / "docker-compose.yml", *(ROOT / "docker").glob("compose.*.yml")))
    its_own = {
        "redis_url",
        "redis_master",
        "sentinel_user",
        "sentinel_password",
        "key_prefix",
        "host",
        "flower_port",
        "ffmpeg",
    }
    its_own |= {"metrics_key"}  # PROMETHEUS_KEY, which Prometheus is given too
    its_own |= {"data_dir", "media_root", "concurrency", "api_key", "redis_ca", "whisper_model", "whisper_download"}
    settings = {variable(name) for name in Settings.model_fields.keys() - its_own}
    assert [name for name in sorted(settings) if f"${{{name}" not in text] == []


def test_ports_are_open_to_this_machine_alone(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len(published) == 4
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_redis_keeps_what_it_is_given(services: dict[str, Any]) -> None:
    words = shlex.split(services["redis"]["command"])
    options = dict(itertools.pairwise(words))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--stop-writes-on-bgsave-error"] == "no"
    assert "--requirepass" in options
    assert services["redis"]["volumes"] == ["redis:/data"]


@pytest.mark.parametrize("name", ["sentinel", "tls", "acl"])
def test_an_override_of_redis_keeps_what_the_plain_file_says(services: dict[str, Any], name: str) -> None:
    override = yaml.safe_load((ROOT / f"docker/compose.{name}.yml").read_text())["services"]["redis"]["command"]
    own = services["redis"]["command"].replace(":?run `make env` first", "").removeprefix("redis-server ")
    if name == "acl":  # a password for each user, in place of one
        own = own.partition("--requirepass")[0]
    assert " ".join(own.split()) in " ".join(override[-1].split())


def test_the_guides_name_all_that_the_compose_file_asks_of_the_environment() -> None:
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())) - {*SECRETS}
    guides = (ROOT / "docs/deploy.md").read_text() + (ROOT / "docs/operations.md").read_text()
    assert [name for name in sorted(asked) if f"`{name}`" not in guides] == []


def test_a_worker_is_stopped_softly_and_given_the_time_for_it(services: dict[str, Any]) -> None:
    worker = services["worker"]
    assert int(worker["stop_grace_period"].split("s")[0]) >= Settings().drain_s + 15


def test_flower_is_told_what_it_needs_and_no_secret_more(services: dict[str, Any]) -> None:
    """Only addresses and passwords of its own; where Redis is differs by override."""
    needed = {"REDIS_URL", "TOPCLIP_DATA_DIR", "TOPCLIP_LOG_LEVEL", "TOPCLIP_LOG_FORMAT"}
    assert set(services["flower"]["environment"]) == needed | {"FLOWER_BASIC_AUTH", "FLOWER_COOKIE_SECRET"}


def test_every_service_is_watched(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "healthcheck" not in service] == []


def test_nothing_starts_without_secrets_and_make_env_writes_them(tmp_path: Path) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert [name for name in SECRETS if f"${{{name}:?" not in text] == []
    target = tmp_path / "docker" / "make_env.py"
    target.parent.mkdir()
    shutil.copy(ROOT / "docker" / "make_env.py", target)
    subprocess.run(["python3", target], check=True, capture_output=True)
    first = (tmp_path / ".env").read_text()
    values = dict(line.split("=", 1) for line in first.splitlines() if not line.startswith("#"))
    assert set(values) == {*SECRETS, *USERS}
    assert len(set(values.values())) == len(values)
    assert all(len(value) >= 24 for value in values.values())
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    subprocess.run(["python3", target], check=True, capture_output=True)
    assert (tmp_path / ".env").read_text() == first
    (tmp_path / ".env").write_text("REDIS_PASSWORD=mine")  # as an older version left it
    (tmp_path / ".env").chmod(0o644)
    subprocess.run(["python3", target], check=True, capture_output=True)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    assert (tmp_path / ".env").read_text().startswith("REDIS_PASSWORD=mine\nTOPCLIP_API_KEYS=")
    Settings.from_env({}, dotenv=tmp_path / ".env")
    given = "# mine\nexport FLOWER_PASSWORD=''  # to be chosen\nTOPCLIP_API_KEYS=\nREDIS_PASSWORD=mine\nTOPCLIP_PORT=\n"
    (tmp_path / ".env").write_text(given)
    subprocess.run(["python3", target], check=True, capture_output=True)
    lines = (tmp_path / ".env").read_text().splitlines()
    assert [line.partition("=")[0] for line in lines[:5]] == [
        "# mine", "FLOWER_PASSWORD", "TOPCLIP_API_KEYS", "REDIS_PASSWORD", "TOPCLIP_PORT",
    ]  # fmt: skip
    values = dict(line.split("=", 1) for line in lines[1:])
    assert (values["REDIS_PASSWORD"], values["TOPCLIP_PORT"]) == ("mine", "")
    assert all(len(values[name]) >= 24 for name in {*SECRETS, *USERS} - {"REDIS_PASSWORD"})
    Settings.from_env({}, dotenv=tmp_path / ".env")


def test_the_image_installs_by_hash_and_runs_without_root() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert text.count("pip install --no-deps --only-binary :all: --require-hashes") == 2
    assert "USER 10001:10001" in text
    copied = set((ROOT / ".dockerignore").read_text().split())
    assert {
        "!requirements.lock",
        "!requirements-build.lock",
        "!topclip",
        "!workers",
        "!web",
        "!celeryconfig.py",
    } <= copied


def test_a_second_certificate_is_signed_by_the_same_authority(tmp_path: Path) -> None:
    def make() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(ROOT / "docker" / "make_tls.sh"), str(tmp_path)], capture_output=True, text=True, check=False
        )

    openssl = program("openssl")
    assert make().returncode == 0
    first, ca = (tmp_path / "redis.crt").read_bytes(), (tmp_path / "ca.crt").read_bytes()
    assert make().returncode == 0
    assert (tmp_path / "redis.crt").read_bytes() != first
    assert (tmp_path / "ca.crt").read_bytes() == ca
    subprocess.run([openssl, "verify", "-CAfile", tmp_path / "ca.crt", tmp_path / "redis.crt"], check=True)
    (tmp_path / "ca.key").unlink()
    refused = make()
    assert refused.returncode == 1
    assert "no ca.key" in refused.stderr
    assert (tmp_path / "ca.crt").read_bytes() == ca
