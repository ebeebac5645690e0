"""The page and the API's documentation: rendered here, with one script and one style sheet of our own."""

import re
from typing import Any, cast

from flask import Blueprint, Response, current_app, jsonify, render_template
from flask_openapi3 import OpenAPI
from markupsafe import Markup, escape

from topclip import __version__
from topclip.model.request import Aspect, Captions, CaptionStyle, ClipOptions, Fit, Mode
from web.errors import STATUS
from web.openapi import document
from web.services import services

blueprint = Blueprint("page", __name__)

ASPECT_NAMES = {
    Aspect.VERTICAL: "Vertical",
    Aspect.SQUARE: "Square",
    Aspect.PORTRAIT: "Portrait",
    Aspect.WIDE: "Wide",
    Aspect.SOURCE: "As it is",
}
CAPTIONS_NAMES = {
    Captions.AUTO: "Files, where there is text",
    Captions.BURN: "In the picture, and files",
    Captions.SIDE: "Files",
    Captions.OFF: "None",
}
CAPTION_STYLES = {
    CaptionStyle.SPOKEN: "Lit as spoken",
    CaptionStyle.PLAIN: "Plain",
    CaptionStyle.BOX: "On a dark box",
    CaptionStyle.LARGE: "Large, few words",
}
MODE_NAMES = {
    Mode.HIGHLIGHTS: "The best moments",
    Mode.SHOTS: "Whole shots",
    Mode.SILENCE: "What lies between silences",
    Mode.RANGES: "Ranges that I name",
    Mode.PLAN: "A plan, no clips",
}
FIT_NAMES = {Fit.CROP: "Crop", Fit.BLUR: "Blurred edges", Fit.PAD: "Bars"}


@blueprint.app_template_filter("marked")
def marked(text: str) -> Markup:
    """What stands in backquotes, as code; all else escaped."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


@blueprint.get("/")
def index() -> str:
    """The page."""
    settings = services().settings
    return render_template(
        "page.html",
        version=__version__,
        aspects=ASPECT_NAMES,
        fits=FIT_NAMES,
        modes=MODE_NAMES,
        captions_names=CAPTIONS_NAMES,
        caption_styles=CAPTION_STYLES,
        defaults=ClipOptions(),
        max_upload_mb=settings.max_upload_mb,
        retention_days=settings.retention_days,
    )


@blueprint.get("/api/openapi.json")
def openapi() -> Response:
    """The OpenAPI document."""
    return jsonify(_document())


@blueprint.get("/api/docs")
def docs() -> str:
    """The API's documentation, from the same document."""
    spec = _document()
    return render_template("docs.html", spec=spec, operations=_operations(spec), codes=STATUS, version=__version__)


def _document() -> dict[str, Any]:
    return document(cast("OpenAPI", current_app))


def _operations(spec: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Operations by tag, in the order of the document."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            row = {"path": path, "method": method.upper(), **operation}
            found.setdefault(operation["tags"][0], []).append(row)
    return found
