"""How Redis and its sentinels are asked."""

import pytest

from topclip.config import Settings
from workers.links import WEB, WORKER, Profile, connection_settings

URL = "sentinel://:of-the-master@s1:26379;sentinel://s2:26379"


@pytest.mark.parametrize("profile", [WEB, WORKER])
def test_broker_and_backend_ask_the_sentinels_as_patiently_as_redis_and_by_their_own_password(profile: Profile) -> None:
    settings = Settings(redis_url=URL, sentinel_user="me", sentinel_password="of-theirs")
    conf = connection_settings(settings, profile)
    for name in ("broker_transport_options", "result_backend_transport_options"):
        asked = conf[name]["sentinel_kwargs"]
        assert (asked["username"], asked["password"]) == ("me", "of-theirs")
        assert (asked["socket_timeout"], asked["socket_connect_timeout"]) == (
            profile.timeout_s,
            profile.connect_timeout_s,
        )
    nobody = connection_settings(Settings(redis_url=URL), profile)
    assert "password" not in nobody["broker_transport_options"]["sentinel_kwargs"]
