"""All pages together: one router, one session table, one set of templates."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.convertors import Convertor, register_url_convertor

from server.problems import ProblemError
from server.runtime import Runtime
from server.web import assets, fleet, inventory, jobs, login, nodes, reference, render, supply
from server.web.report_pages import ReportPages
from server.web.session import Sessions
from server.web.site import Site, page_route

#: below these the server answers machines, and its errors stay problem documents
NOT_PAGES = ("v1", "openapi.json", "healthz", "readyz", "metrics", "problems")
_YEAR_S = 31_536_000


def router(runtime: Runtime) -> APIRouter:
    """The pages over an open market; to be included after every other route."""
    files = assets.load()
    clock = runtime.sources.clock
    sessions = Sessions(random_bytes=runtime.sources.random_bytes, mono_ms=lambda: clock.now().mono_ms)
    site = Site(
        runtime=runtime,
        sessions=sessions,
        files=files,
        templates=render.environment(files),
        report_pages=ReportPages(runtime),
    )
    made = APIRouter(route_class=page_route(site), include_in_schema=False)
    for part in (inventory, nodes, jobs, supply, fleet, login, reference):
        part.routes(site, made)
    _static(site, made)
    register_url_convertor("elsewhere", _Elsewhere())
    made.add_api_route("/{path:elsewhere}", _nowhere, methods=["GET"], include_in_schema=False)
    return made


def _static(site: Site, router: APIRouter) -> None:
    @router.get("/static/{name}")
    async def static(name: str, v: Annotated[str, Query(max_length=64)] = "") -> Response:
        found = site.files.get(name)
        if found is None:
            raise ProblemError("not-found", "there is no such file")
        kept = f"public, max-age={_YEAR_S}, immutable" if v == found.version else "no-cache"
        headers = {**render.HEADERS, "Cache-Control": kept}
        return Response(found.content, media_type=found.media_type, headers=headers)


class _Elsewhere(Convertor[str]):
    """Every path except where machines are answered: there the server's own errors say what was wrong."""

    regex = f"(?!({'|'.join(map(re.escape, NOT_PAGES))})(/|$)).*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


async def _nowhere(path: str) -> Response:
    del path
    raise ProblemError("not-found", "there is no such page")
