"""The page: what the API says, for people; rendered here, with a style sheet and one script of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import APIRouter

    from server.runtime import Runtime


def router(runtime: Runtime) -> APIRouter:
    """The pages over an open market; to be included after every other route."""
    from server.web import pages

    return pages.router(runtime)
