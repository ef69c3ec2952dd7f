"""One server for all tests of the pages; each that changes something makes what it changes itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.web.market import Market, served


@pytest.fixture(scope="session")
def shared_market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """The served market."""
    with served(tmp_path_factory.mktemp("market")) as found:
        yield found


@pytest.fixture
def market(shared_market: Market) -> Iterator[Market]:
    """The served market; its clients are closed after each test."""
    yield shared_market
    while shared_market.clients:
        shared_market.clients.pop().close()
