"""The workers' Celery application: `celery -A workers.app worker`, and what `celery -A workers.app flower` is about.

Flower's own defaults are to listen on all addresses and to ask for nothing. Celery loads this module before it starts, so
that by hand and without a configuration it gets ours, which refuses that.
"""

import os
import sys
from pathlib import Path

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
# The command `celery` loads Flower, whatever it is to run; where there is a configuration of one's own, that counts.
if (flower := sys.modules.get("flower.command")) and not os.access(flower.DEFAULT_CONFIG_FILE, os.F_OK):
    flower.options.conf = str(Path(__file__).parents[1] / "stack" / "flowerconfig.py")
    flower.DEFAULT_CONFIG_FILE = ""  # type: ignore[attr-defined]  # Flower passes over one of its default's name that is missing
app.steps["worker"].update({Keeper, Footprint, Reconciler, Callbacks, Leaving})
