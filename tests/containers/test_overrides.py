"""What Compose makes of the overrides: they are read, alone and together, and say what they are for."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.compose import Stack

pytestmark = pytest.mark.containers

BUCKET = {"TOPCLIP_STORE": "s3://clips/topclip"}
CLIENTS = ("web", "worker", "flower")


def config(folder: Path, *overrides: str, **env: str) -> dict[str, Any]:
    """The services as Compose would start them."""
    stack = Stack(folder, *overrides, **env)
    stack.http.close()
    services: dict[str, Any] = yaml.safe_load(stack.compose("config"))["services"]
    return services


def test_the_plain_file_is_read(tmp_path: Path) -> None:
    assert set(config(tmp_path)) - {"prometheus", "grafana"} == {"redis", *CLIENTS}  # v2 leaves out what has a profile


def test_development_mounts_the_source_and_keeps_the_rest(tmp_path: Path) -> None:
    services = config(tmp_path, "dev")
    for name in CLIENTS:
        assert services[name]["environment"]["PYTHONPATH"] == "/src"
        assert services[name]["environment"]["REDIS_URL"].startswith("redis://:")
        assert len(services[name]["volumes"]) > 1


def test_sentinel_is_asked_by_all_three_clients(tmp_path: Path) -> None:
    services = config(tmp_path, "sentinel")
    for name in CLIENTS:
        url = services[name]["environment"]["REDIS_URL"]
        assert "@sentinel1:26379;" in url
        assert url.count("26379") == sum(name.startswith("sentinel") for name in services) == 3
    assert {"replica1", "replica2"} <= set(services)


def test_a_bucket_is_named_for_those_who_store(tmp_path: Path) -> None:
    services = config(tmp_path, "s3", **BUCKET)
    assert {services[name]["environment"]["TOPCLIP_STORE"] for name in ("web", "worker")} == {"s3://clips/topclip"}


def test_a_bucket_that_is_not_named_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="TOPCLIP_STORE"):
        config(tmp_path, "s3")


def test_tls_is_spoken_by_all_and_nothing_else_is(tmp_path: Path) -> None:
    services = config(tmp_path, "tls")
    for name in CLIENTS:
        assert services[name]["environment"]["REDIS_URL"].startswith("rediss://:")
        assert services[name]["environment"]["TOPCLIP_REDIS_CA"] == "/tls/ca.crt"
    assert "--port 0 --tls-port 6379" in " ".join(services["redis"]["command"])


def test_each_part_has_a_user_of_redis_of_its_own(tmp_path: Path) -> None:
    services = config(tmp_path, "acl")
    urls = [services[name]["environment"]["REDIS_URL"] for name in CLIENTS]
    assert [url.split(":")[1] for url in urls] == [f"//{name}" for name in CLIENTS]
    assert len({url.split(":")[2] for url in urls}) == len(CLIENTS)
    assert "--requirepass" not in " ".join(services["redis"]["command"])


def test_they_go_together(tmp_path: Path) -> None:
    services = config(tmp_path, "dev", "tls", "s3", **BUCKET)
    assert {"PYTHONPATH", "TOPCLIP_REDIS_CA", "TOPCLIP_STORE"} <= set(services["worker"]["environment"])
