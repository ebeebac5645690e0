"""Flower's configuration file, given to it by `--conf`; its options come by command line and environment.

Without a password Flower answers its API only where FLOWER_UNAUTHENTICATED_API is set, and then tells browsers that
every website may read it (`Access-Control-Allow-Origin: *`). On a desktop that hands the names of a user's jobs to any
page that he visits. Flower 2.2 has no option against it, so that header is left out here; programs are not affected.
"""

from flower.views import BaseHandler


def _default_headers(self: BaseHandler) -> None:
    self.set_header("X-Content-Type-Options", "nosniff")
    self.set_header("X-Frame-Options", "SAMEORIGIN")


BaseHandler.set_default_headers = _default_headers
