"""What an operator has to know now."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from server.schemas.base import View, example


class AlarmView(View):
    """Something that somebody has to look at."""

    model_config = View.model_config | example(
        kind="disk", text="1500 MiB are left on the disk of /srv/gridmark", since_ms=1_767_225_600_000
    )

    kind: Literal["outage", "integrity", "log", "disk"]
    text: str = Field(description="what is the matter, and what to look at")
    since_ms: int


class AlarmPage(View):
    """All that are on, the oldest first."""

    model_config = View.model_config | example(items=[])

    items: list[AlarmView]
