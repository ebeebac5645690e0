"""The application as gunicorn finds it: `web.wsgi:create_app_from_env()`, settings from the environment."""

from flask_openapi3 import OpenAPI

from topclip.config import Settings
from topclip.storage.factory import store_for
from web.app import create_app, start
from workers.client import JobClient


def create_app_from_env() -> OpenAPI:
    """The application, hearing of changes. Raises: ConfigError."""
    settings = Settings.from_env()
    store = store_for(settings)
    app = create_app(settings, JobClient(settings, store), store)
    start(app)
    return app
