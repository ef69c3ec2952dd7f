"""What the OpenAPI document says of refusals, for every route the same way."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator

from server.problems import KINDS, MEDIA_TYPE
from server.schemas.base import ID_MAX

_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)


def _digits(value: object) -> object:
    """One text for each number: not 1.0, +1, 01 or 1_000."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("is no whole number")
    return value


#: a number in a path or a query
Whole = Annotated[int, BeforeValidator(_digits)]
Id = Annotated[Whole, Path(ge=1, le=ID_MAX)]
Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Limit = Annotated[Whole, Query(ge=1, le=200)]
#: of a page: a number to go on from
Cursor = Annotated[str | None, Query(pattern=r"^[0-9]{1,15}$")]

Responses = dict[int | str, dict[str, Any]]
_ALWAYS = ("bad-request", "unauthenticated", "invalid", "too-many", "internal", "unavailable")


def refusals(*slugs: str) -> Responses:
    """The problems that a route may answer, besides those that every route may."""
    found: Responses = {}
    for slug in (*_ALWAYS, *slugs):
        status, title = KINDS[slug]
        text = found.get(status, {}).get("description")
        schema = {"$ref": "#/components/schemas/ProblemView"}
        found[status] = {
            "description": f"{text}; {title.lower()}" if text and title.lower() not in text.lower() else title,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
    return found


def answers(description: str, *kinds: str, model: type[BaseModel] | None = None, status: int = 200) -> Responses:
    """What a route answers, where that is no JSON document of the route's own model."""
    found: dict[str, Any] = {"description": description}
    if model is not None:
        found["model"] = model
    if kinds:
        found["content"] = {kind: {"schema": {"type": "string"}} for kind in kinds}
    return {status: found}


def number(cursor: str | None) -> int | None:
    """What a cursor of `Cursor`'s form stands for."""
    return None if cursor is None else int(cursor)
