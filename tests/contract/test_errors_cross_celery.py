"""Every error of ours comes back from Celery's result backend as its own class, message and detail intact."""

import json

import pytest

from topclip.config import Settings
from topclip.errors import TopClipError, all_errors, from_dict
from workers.links import WEB, make_app

DETAIL = {"field": "source", "hint": "Look at it.", "exit_code": 1}


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("detail", [None, DETAIL], ids=["plain", "with detail"])
def test_an_error_comes_back_as_itself(kind: type[TopClipError], detail: dict[str, object] | None) -> None:
    backend = make_app(Settings(), WEB).backend
    stored = json.loads(backend.encode(backend.prepare_exception(kind("it broke", detail), "json")))
    back = backend.exception_to_python(stored)
    assert type(back) is kind
    assert (back.message, back.detail, str(back)) == ("it broke", detail or {}, "it broke")


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_an_error_that_travelled_as_a_value_is_raised_as_itself(kind: type[TopClipError]) -> None:
    error = kind("it broke", {"hint": "Look at it."})
    back = from_dict(error.to_dict())
    assert type(back) is kind
    assert back.to_dict() == error.to_dict()


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in all_errors()]
    assert sorted(codes) == sorted(set(codes))
