"""What the OpenAPI document says of each operation beside its docstring, made from the pydantic models.

Requests are validated by `web.schemas`, not by flask-openapi3: it would read an upload into memory to validate it.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask_openapi3 import APIBlueprint, Info, OpenAPI, Tag
from flask_openapi3.utils import get_model_schema, parse_header, parse_query, parse_rule
from pydantic import BaseModel

from topclip import __version__
from web.errors import PROBLEM_JSON

INFO = Info(
    title="TopClip",
    version=__version__,
    description="Long videos in, checked top clips out. Errors are RFC 9457 problem+json with a stable `code`.",
)
JOBS = Tag(name="jobs", description="Submit, follow, cancel, retry, delete.")
CLIPS = Tag(name="clips", description="What a job made.")
OPERATION = Tag(name="operation", description="How the service is.")

Json = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])
METHODS = ("get", "post", "put", "patch", "delete")
PROBLEM_REF = "#/components/schemas/Problem"


class Api(APIBlueprint):  # type: ignore[misc]  # the library exports no types
    """A blueprint whose routes say in types what they take and answer."""

    def route_of(self, method: str, rule: str, **doc: Any) -> Callable[[View], View]:
        """A documented route. doc: `query` and `headers` models, `body` models by media type, `answers`."""
        register = getattr(super(), method)(
            rule, openapi_extensions=_body(doc.get("body") or {}), responses=doc["answers"]
        )

        def decorate(view: View) -> View:
            registered: View = register(view)
            operation = getattr(self.paths[parse_rule(rule)], method)
            for name, parse in (("query", parse_query), ("headers", parse_header)):
                if model := doc.get(name):
                    operation.parameters = [*(operation.parameters or ()), *parse(model)[0]]
            return registered

        return decorate

    def get(self, rule: str, **doc: Any) -> Callable[[View], View]:
        """See `route_of`."""
        return self.route_of("get", rule, **doc)

    def post(self, rule: str, **doc: Any) -> Callable[[View], View]:
        """See `route_of`."""
        return self.route_of("post", rule, **doc)

    def patch(self, rule: str, **doc: Any) -> Callable[[View], View]:
        """See `route_of`."""
        return self.route_of("patch", rule, **doc)

    def delete(self, rule: str, **doc: Any) -> Callable[[View], View]:
        """See `route_of`."""
        return self.route_of("delete", rule, **doc)


def register_api(app: OpenAPI, api: Api) -> None:
    """Register a blueprint. Of two that share a path, the library itself would forget the first one's operations."""
    before = dict(app.paths)
    app.register_api(api)
    for path in before.keys() & api.paths.keys():
        for method in METHODS:
            if operation := getattr(before[path], method):
                setattr(app.paths[path], method, operation)


def document(app: OpenAPI) -> Json:
    """The OpenAPI document, without the answers that the library adds for its own validation, which is not used."""
    spec: Json = app.api_doc
    for operations in spec["paths"].values():
        for operation in operations.values():
            found = operation["responses"].get("422", {})
            if "application/json" in found.get("content", {}):
                del operation["responses"]["422"]
    return spec


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
