"""What settings are refused, and that they reach child processes."""

import base64
from pathlib import Path

import pytest

from topclip.config import Settings
from topclip.errors import ConfigError

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
NEWER = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("store", "s3://"),
        ("store", "s3://Bucket"),
        ("store", "gs://bucket"),
        ("store", "s3://bucket//x"),
        ("s3_endpoint", "minio:9000"),
        ("s3_endpoint", "http://a/b"),
        ("s3_public_endpoint", "https://a b"),
    ],
)
def test_settings_that_name_no_store_are_refused_by_name(field: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"TOPCLIP_{field.upper()}"):
        Settings.from_env({f"TOPCLIP_{field.upper()}": value})


def test_half_a_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="TOPCLIP_S3_ACCESS_KEY and TOPCLIP_S3_SECRET_KEY go together"):
        Settings.from_env({"TOPCLIP_S3_SECRET_KEY": "s"})


def test_a_user_of_the_sentinels_wants_a_password_which_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TOPCLIP_SENTINEL_USER wants TOPCLIP_SENTINEL_PASSWORD"):
        Settings.from_env({"TOPCLIP_SENTINEL_USER": "me"})
    (tmp_path / "password").write_text("of the sentinels\n")
    settings = Settings.from_env({"TOPCLIP_SENTINEL_PASSWORD_FILE": str(tmp_path / "password")})
    assert settings.sentinel_password == "of the sentinels"
    assert "of the sentinels" not in repr(settings)


@pytest.mark.parametrize("secret", ["secret", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", SECRET.removeprefix("whsec_")])
def test_a_weak_secret_is_a_fault_of_the_settings(secret: str) -> None:
    with pytest.raises(ConfigError, match="TOPCLIP_WEBHOOK_SECRET"):
        Settings.from_env({"TOPCLIP_WEBHOOK_SECRET": secret}, dotenv=Path("/dev/null"))
    with pytest.raises(ConfigError, match="TOPCLIP_PRIVATE_NETWORKS"):
        Settings.from_env({"TOPCLIP_PRIVATE_NETWORKS": "10.0.0.1/8"}, dotenv=Path("/dev/null"))


def test_secrets_and_networks_may_be_many_and_reach_child_processes() -> None:
    env = {"TOPCLIP_WEBHOOK_SECRET": f"{SECRET},{NEWER}", "TOPCLIP_PRIVATE_NETWORKS": "10.0.0.0/8, fd00::/8"}
    settings = Settings.from_env(env, dotenv=Path("/dev/null"))
    assert settings.webhook_secret == (SECRET, NEWER)
    assert Settings.from_env(settings.to_env(), dotenv=Path("/dev/null")).private_networks == ("10.0.0.0/8", "fd00::/8")
    assert SECRET not in repr(settings)


def test_what_is_not_set_here_is_not_set_in_a_child_either(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TOPCLIP_API_KEYS=alice:of-somebody-else\nTOPCLIP_STORE=s3://others/clips\n")
    settings = Settings(data_dir=tmp_path)
    assert Settings.from_env(settings.to_env(), dotenv=tmp_path / ".env") == settings


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunt/er2@localhost:6379/0",
        "redis://:12/hunter2@localhost:6379/0",
        "redis://me:hunter2#x@localhost:6379/0",
        "redis://:hunter2?x@localhost:6379/0",
        "redis://:hunter2;x@localhost:6379/0",
        "redis://localhost:6379/0?password=hunter2",
        "sentinel://:hunter2@a:26379;sentinel://:hunt/er2@b:26379",
        "redis:/:hunter2@localhost:6379/0",
        "redis://:hunter2@localhost:6379/first",
        "redis://:hunter2@localhost:6379/0?socket_timeout=1",
        "redis://:hunter2@localhost:6379/0;redis://:hunter2@other:6379/0",
        "rediss://:hunter2@localhost:6379/0?ssl_cert_reqs=none",
    ],
)
def test_a_redis_url_that_is_none_is_refused_and_no_password_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.from_env({"REDIS_URL": url})
    assert "REDIS_URL: " in caught.value.message
    assert "hunt" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (" redis://localhost:6379/0\n", "redis://localhost:6379/0"),
        ("REDIS://localhost", "redis://localhost"),
        ("sentinel://a:26379; Sentinel://b:26379", "sentinel://a:26379;sentinel://b:26379"),
    ],
)
def test_blanks_and_capitals_of_a_redis_url_mean_nothing(given: str, meant: str) -> None:
    assert Settings.from_env({"REDIS_URL": given}).redis_url == meant


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter%2F2@localhost:6379/0",
        "rediss://me:hunter2@[::1]:6380/1?ssl_cert_reqs=required",
        "sentinel://:hunter2@a:26379;sentinel://:hunter2@b:26379/0",
        "redis+socket:///run/redis@home.sock?virtual_host=1",
    ],
)
def test_a_redis_url_is_shown_without_its_password(url: str) -> None:
    settings = Settings.from_env({"REDIS_URL": url})
    assert settings.redis_url == url
    assert "hunter" not in settings.masked_redis_url
