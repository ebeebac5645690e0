"""The application as gunicorn finds it: `web.wsgi:create_app_from_env()`, settings from the environment."""

import logging
import threading
from time import sleep

from flask_openapi3 import OpenAPI

from topclip.config import Settings
from topclip.storage.factory import store_for
from web.app import create_app, start
from web.services import EXTENSION, Services
from workers.client import JobClient

log = logging.getLogger("topclip.web")

WARN_AFTER_S = 3.0
LOOK_S = 0.1


def create_app_from_env() -> OpenAPI:
    """The application, hearing of changes. Raises: ConfigError."""
    settings = Settings.from_env()
    store = store_for(settings)
    app = create_app(settings, JobClient(settings, store), store)
    start(app)
    threading.Thread(target=announce, args=(app.extensions[EXTENSION],), name="announce", daemon=True).start()
    return app


def announce(parts: Services) -> None:
    """Log once that Redis is there; if it is not, warn first and go on."""
    url = parts.settings.masked_redis_url
    waited_s = 0.0
    while not parts.watch.is_up:
        sleep(LOOK_S)
        waited_s += LOOK_S
        if abs(waited_s - WARN_AFTER_S) < LOOK_S / 2:
            log.warning("[WARN] Redis not reachable: %s; going on, known jobs are answered from the cache", url)
    log.info("[OK] Redis connected: %s", url)
