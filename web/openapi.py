"""What the OpenAPI document says of each operation beside its docstring, made from the pydantic models.

Requests are validated by `web.schemas`, not by flask-openapi3: it would read an upload into memory to validate it.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from flask_openapi3 import APIBlueprint, Info, Tag
from flask_openapi3.utils import get_model_schema, parse_path, parse_query
from pydantic import BaseModel

from topclip import __version__
from web.errors import PROBLEM_JSON

INFO = Info(
    title="TopClip",
    version=__version__,
    description="Long videos in, checked top clips out. Errors are RFC 9457 problem+json with a stable `code`.",
)
JOBS = Tag(name="jobs", description="Submit, follow, cancel, delete.")
CLIPS = Tag(name="clips", description="What a job made.")
OPERATION = Tag(name="operation", description="How the service is.")

Json = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])
PROBLEM_REF = "#/components/schemas/Problem"


class Api(APIBlueprint):  # type: ignore[misc]  # the library exports no types
    """A blueprint whose routes say in types what they take and answer."""

    def route_of(self, method: str, rule: str, **doc: Any) -> Callable[[View], View]:
        """A documented route. doc: `path` and `query` models, `body` models by media type, `answers`."""
        extensions = {**_parameters(doc.get("path"), doc.get("query")), **_body(doc.get("body") or {})}
        register = getattr(super(), method)(rule, openapi_extensions=extensions, responses=doc["answers"])
        return cast("Callable[[View], View]", register)

    def get(self, rule: str, **doc: Any) -> Callable[[View], View]:
        """See `route_of`."""
        return self.route_of("get", rule, **doc)

    def post(self, rule: str, **doc: Any) -> Callable[[View], View]:
        """See `route_of`."""
        return self.route_of("post", rule, **doc)

    def delete(self, rule: str, **doc: Any) -> Callable[[View], View]:
        """See `route_of`."""
        return self.route_of("delete", rule, **doc)


def _parameters(path: type[BaseModel] | None, query: type[BaseModel] | None) -> Json:
    found = [*(parse_path(path)[0] if path else ()), *(parse_query(query)[0] if query else ())]
    return {"parameters": found} if found else {}


def _body(by_type: Mapping[str, type[BaseModel]]) -> Json:
    content = {kind: {"schema": {"$ref": f"#/components/schemas/{m.__name__}"}} for kind, m in by_type.items()}
    return {"requestBody": {"required": True, "content": content}} if content else {}


def answers(good: Mapping[int, type[BaseModel] | Json | None], *bad: int) -> dict[Any, Any]:
    """The answers of an operation; the bad ones are all problems."""
    return {**good, **{status: _problem() for status in bad}}


def file_answer(media_type: str, description: str) -> Json:
    """An answer that is a file."""
    return {
        "description": description,
        "content": {media_type: {"schema": {"type": "string", "format": "binary"}}},
    }


def _problem() -> Json:
    return {"content": {PROBLEM_JSON: {"schema": {"$ref": PROBLEM_REF}}}}


def schemas_of(*models: type[BaseModel]) -> Json:
    """Schemas of models that no typed answer brings into the document."""
    found: Json = {}
    for model in models:
        schema = get_model_schema(model)
        found |= schema.pop("$defs", {})
        found[model.__name__] = schema
    return found
