"""Flower's configuration file, given to it by `--conf`; its options come by command line and environment.

Without a password Flower answers its API only where FLOWER_UNAUTHENTICATED_API is set, and then tells browsers that
every website may read it (`Access-Control-Allow-Origin: *`). On a desktop that hands the names of a user's jobs to any
page that he visits. Flower 2.2 has no option against it, so that header is left out here; programs are not affected.
Nor does it ask by which name it is reached: a page of another site may have its name lead to this machine. Without a
password it starts on loopback alone, and answers to this machine's own names alone.
With one, its figures, which name workers and tasks, are asked for by it too: Flower has them open to all.
"""

import sys

from flower.api import BaseApiHandler
from flower.views import BaseHandler
from flower.views.monitor import Metrics
from tornado.options import options
from tornado.web import HTTPError, authenticated

from topclip.config import Settings
from topclip.errors import ConfigError
from web.doors import is_loopback
from workers.cluster import refuse_cluster


def _is_open() -> bool:
    """An empty FLOWER_BASIC_AUTH is an entry to Flower, and an empty one lets in whoever sends nothing as his name."""
    entries = options.basic_auth or []
    return not (entries or options.auth) or not all(it.partition(":")[2] for it in entries)


def _refuse_exposure() -> None:
    """Flower's own default is to listen on all addresses."""
    if _is_open() and not options.unix_socket and not is_loopback(options.address):
        sys.stderr.write(
            f"Flower would listen on {options.address or 'all addresses'}, which others can reach, without a password.\n"
            "  Set FLOWER_BASIC_AUTH=user:password in its environment (a comma there begins the next user), or give it\n"
            "  --address=127.0.0.1\n"
        )
        sys.exit(2)


def _refuse_what_celery_cannot() -> None:
    try:
        refuse_cluster(Settings.from_env())
    except ConfigError as err:
        sys.stderr.write(f"{err.message}\n  {err.hint}\n")
        sys.exit(2)


def _default_headers(self: BaseHandler) -> None:
    self.set_header("X-Content-Type-Options", "nosniff")
    self.set_header("X-Frame-Options", "SAMEORIGIN")


def _refuse_other_names(self: BaseHandler) -> None:
    name = self.request.host_name
    if _is_open() and not options.unix_socket and not is_loopback(name) and not name.endswith(".localhost"):
        raise HTTPError(403, f"{name} is no name of this machine alone")


def _prepare_api(self: BaseApiHandler) -> None:
    _refuse_other_names(self)
    _prepare_own_api(self)


_refuse_exposure()
_refuse_what_celery_cannot()
_prepare_own_api = BaseApiHandler.prepare
BaseHandler.set_default_headers = _default_headers
BaseHandler.prepare = _refuse_other_names
BaseApiHandler.prepare = _prepare_api
Metrics.get = authenticated(Metrics.get)
