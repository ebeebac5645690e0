"""The workers' Celery application: `celery -A workers.app worker`."""

from celery.signals import worker_process_init

from topclip.config import Settings
from workers import channel, consumer, runtime
from workers.callbacks import Callbacks
from workers.footprint import Footprint
from workers.keeper import Keeper
from workers.leaving import Leaving
from workers.links import WORKER, make_app
from workers.logs import configure
from workers.reconciler import Reconciler

settings = Settings.from_env()
configure(settings)
channel.install()
consumer.install()
app = make_app(settings, WORKER)
app.conf.include = [
    f"workers.tasks.{name}"
    for name in ("probe", "analyse", "select", "reframe", "frame_plan", "render", "finalise", "callback")
]
worker_process_init.connect(runtime.limit_process)
app.steps["worker"].update({Keeper, Footprint, Reconciler, Callbacks, Leaving})
