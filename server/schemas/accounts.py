"""What an operator sends to let somebody in."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from server.schemas.base import Document, Name, example
from server.schemas.views import RoleName


class AccountDocument(Document):
    """A new account."""

    model_config = Document.model_config | example(name="alice", role="renter")

    name: Name
    role: RoleName


class TermsDocument(Document):
    """What an account may take; what is left out is as the server has it for everybody."""

    model_config = Document.model_config | example(weight=2, max_jobs=1000, max_gpus=8, max_cpus=64)

    weight: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)] = Field(
        description="of its turn, where jobs of several accounts wait; 1 is usual"
    )
    max_jobs: int | None = Field(default=None, ge=0, le=10**9, description="not yet ended")
    max_gpus: Annotated[float, Field(ge=0, le=10**6, allow_inf_nan=False)] | None = Field(
        default=None, description="held at once"
    )
    max_cpus: Annotated[float, Field(ge=0, le=10**6, allow_inf_nan=False)] | None = Field(
        default=None, description="held at once"
    )
