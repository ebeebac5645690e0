"""The application as gunicorn finds it: `web.wsgi:create_app_from_env()`, settings from the environment."""

import psutil
from flask_openapi3 import OpenAPI

from topclip.config import Settings
from topclip.storage.factory import store_for
from web.app import create_app, services_of, start
from web.doors import check_exposure
from workers.client import JobClient


def create_app_from_env() -> OpenAPI:
    """The application, hearing of changes. Raises: ConfigError."""
    settings = Settings.from_env()
    store = store_for(settings, for_requests=True)  # gunicorn_conf.py has checked it
    app = create_app(settings, JobClient(settings, store), store)
    check_exposure(services_of(app).keys, listening_hosts())
    start(app)
    return app


def listening_hosts() -> set[str]:
    """Addresses that this process listens on, whatever the settings say: a server can be given others by its own flags."""
    connections = psutil.Process().net_connections("inet")
    return {found.laddr.ip for found in connections if found.status == psutil.CONN_LISTEN}
