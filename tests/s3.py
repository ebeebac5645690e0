"""A real S3 server over a folder of this machine."""

import socket
from pathlib import Path

from tests.nodes import ProcessContainer, free_port, program
from tests.waiting import until

BUCKET, ACCESS, SECRET = "clips", "an-access-key", "a-secret-key"


class S3Container(ProcessContainer):
    """s3s-fs with one bucket, on a free port of loopback."""

    def __init__(self, folder: Path, name: str = "s3") -> None:
        self._binary, self.port = program("s3s-fs"), free_port()
        self.root = folder / "buckets"
        (self.root / BUCKET).mkdir(parents=True, exist_ok=True)
        super().__init__(folder, name)

    def argv(self) -> list[str]:
        keys = ["--access-key", ACCESS, "--secret-key", SECRET]
        return [self._binary, *keys, "--host", "127.0.0.1", "--port", str(self.port), str(self.root)]

    @property
    def ready_prompt(self) -> str:
        return "server is running"

    def ready(self) -> bool:
        until(self._listens, 30, self.logs)
        return self.status == "running"

    def _listens(self) -> bool:
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """The settings that lead to a store in it."""
        return {
            "store": f"s3://{BUCKET}/topclip",
            "s3_endpoint": self.endpoint,
            "s3_access_key": ACCESS,
            "s3_secret_key": SECRET,
        }
