"""Settings: the only place that reads the environment and `.env`. Frozen, validated once, all faults reported together.

Every setting is `TOPCLIP_<NAME>` but `REDIS_URL`, which keeps the name that scripts know. A secret may come from a file:
`TOPCLIP_API_KEYS_FILE=/run/secrets/keys` stands for `TOPCLIP_API_KEYS`, `REDIS_URL_FILE` for `REDIS_URL`.
An unknown `TOPCLIP_*` variable is an error, since it is nearly always a misspelt one.
"""

import base64
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from topclip.errors import ConfigError
from topclip.redis_url import checked_url, masked_url

PREFIX = "TOPCLIP_"
SECRET_MARK = "whsec_"
UNPREFIXED = {"redis_url": "REDIS_URL"}
LEAST_MEMORY_MB = 512
SECRETS = (
    "redis_url",
    "sentinel_password",
    "api_keys",
    "metrics_key",
    "api_key",
    "secret_key",
    "webhook_secret",
    "s3_access_key",
    "s3_secret_key",
)
S3_URL = r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<prefix>[\w.-]+(/[\w.-]+)*)?/?)?"
RATE = r"[1-9]\d{0,8}/(second|minute|hour|day)"
ENDPOINT = r"^(https?://[^\s/?#@]+/?)?$"
RATES = rf"^(off|{RATE}(;{RATE})*)?$"


