"""How Redis and its sentinels are asked."""

import socket
from contextlib import ExitStack
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.config import Settings
from workers.links import WEB, WORKER, Profile, connection_settings, redis_client
from workers.patience import ask_sentinel, waiting

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


def test_sentinels_that_say_nothing_are_not_waited_for_by_who_has_else_to_do() -> None:
    with ExitStack() as held:
        silent = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        url = ";".join(f"sentinel://127.0.0.1:{server.getsockname()[1]}" for server in silent)
        client = redis_client(Settings(redis_url=url), replace(WEB, timeout_s=60, connect_timeout_s=60))
        raised = []

        def ask() -> None:
            try:
                ask_sentinel(client)
            except RedisConnectionError as err:
                raised.append(type(err))

        asking = Thread(target=ask, daemon=True)
        asking.start()
        asking.join(30)
        assert raised == [MasterNotFoundError]


def test_a_name_that_no_server_of_names_looks_up_holds_nobody_up(
    redis_node: RedisContainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_told, look_up, made = Event(), socket.getaddrinfo, []

    def slow(*args: Any) -> Any:
        is_told.wait(60)
        return look_up(*args)

    class Kept(socket.socket):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(socket, "socket", Kept)
    client = redis_client(Settings(redis_url=redis_node.url), WEB)
    with pytest.raises(RedisTimeoutError), waiting():
        client.ping()
    assert not is_told.is_set()
    is_told.set()
    until(lambda: made and made[0].fileno() == -1, 20)  # nobody waits for it any more
    with waiting():
        assert client.ping()
    client.close()
