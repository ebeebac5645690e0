"""The same worker with kombu's own channel and nothing else of ours: `celery -A bench.stock_app worker`."""

from bench.lease_tasks import register
from topclip.config import Settings
from workers.links import WORKER, make_app

settings = Settings.from_env()
app = make_app(settings, WORKER)
register(app, settings)
