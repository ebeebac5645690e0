"""Write `.env` with random secrets for docker-compose.yml. What a file that is there already says stays; what it lacks is
added, and what it names without a value is filled in. Standard library only.
"""

import base64
import os
import re
import secrets
import sys
from pathlib import Path

NAMES = (
    "REDIS_PASSWORD",
    "TOPCLIP_API_KEYS",
    "TOPCLIP_SECRET_KEY",
    "FLOWER_PASSWORD",
    "FLOWER_COOKIE_SECRET",
    "PROMETHEUS_KEY",
    "TOPCLIP_WEBHOOK_SECRET",
    "REDIS_WEB_PASSWORD",
    "REDIS_WORKER_PASSWORD",
    "REDIS_FLOWER_PASSWORD",
)
HEAD = "# Secrets of docker-compose.yml, made by `make env`. .env.example names all settings.\n"
NOTHING = re.compile(r"(\"\"|'')?\s*(#.*)?")
LINE = re.compile(r"[ \t]*(?:export[ \t]+)?(\w+)[ \t]*=[ \t]*(.*)")


def secret(name: str) -> str:
    """A random value in the form that its setting wants; the API key bears the name of its owner."""
    if name == "TOPCLIP_API_KEYS":
        return "topclip:topclip_" + secrets.token_urlsafe(32)
    if name == "TOPCLIP_WEBHOOK_SECRET":
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(24)


def completed(text: str) -> tuple[str, list[str]]:
    """The file's text with a value for each of the names, and the names that had none: Compose takes an empty one for none."""
    lines = text.splitlines(keepends=True)
    place: dict[str, int] = {}
    empty = set()
    for i, line in enumerate(lines):
        if found := LINE.match(line):
            name, value = found.groups()
            place[name] = i  # of several lines the last counts
            (empty.add if NOTHING.fullmatch(value) else empty.discard)(name)
    missing = [name for name in NAMES if name not in place or name in empty]
    if missing and lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    for name in missing:
        line = f"{name}={secret(name)}\n"
        if name in place:
            lines[place[name]] = line
        else:
            lines.append(line)
    return "".join(lines), missing


def main(path: Path) -> None:
    """Make or complete the file; once it holds a secret of ours, its owner alone reads it."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        text, missing = completed(file.read() or HEAD)
        if missing:
            os.fchmod(file.fileno(), 0o600)
            file.seek(0)
            file.write(text)
            file.truncate()
    sys.stderr.write(f"{path}: {'made ' + ', '.join(missing) if missing else 'left as it is'}\n")


if __name__ == "__main__":
    main(Path(__file__).resolve().parent.parent / ".env")
