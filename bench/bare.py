"""The peers of the web bench: a Flask route that does nothing, and one that only publishes a message."""

from flask import Flask

from topclip.config import Settings
from workers import names
from workers.links import WEB, make_app


def create_app() -> Flask:
    """`/bare` answers a constant; `/apply` does a bare `apply_async` to a queue that nobody consumes."""
    app = Flask(__name__)
    celery = make_app(Settings.from_env(), WEB, "bare")

    @celery.task(name="bench.nothing")  # type: ignore[untyped-decorator]
    def nothing() -> None:
        """Never run."""

    @app.get("/bare")
    def bare() -> dict[str, str]:
        return {"state": "SUCCEEDED"}

    @app.post("/apply")
    def apply() -> dict[str, str]:
        return {"id": nothing.apply_async(queue=names.CONTROL_QUEUE).id}

    return app
