"""Templates to answers: one environment, one frame around every page, one set of headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from reports import units
from scheduler.records import Account
from server.web import assets, words

#: nothing inline, nothing from elsewhere, nobody frames it, no form leads away
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: a report's page carries its own style sheet and drawings, and no script; it is cut off from our cookies besides
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox allow-top-navigation-by-user-activation allow-popups"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chrome:
    """What surrounds every page."""

    account: Account | None
    csrf: str
    here: str  #: the address in the menu that the page belongs to
    places: tuple[tuple[str, str], ...]


def menu(account: Account | None) -> tuple[tuple[str, str], ...]:
    """Where somebody may want to go; what they may see there is decided where it is fetched."""
    role = account.role if account else None
    places = [("/", "Offers"), ("/jobs", "Jobs")]
    if role in ("supplier", "operator"):
        places.append(("/supply", "Supply"))
    if role == "operator":
        places.append(("/operator", "Operator"))
    return tuple(places)


def environment(files: Mapping[str, assets.Asset]) -> Environment:
    """The templates, with the words that they use."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["asset"] = lambda name: assets.address(files, name)
    filters: dict[str, Callable[..., Any]] = {
        "plain": units.plain,
        "figure": units.figure,
        "percent": units.percent,
        "size": units.size,
        "duration": units.duration,
        "moment": words.moment,
        "money": words.money,
        "count": words.count,
        "unit_words": words.unit,
        "prose": words.prose,
    }
    made.filters.update(filters)
    return made


def page(made: Environment, template: str, chrome: Chrome, status: int, values: Mapping[str, Any]) -> HTMLResponse:
    """A whole page."""
    text = made.get_template(template).render(chrome=chrome, **values)
    return HTMLResponse(text, status_code=status, headers=dict(HEADERS))
