"""The style sheet: contrast that can be read in both schemes, and nothing fetched from elsewhere."""

from __future__ import annotations

import re

import pytest

from server.web import assets

CSS = assets.load()["gridmark.css"].content.decode()
#: foreground on background that occurs, and the least contrast (WCAG 2.2: 1.4.3 for text, 1.4.11 for edges and focus)
PAIRS = [
    *((ink, paper, 4.5) for ink in ("ink", "muted", "accent", "good", "bad", "warn") for paper in ("paper", "panel")),
    ("paper", "accent", 4.5),
    ("edge", "panel", 3.0),
    ("edge", "paper", 3.0),
]


def palettes() -> dict[str, dict[str, str]]:
    """Custom properties by scheme: the first :root is light, the second dark."""
    found = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    ]
    return dict(zip(("light", "dark"), found, strict=True))


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2, "relative luminance")."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_ratio_is_that_of_the_standard() -> None:
    """Black on white is 21, a colour on itself 1."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#123456", "#123456") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "paper", "least"), PAIRS)
def test_what_is_written_can_be_read(scheme: str, ink: str, paper: str, least: float) -> None:
    """Text of every tone on both grounds, the button's too; edges of fields stand out."""
    palette = palettes()[scheme]

    assert contrast(palette[ink], palette[paper]) >= least


def test_nothing_comes_from_elsewhere() -> None:
    """No import, no font, no picture: neither in the style sheet nor in the script or the icon."""
    for name, asset in assets.load().items():
        text = asset.content.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|@import|url\(", text), name


def test_the_focus_is_always_visible() -> None:
    """No rule takes the outline away."""
    assert ":focus-visible" in CSS
    assert not re.search(r"outline:\s*(0|none)", CSS)


def test_an_address_changes_with_the_file() -> None:
    """What may be kept for a year has its digest in its address."""
    files = assets.load()

    assert assets.address(files, "gridmark.css") == f"/static/gridmark.css?v={files['gridmark.css'].version}"
    assert len({asset.version for asset in files.values()}) == len(files) == 3
