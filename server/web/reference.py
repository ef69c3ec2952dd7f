"""The API's reference: the OpenAPI document as a page of ours, because the usual viewers are fetched from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response

from server.web.site import Site

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A parameter of a request, or a member of a document."""

    name: str
    place: str  #: "path", "query", "header"; of a member "required" or ""
    kind: str  #: "integer, 1 to 200"
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that can be asked of the API."""

    anchor: str
    method: str
    path: str
    about: Sequence[str]  #: paragraphs
    needs_token: bool
    parameters: Sequence[Given]
    body: str  #: name of its document, or ""
    answers: Sequence[tuple[str, str, str]]  #: status, what it means, name of the document


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A document that is sent or comes back."""

    name: str
    about: str
    members: Sequence[Given]
    example: str


def routes(site: Site, router: APIRouter) -> None:
    """Serve /docs."""

    @router.get("/docs")
    async def reference(request: Request) -> Response:
        app: FastAPI = request.app
        document = app.openapi()
        return await site.page(
            request, "reference.html", here="/docs", about=str(document["info"].get("description", "")).split("\n\n"),
            groups=grouped(document), schemas=schemas(document),
        )  # fmt: skip


def grouped(document: Document) -> list[tuple[str, list[Operation]]]:
    """Operations under their tag, in the order of the document."""
    found: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["server"])[0]
            found.setdefault(tag, []).append(_operation(method.upper(), path, operation))
    return list(found.items())


def _operation(method: str, path: str, operation: Document) -> Operation:
    return Operation(
        anchor=f"{method}-{path}".replace("/", "-").replace("{", "").replace("}", "").lower(),
        method=method,
        path=path,
        about=str(operation.get("description", "")).split("\n\n"),
        needs_token=bool(operation.get("security")),
        parameters=[_parameter(one) for one in operation.get("parameters", ())],
        body=_content(operation.get("requestBody", {})),
        answers=[
            (status, answer["description"], _content(answer))
            for status, answer in sorted(operation["responses"].items())
        ],
    )


def _parameter(one: Document) -> Given:
    schema = one.get("schema", {})
    about = one.get("description") or schema.get("description", "")
    return Given(name=one["name"], place=one["in"], kind=kind(schema), about=about)


def _content(holder: Document) -> str:
    """The name of the document in a request or an answer, or its media type."""
    for media_type, content in holder.get("content", {}).items():
        return _referred(content.get("schema", {})) or str(media_type)
    return ""


def _referred(schema: Document) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def schemas(document: Document) -> list[Schema]:
    """Every document by name."""
    return [_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]


def _schema(name: str, schema: Document) -> Schema:
    required = schema.get("required", ())
    members = [
        Given(
            name=member, place="required" if member in required else "", kind=kind(of), about=of.get("description", "")
        )
        for member, of in schema.get("properties", {}).items()
    ]
    examples = schema.get("examples") or ()
    example = json.dumps(examples[0], indent=2, ensure_ascii=False) if examples else ""
    return Schema(name=name, about=schema.get("description", ""), members=members, example=example)


def kind(schema: Document) -> str:
    """What a value may be, in a few words."""
    if "$ref" in schema:
        return _referred(schema)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(kind(one) for one in schema[several]))
    if "enum" in schema or "const" in schema:
        return ", ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    low = schema.get("minimum", schema.get("ge"))
    high = schema.get("maximum", schema.get("le", schema.get("maxLength")))
    word = str(schema.get("type", "anything"))
    if word == "string" and high is not None:
        return f"string of at most {high}"
    if low is not None and high is not None:
        return f"{word}, {low} to {high}"
    return word
