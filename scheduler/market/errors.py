"""What is wrong with a query, where, and what was probably meant."""

from __future__ import annotations


class QueryError(ValueError):
    """A query that cannot be answered: one sentence, the place, and what was probably meant."""

    def __init__(self, message: str, *, position: int, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position  #: characters before the place, from 0
        self.suggestion = suggestion

    def __str__(self) -> str:
        """The sentence with its suggestion and the place, counted from 1 as editors do."""
        hint = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        return f"{self.message} (character {self.position + 1}){hint}"