class Settings(BaseModel):
    """What an operator can set. Each field's description is its documentation in docs/configuration.md."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, hide_input_in_errors=True
    )

    redis_url: str = Field("redis://localhost:6379/0", repr=False, description="Redis: broker and result backend.")
    redis_ca: Path | None = Field(
        None, description="Certificates that a `rediss://` server is checked against; unset: those of the system."
    )
    redis_master: str = Field("mymaster", description="Name of the master that Sentinel is asked for.")
    sentinel_user: str = Field("", description="User that the sentinels themselves ask for; empty: their default user.")
    sentinel_password: str = Field(
        "",
        repr=False,
        description="Password that the sentinels themselves ask for; empty: none. `REDIS_URL` has that of the master.",
    )
    key_prefix: str = Field("topclip:", pattern=r"^[\w-]+:$", description="Prefix of every Redis key and channel.")
    host: str = Field("127.0.0.1", description="Address that the web server listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the web server; 0 picks a free one.")
    flower_port: int = Field(5555, ge=0, le=65535, description="Port of Flower; 0 picks a free one.")
    data_dir: Path = Field(Path("var"), description="Folder of everything that TopClip keeps.")
    media_root: Path | None = Field(
        None, description="Folder from which server-side sources may be named; unset: none."
    )
    store: str = Field(
        "",
        description="Artifact store: a folder, or `s3://bucket` or `s3://bucket/prefix`. "
        "Empty: `store` inside the data folder.",
    )
    s3_endpoint: str = Field(
        "", pattern=ENDPOINT, description="URL of an S3 server of one's own; empty: that of AWS for the region."
    )
    s3_public_endpoint: str = Field(
        "",
        pattern=ENDPOINT,
        description="URL of the same server for clients, who are sent there for clips; empty: we hand them out.",
    )
    s3_region: str = Field("", description="Region of the bucket; empty: as the AWS SDK finds it.")
    s3_access_key: str = Field(
        "",
        repr=False,
        description="Id of the S3 key; empty: as the AWS SDK finds it (its own variables, files, roles).",
    )
    s3_secret_key: str = Field("", repr=False, description="The S3 key itself.")
    s3_cache_mb: int = Field(
        20_480,
        ge=0,
        description="Disk for local copies of sources that lie in S3, in MiB; one that is larger is kept alone.",
    )
    retention_days: float = Field(7.0, gt=0, le=3650, description="Days until a job, its results and files expire.")
    lease_s: float = Field(30.0, ge=2, le=3600, description="Seconds after which a dead worker's task is taken over.")
    drain_s: float = Field(
        10.0,
        ge=0,
        le=86_400,
        description="Seconds that a worker which is told to stop lets its tasks end; then they go back.",
    )
    concurrency: int = Field(0, ge=0, le=256, description="Tasks at once in one worker; 0: one for each core.")
    web_threads: int = Field(256, ge=8, le=4096, description="Threads of the web process.")
    max_streams: int = Field(1200, ge=1, le=20_000, description="Long-lived answers (SSE, `?wait=`) held at once.")
    max_upload_mb: int = Field(20_480, ge=1, description="Largest upload in MiB.")
    max_duration_s: float = Field(43_200.0, gt=0, description="Longest source in seconds.")
    max_pixels: int = Field(8192 * 4320, ge=4096, description="Largest picture of a source, width times height.")
    task_memory_mb: int = Field(
        0, ge=0, description="Memory of one task, and of its ffmpeg, in MiB; 0: most of the machine's, 8192 at most."
    )
    max_queued_jobs: int = Field(10_000, ge=1, description="Jobs that may wait or run at once.")
    max_queued_jobs_per_owner: int = Field(
        1000,
        ge=1,
        description="Jobs of one API key that may wait or run at once; without keys only the bound of all counts.",
    )
    min_free_mb: int = Field(
        512,
        ge=0,
        description="Room in the store, in MiB, below which nothing new is taken: submissions and retries are 507.",
    )
    store_budget_gb: float = Field(
        0.0,
        ge=0,
        description="Room that the store may take, in GiB: beyond it the oldest finished jobs go; 0: as much as there is.",
    )
    api_keys: tuple[str, ...] = Field(
        (),
        repr=False,
        description="Comma-separated API keys, each `key` or `name:key`, beside those of `topclip keys`.",
    )
    metrics_key: str = Field("", repr=False, description="API key that opens /metrics and nothing else.")
    api_key: str = Field("", repr=False, description="Key that the command `topclip` sends to a server.")
    secret_key: str = Field(
        "", repr=False, description="Secret of the cookies of page and Flower; empty: one in the store, one each start."
    )
    webhook_secret: tuple[str, ...] = Field(
        (),
        repr=False,
        description="Comma-separated secrets (`whsec_...`) that callbacks are signed with; needed for them.",
    )
    private_networks: tuple[str, ...] = Field(
        (), description="Comma-separated networks that URLs of sources and callbacks may lead to although not public."
    )
    submit_rate: str = Field(
        "",
        pattern=RATES,
        description="Submits that one key may send; empty: 60/minute where keys are needed; or `off`.",
    )
    read_rate: str = Field(
        "", pattern=RATES, description="Its other requests; empty: 30000/minute where keys are needed; or `off`."
    )
    trusted_proxies: int = Field(
        0, ge=0, le=8, description="Reverse proxies in front whose `X-Forwarded-*` headers are believed."
    )
    ffmpeg: str = Field("", description="ffmpeg binary; empty: the one of the imageio-ffmpeg wheel.")
    fonts: Path | None = Field(
        None, description="Folder of fonts for captions in scripts that ours lack; asked before the machine's own."
    )
    whisper_model: str = Field(
        "small", min_length=1, description="Model of the optional transcriber: a name such as `small`, or its folder."
    )
    whisper_download: bool = Field(
        False, description="Whether a model that is not here may be fetched from the Hugging Face hub."
    )
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="How much the processes log.")
    log_format: str = Field(
        "text",
        pattern="^(text|json)$",
        description="How a line of the log looks: `text`, or `json`, which names job and task.",
    )

    @field_validator("api_keys", "webhook_secret", "private_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(k.strip() for k in value.split(",") if k.strip()) if isinstance(value, str) else value

    @field_validator("webhook_secret")
    @classmethod
    def _long_secrets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for secret in value:
            try:
                key = base64.b64decode(secret.removeprefix(SECRET_MARK), validate=True)
            except ValueError:
                key = b""
            if not secret.startswith(SECRET_MARK) or not 24 <= len(key) <= 64:
                raise ValueError(f"each is {SECRET_MARK} and 24 to 64 random bytes in base64")
        return value

    @field_validator("private_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            ipaddress.ip_network(text)  # its own words tell what is wrong
        return value

    @field_validator("task_memory_mb")
    @classmethod
    def _enough(cls, value: int) -> int:
        if 0 < value < LEAST_MEMORY_MB:
            raise ValueError(f"a task needs {LEAST_MEMORY_MB} MiB at least")
        return value

    @field_validator("store")
    @classmethod
    def _folder_or_bucket(cls, value: str) -> str:
        if "://" in value and not re.fullmatch(S3_URL, value):
            raise ValueError("it is a folder, or s3:// with the name of a bucket and maybe a prefix")
        return value

    @model_validator(mode="after")
    def _whole_s3_key(self) -> Self:
        if bool(self.s3_access_key) != bool(self.s3_secret_key):
            raise ValueError(f"{variable('s3_access_key')} and {variable('s3_secret_key')} go together")
        return self

    @model_validator(mode="after")
    def _user_of_sentinel(self) -> Self:
        if self.sentinel_user and not self.sentinel_password:
            raise ValueError(f"{variable('sentinel_user')} wants {variable('sentinel_password')}")
        return self

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: str) -> str:
        return checked_url(value)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, dotenv: Path | None = None, **over: Any) -> Self:
        """Read the settings.

        environ: the variables, `os.environ` by default. dotenv: a `.env` file, which the environment overrides.
        over: values that override both, such as those of the command line; `None` means not given.
        Raises: ConfigError listing every fault at once.
        """
        env = {k: v for k, v in dotenv_values(dotenv or Path(".env")).items() if v is not None}
        env.update(os.environ if environ is None else environ)
        values, faults = _collect(env)
        values.update({k: v for k, v in over.items() if v is not None})
        try:
            settings = cls(**values)
        except ValidationError as err:
            faults += [f"{variable(str(e['loc'][0]))}: {e['msg']}" if e["loc"] else e["msg"] for e in err.errors()]
        if faults:
            raise ConfigError("settings are wrong: " + "; ".join(faults), {"faults": faults})
        return settings

    def to_env(self) -> dict[str, str]:
        """The variables that give a child process these settings, whatever its `.env` says; paths are made absolute."""
        env = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Path):
                value = value.absolute()
            if value is None:
                value = ""
            env[variable(name)] = ",".join(value) if isinstance(value, tuple) else str(value)
        return env

    def child_env(self, **extra: str) -> dict[str, str]:
        """The whole environment of a child process: this process's own, these settings over it, then `extra`."""
        return {**os.environ, **self.to_env(), **extra}

    @property
    def retention_s(self) -> int:
        """Seconds until a job and all that belongs to it expires."""
        return int(self.retention_days * 86_400)

    @property
    def store_budget_bytes(self) -> int:
        """Bytes that the store may take, 0 for no bound."""
        return int(self.store_budget_gb * (1 << 30))

    @property
    def masked_redis_url(self) -> str:
        """The Redis URL without its password, fit for logs and `/health`."""
        return masked_url(self.redis_url)

    @property
    def store_dir(self) -> Path:
        """Folder of the artifact store."""
        return Path(self.store) if self.store else self.data_dir / "store"


def variable(field: str) -> str:
    """Name of the environment variable of a settings field."""
    return UNPREFIXED.get(field, PREFIX + field.upper())


def _collect(env: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Values by field name, and faults: unknown names, and secret files that cannot be read."""
    by_variable = {variable(name): name for name in Settings.model_fields}
    secret_files = {variable(name) + "_FILE": name for name in SECRETS}
    values: dict[str, Any] = {}
    faults = []
    for key, text in env.items():
        if name := by_variable.get(key):
            if text != "":
                values[name] = text
        elif name := secret_files.get(key):
            try:
                values.setdefault(name, Path(text).read_text().strip())
            except OSError as err:
                faults.append(f"{key}: cannot read {text}: {err.strerror}")
        elif key.startswith(PREFIX):
            faults.append(f"{key}: no such setting")
    return values, faults
