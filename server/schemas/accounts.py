"""What an operator sends to let somebody in."""

from __future__ import annotations

from server.schemas.base import Document, Name, example
from server.schemas.views import RoleName


class AccountDocument(Document):
    """A new account."""

    model_config = Document.model_config | example(name="alice", role="renter")

    name: Name
    role: RoleName
