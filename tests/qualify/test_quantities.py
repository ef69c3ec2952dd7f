"""What people type, with units."""

from __future__ import annotations

import pytest

from qualify import quantities
from qualify.records import Claim


@pytest.mark.parametrize(
    ("text", "seconds"), [("45", 45), ("90s", 90), ("5m", 300), (" 1.5 h ", 5400), ("7d", 604800), ("2min", 120)]
)
def test_durations(text: str, seconds: float) -> None:
    """Seconds, whatever the unit typed."""
    assert quantities.duration_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("64GiB", 64 << 30), ("80 GB", 80 * 10**9), ("1000", 1000), ("1.5KiB", 1536), ("2TB", 2 * 10**12)],
)
def test_sizes_tell_binary_from_decimal(text: str, size: int) -> None:
    """GiB and GB are not the same."""
    assert quantities.size_bytes(text) == size


def test_rates_may_be_bits_or_bytes() -> None:
    """100 Mbit/s are 12.5 MB/s."""
    assert quantities.rate_bytes_per_s("100 Mbit/s") == quantities.rate_bytes_per_s("12.5MB/s") == 12.5e6


@pytest.mark.parametrize("text", ["", "fast", "-5s", "5 weeks", "1e3", "５", "5s5", "nan", "inf", "9" * 400])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The message names the units."""
    with pytest.raises(quantities.QuantityError):
        quantities.duration_s(text)


def test_a_claim_is_read_word_by_word() -> None:
    """Only what was said is claimed."""
    found = quantities.claim(("cores=8", "memory=64GiB", "gpu=H100 SXM", "gpus=8", "down=1Gbit/s"))

    assert found == Claim(cores=8, memory_bytes=64 << 30, gpu="H100 SXM", gpus=8, down_bytes_per_s=125e6)
    assert quantities.claim(()) is None


@pytest.mark.parametrize(
    "items", [("cores",), ("colour=red",), ("cores=8", "cores=9"), ("cores=-1",), ("memory=lots",)]
)
def test_a_claim_that_cannot_be_read_is_refused(items: tuple[str, ...]) -> None:
    """Nothing is guessed."""
    with pytest.raises(quantities.QuantityError):
        quantities.claim(items)
