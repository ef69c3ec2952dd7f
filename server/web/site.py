"""What all pages share: the server behind them, who is looking, the frame, and how errors look."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from scheduler.control import Refused
from scheduler.records import Account
from server import bodies, problems
from server.problems import ProblemError
from server.runtime import Runtime
from server.web import assets, render
from server.web.report_pages import ReportPages
from server.web.session import COOKIE, Sessions

FORM_BYTES = 16 << 10
FORM_FIELDS = 32
FORM = "application/x-www-form-urlencoded"
TITLES = {
    400: "Not understood",
    401: "Not logged in",
    403: "Not allowed",
    404: "Not found",
    409: "Not possible now",
    413: "Too much",
    422: "Not understood",
    429: "Too often",
    503: "Not possible now",
}
_ACCOUNT = "gridmark.page.account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Everything a page is made with."""

    runtime: Runtime
    sessions: Sessions
    files: Mapping[str, assets.Asset]
    templates: Environment
    report_pages: ReportPages

    async def page(
        self, request: Request, template: str, *, here: str = "", status: int = 200, **values: Any
    ) -> Response:
        """A page in its frame; `here` is the place in the menu that it belongs to."""
        account: Account | None = request.scope.get(_ACCOUNT)
        csrf = self.sessions.mark(request.cookies.get(COOKIE, "")) if account else ""
        chrome = render.Chrome(account=account, csrf=csrf, here=here, places=render.menu(account))
        return await self.runtime.read(render.page, self.templates, template, chrome, status, values)

    async def problem(self, request: Request, problem: ProblemError) -> Response:
        """An error as a page; a stranger where somebody must be known is sent to the login."""
        status = problems.KINDS[problem.slug][0]
        if problem.slug == "unauthenticated" and request.method == "GET":
            return to(f"/login?next={quote(request.url.path, safe='/')}")
        title = TITLES.get(status, "It did not work")
        answer = await self.page(
            request, "error.html", status=status, code=status, title=title, text=_sentence(problem)
        )
        answer.headers.update({name: value for name, value in problem.headers.items() if name != "WWW-Authenticate"})
        return answer

    async def form(self, request: Request) -> Mapping[str, str]:
        """The fields of a form that our own page sent to whoever is logged in.

        Raises:
            ProblemError: it came from elsewhere, from an older session, or is no form.
        """
        fields = await read_form(request)
        if not self.sessions.is_marked(request.cookies.get(COOKIE, ""), fields.get("csrf", "")):
            raise ProblemError("forbidden", "the form is out of date: go back, load the page anew and try again")
        return fields

    def known(self, request: Request) -> Request:
        """The request as the API would get it: with the token of its session instead of its cookie.

        So a page asks for its caller as a route of the API does, and one rule says what he may see. Whose session has
        ended is a stranger.
        """
        headers = [pair for pair in request.scope["headers"] if pair[0] != b"authorization"]
        scope = {**request.scope, "headers": headers, _ACCOUNT: None}
        token = self.sessions.token(request.cookies.get(COOKIE, ""))
        if token is not None:
            try:
                scope[_ACCOUNT] = self.runtime.directory.whose(token)
            except ProblemError:  # revoked
                return Request(scope, request.receive)
            headers.append((b"authorization", f"Bearer {token}".encode("ascii")))
        return Request(scope, request.receive)


def to(address: str) -> Response:
    """Send a browser on, to be asked for with GET."""
    return RedirectResponse(address, HTTPStatus.SEE_OTHER, headers=dict(render.HEADERS))


async def read_form(request: Request) -> Mapping[str, str]:
    """The fields of a form, each once.

    Raises:
        ProblemError: it came from another site, is too large, or is no form.
    """
    _check_origin(request)
    bodies.expect_type(request, FORM)
    body = await bodies.read(request, FORM_BYTES)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS, errors="strict")
    except ValueError as error:  # UnicodeDecodeError is one too
        raise ProblemError("bad-request", "the form could not be read") from error
    return dict(pairs)


def _check_origin(request: Request) -> None:
    """Refuse a form that a page of another site sent; a browser says where it comes from (Fetch, "Origin" header).

    Raises:
        ProblemError: it did.
    """
    origin = request.headers.get("origin")
    foreign = origin is not None and origin.partition("://")[2] != request.headers.get("host", "")
    if foreign or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise ProblemError("forbidden", "the form came from another site")


def page_route(site: Site) -> type[APIRoute]:
    """Routes whose errors are pages."""

    class PageRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def shown(request: Request) -> Response:
                request = site.known(request)
                try:
                    return await handler(request)
                except ProblemError as error:
                    return await site.problem(request, error)
                except Refused as error:
                    return await site.problem(request, problems.of_refusal(error))
                except (RequestValidationError, HTTPException) as error:
                    return await site.problem(request, _of_framework(error))

            return shown

    return PageRoute


def _of_framework(error: RequestValidationError | HTTPException) -> ProblemError:
    """A number that is none in a path is a page that is not there."""
    if isinstance(error, RequestValidationError) and any(one["loc"][0] != "path" for one in error.errors()):
        return ProblemError("invalid", "the address asks for something that is not possible")
    return ProblemError("not-found", "there is no such page")


def _sentence(problem: ProblemError) -> str:
    text = problem.text[:1].upper() + problem.text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
