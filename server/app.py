"""The application: every route of /v1 over one runtime, what goes around each request, and the OpenAPI document."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from scheduler.store.errors import StoreError
from server import logs, problems, web
from server.observe import Observed
from server.quick import Quick
from server.routes import accounts, agent, blobs, challenges, evidence, health, joblogs, jobs, nodes, offers, operate
from server.runtime import Runtime
from server.schemas.accounts import AccountDocument, TermsDocument
from server.schemas.agent import RegisterDocument, SyncDocument
from server.schemas.base import Document
from server.schemas.job import JobDocument
from server.schemas.nodes import EnrolDocument
from server.schemas.views import ProblemView
from server.settings import Settings

ROUTERS = (
    agent.router,  # first: most requests are agents', and routes are tried in this order
    jobs.router,
    joblogs.router,
    blobs.router,
    offers.router,
    nodes.router,
    challenges.router,
    evidence.router,
    accounts.router,
    operate.router,
    health.router,
)
#: bodies that the routes read themselves, which FastAPI therefore does not know
DOCUMENTS: tuple[type[Document], ...] = (
    JobDocument,
    EnrolDocument,
    AccountDocument,
    TermsDocument,
    RegisterDocument,
    SyncDocument,
)
#: between two looks at the disk; each so many of them what is old or nobody's is removed
LOOK_S = 60.0
LOOKS_PER_TIDY = 60
_ABOUT = """List, query, place and run on measured nodes.

Errors are problem documents (RFC 9457); their `type` is `/problems/<slug>`. Times are milliseconds of Unix time, money
is micro-dollars, a GPU or a CPU is counted in thousandths. Lists come in pages: ask again with `cursor=next_cursor`.
"""


def create_app(settings: Settings, runtime: Runtime, *, more: Iterable[APIRouter] = ()) -> FastAPI:
    """The application over an open runtime; whoever opened it closes it, after the application has ended.

    Args:
        more: routers beside the API's; the pages come last.
    """
    app = FastAPI(
        title="gridmark",
        version="1",
        description=_ABOUT,
        lifespan=_lifespan(runtime),
        docs_url=None,  # FastAPI's is fetched from elsewhere; server/web has one
        redoc_url=None,
        debug=False,
        separate_input_output_schemas=False,
    )
    del settings  # the runtime carries them
    app.state.runtime = runtime
    problems.install(app)
    for router in (*ROUTERS, *more, web.router(runtime)):
        app.include_router(router)
    app.add_middleware(Quick, runtime=runtime)
    app.add_middleware(Observed, watch=runtime.watch)
    app.openapi = _documented(app)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app


def _lifespan(runtime: Runtime) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[None]:
        del app
        runtime.attach(asyncio.get_running_loop())
        housekeeping = asyncio.create_task(_keep_house(runtime))
        try:
            yield
        finally:
            housekeeping.cancel()
            await asyncio.wait((housekeeping,))
            runtime.stop_waiting()
            runtime.detach()

    return live


async def _keep_house(runtime: Runtime) -> None:
    """While the server lives: look at the disk every minute, tidy every hour, check every night."""
    house, looks = runtime.housekeeper, 0
    while True:
        await asyncio.sleep(LOOK_S)
        looks += 1
        try:
            await runtime.read(house.look)
            if looks % LOOKS_PER_TIDY == 0:
                removed = await runtime.read(runtime.tidy)
                retired = await runtime.read(house.retire_events)
                logs.say("tidied", files_removed=removed, events_removed=retired)
            if house.is_night():
                await runtime.read(house.check)
        except (StoreError, OSError) as error:
            logs.say("could not keep house", level=logging.WARNING, why=str(error))


def _documented(app: FastAPI) -> Callable[[], dict[str, Any]]:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            models = [(model, "validation") for model in (*DOCUMENTS, ProblemView)]
            _, found = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
            schemas |= found["$defs"]
            for unused in (
                "HTTPValidationError",
                "ValidationError",
            ):  # FastAPI's own form of errors, which we never send
                schemas.pop(unused, None)
            app.openapi_schema = schema
        return app.openapi_schema

    return openapi
