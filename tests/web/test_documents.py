"""The OpenAPI document, its page, and the page itself."""

import re

from flask import Flask
from flask.testing import FlaskClient

from topclip.model.request import ClipOptions


def test_the_document_names_every_route_of_the_api(app: Flask, http: FlaskClient) -> None:
    spec = http.get("/api/openapi.json").json
    documented = {(path, method.upper()) for path, methods in spec["paths"].items() for method in methods}
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule not in ("/", "/sign-in", "/sign-out", "/api/docs", "/api/openapi.json", "/static/<path:filename>")
    }
    assert documented == routes


def test_every_reference_of_the_document_leads_somewhere(http: FlaskClient) -> None:
    answer = http.get("/api/openapi.json")
    wanted = set(re.findall(r'"#/components/schemas/(\w+)"', answer.text))
    assert wanted <= answer.json["components"]["schemas"].keys()
    assert set(ClipOptions.model_fields) == answer.json["components"]["schemas"]["ClipOptions"]["properties"].keys()


def test_parameters_and_bodies_are_documented(http: FlaskClient) -> None:
    paths = http.get("/api/openapi.json").json["paths"]
    assert [p["name"] for p in paths["/api/job-status/{job_id}"]["get"]["parameters"]] == ["job_id", "wait"]
    assert set(paths["/api/jobs"]["post"]["requestBody"]["content"]) == {"multipart/form-data", "application/json"}


def test_pages_load_nothing_from_elsewhere_and_run_no_inline_script(http: FlaskClient) -> None:
    for path in ("/", "/api/docs"):
        text = http.get(path).text
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)
        assert not re.findall(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", text)


def test_the_docs_page_shows_operations_schemas_and_codes(http: FlaskClient) -> None:
    text = http.get("/api/docs").text
    for word in ("/api/jobs/{job_id}/cancel", "max_length", 'id="UNKNOWN_JOB"', 'id="StatusDocument"'):
        assert word in text
