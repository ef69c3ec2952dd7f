"""What the verbs of suppliers, renters and operators have in common."""

from __future__ import annotations

#: HTTP status of a refusal -> exit code; others are 3
EXIT_OF_STATUS = {400: 2, 413: 2, 422: 2, 403: 1, 404: 1, 409: 1}


def node_name(host: str) -> str:
    """A host's name as far as a node's may be such."""
    kept = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in host)
    return kept.lstrip("._-")[:100] or "node"
