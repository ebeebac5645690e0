"""Write `.env` with random secrets for docker-compose.yml, once; an existing file is left alone. Standard library
only.
"""

import os
import secrets
import sys
from pathlib import Path

NAMES = ("REDIS_PASSWORD", "TOPCLIP_API_KEYS", "TOPCLIP_SECRET_KEY", "FLOWER_PASSWORD")


def secret(name: str) -> str:
    """A random value; the API key bears the name of its owner."""
    return "topclip:topclip_" + secrets.token_urlsafe(32) if name == "TOPCLIP_API_KEYS" else secrets.token_urlsafe(24)


def main(path: Path) -> None:
    """Make the file, readable by its owner alone."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.stderr.write(f"{path} is there already; left as it is\n")
        return
    with os.fdopen(fd, "w") as file:
        file.write("# Secrets of docker-compose.yml, made by `make env`. .env.example names all settings.\n")
        file.writelines(f"{name}={secret(name)}\n" for name in NAMES)
    sys.stderr.write(f"{path} written\n")


if __name__ == "__main__":
    main(Path(__file__).resolve().parent.parent / ".env")
