"""What the views work with, hung on the Flask application: explicit values in place of module globals."""

from dataclasses import dataclass
from typing import cast

from flask import current_app

from topclip.config import Settings
from topclip.outbound.http import Outbound
from topclip.storage.base import ArtifactStore
from web.follow import Followers, Seats
from web.keys import KeyRing
from web.metrics import Metrics
from web.refresher import Refresher
from web.sniff import Sniffer
from web.status_cache import StatusCache
from web.streams import Streams
from web.vitals import Vitals
from workers.client import JobClient, Watch

EXTENSION = "topclip"


@dataclass(frozen=True)
class Services:
    """The parts of one web process."""

    settings: Settings
    keys: KeyRing
    client: JobClient
    store: ArtifactStore
    watch: Watch
    cache: StatusCache
    refresher: Refresher
    followers: Followers
    seats: Seats
    poll_seats: Seats
    streams: Streams
    sniffer: Sniffer
    outbound: Outbound
    vitals: Vitals
    metrics: Metrics


def services() -> Services:
    """The parts of the application that answers the current request."""
    return cast("Services", current_app.extensions[EXTENSION])
