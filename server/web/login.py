"""Logging in with a token, and out."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from server.problems import ProblemError
from server.web.session import COOKIE, FORM_COOKIE, LIFETIME_MS
from server.web.site import Site, read_form, to

HOME = "/jobs"


def routes(site: Site, router: APIRouter) -> None:
    """Serve /login and /logout."""

    @router.get("/login")
    async def login(request: Request, next: str = HOME) -> Response:  # noqa: A002 - the name in the address
        return await _form(site, request, local(next), "")

    @router.post("/login")
    async def log_in(request: Request, fields: Annotated[Mapping[str, str], Depends(read_form)]) -> Response:
        wanted = local(fields.get("next", HOME))
        bound = request.cookies.get(FORM_COOKIE, "")
        if not bound or not site.sessions.is_marked(bound, fields.get("csrf", "")):
            return await _form(site, request, wanted, "The form was out of date; try again. Cookies must be allowed.")
        token = fields.get("token", "").strip()
        try:
            site.runtime.directory.whose(token)
        except ProblemError:
            return await _form(site, request, wanted, "This token is no account's, or it was revoked.")
        answer = to(wanted)
        _set(request, answer, COOKIE, site.sessions.open(token), LIFETIME_MS // 1000)
        answer.delete_cookie(FORM_COOKIE, path="/login", httponly=True, samesite="strict")
        return answer

    @router.post("/logout")
    async def log_out(request: Request) -> Response:
        await site.form(request)
        site.sessions.close(request.cookies.get(COOKIE, ""))
        answer = to("/")
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return answer


def local(address: str) -> str:
    """`address` when it is a place on this server, the first page otherwise: a link must not lead elsewhere."""
    safe = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if safe and "\\" not in address else HOME


async def _form(site: Site, request: Request, wanted: str, error: str) -> Response:
    bound = request.cookies.get(FORM_COOKIE) or site.sessions.fresh()
    answer = await site.page(
        request, "login.html", status=HTTPStatus.UNAUTHORIZED if error else HTTPStatus.OK, error=error, next=wanted,
        form_csrf=site.sessions.mark(bound), hours=LIFETIME_MS // 3_600_000,
    )  # fmt: skip
    _set(request, answer, FORM_COOKIE, bound, 3600, path="/login")
    return answer


def _set(request: Request, answer: Response, name: str, value: str, age_s: int, path: str = "/") -> None:
    secure = request.url.scheme == "https"
    answer.set_cookie(name, value, max_age=age_s, path=path, secure=secure, httponly=True, samesite="strict")
