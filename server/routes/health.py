"""For whoever watches the server: alive, ready, measured."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from server import views
from server.deps import TheRuntime
from server.metrics import count
from server.problems import ProblemError
from server.routes.described import answers, refusals
from server.schemas.views import HealthView

router = APIRouter(tags=["watching"])


@router.get("/healthz", response_model=HealthView, responses=refusals())
async def alive() -> Response:
    """Whether the process answers."""
    return views.answer({"status": "ok"})


@router.get("/readyz", response_model=HealthView, responses=refusals())
async def ready(runtime: TheRuntime) -> Response:
    """Whether jobs are taken: the writer lives and the database can be written."""
    problem = "the server is stopping" if runtime.stopping else runtime.writer.problem
    if problem is None:
        await runtime.do(lambda _control, _now: None)
    if problem is not None:
        raise ProblemError("unavailable", "the market cannot be written to now", headers={"Retry-After": "5"})
    return views.answer({"status": "ok"})


@router.get(
    "/metrics",
    response_class=Response,
    responses=answers("Prometheus's text format", "text/plain") | refusals(),
)
async def metrics(runtime: TheRuntime) -> Response:
    """Figures of the server itself; none names a tenant."""
    counts = await runtime.do(lambda control, _now: count(control.book))
    alarms = [alarm.kind for alarm in runtime.alarms.now()]
    log_file_bytes = runtime.log_file_bytes
    page = await runtime.read(runtime.metrics.page, counts, alarms=alarms, log_file_bytes=log_file_bytes)
    return Response(page, media_type=CONTENT_TYPE_LATEST)
