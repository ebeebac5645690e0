"""Write `.env` with random secrets for docker-compose.yml. What a file that is there already says stays; what it lacks is
added. Standard library only.
"""

import base64
import os
import secrets
import sys
from pathlib import Path

NAMES = (
    "REDIS_PASSWORD",
    "TOPCLIP_API_KEYS",
    "TOPCLIP_SECRET_KEY",
    "FLOWER_PASSWORD",
    "TOPCLIP_WEBHOOK_SECRET",
    "REDIS_WEB_PASSWORD",
    "REDIS_WORKER_PASSWORD",
    "REDIS_FLOWER_PASSWORD",
)
HEAD = "# Secrets of docker-compose.yml, made by `make env`. .env.example names all settings.\n"


def secret(name: str) -> str:
    """A random value in the form that its setting wants; the API key bears the name of its owner."""
    if name == "TOPCLIP_API_KEYS":
        return "topclip:topclip_" + secrets.token_urlsafe(32)
    if name == "TOPCLIP_WEBHOOK_SECRET":
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(24)


def main(path: Path) -> None:
    """Make or complete the file; a new one is readable by its owner alone."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        text = file.read()
        said = {line.partition("=")[0].strip() for line in text.splitlines()}
        missing = [name for name in NAMES if name not in said]
        if missing:
            file.write(HEAD if not text else "" if text.endswith("\n") else "\n")
            file.writelines(f"{name}={secret(name)}\n" for name in missing)
    sys.stderr.write(f"{path}: {'added ' + ', '.join(missing) if missing else 'left as it is'}\n")


if __name__ == "__main__":
    main(Path(__file__).resolve().parent.parent / ".env")
