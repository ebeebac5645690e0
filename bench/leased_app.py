"""A worker of the bench's tasks with our channel and keeper: `celery -A bench.leased_app worker`."""

from bench.lease_tasks import register
from topclip.config import Settings
from workers import channel
from workers.keeper import Keeper
from workers.links import WORKER, make_app

channel.install()
settings = Settings.from_env()
app = make_app(settings, WORKER)
app.steps["worker"].add(Keeper)
register(app, settings)
