"""One server for all tests of the pages; each that changes something makes what it changes itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.web.market import Market, served


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """The served market."""
    with served(tmp_path_factory.mktemp("market")) as found:
        yield found
