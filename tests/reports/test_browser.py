"""The page in a real browser: it renders, asks for nothing, and shows what it should."""

from __future__ import annotations

import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from reports import page
from tests import builders

pytestmark = pytest.mark.real

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
)


@pytest.fixture(scope="module")
def requested() -> list[str]:
    """The paths that the browser asked the server for."""
    return []


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, requested: list[str]) -> Iterator[str]:
    """A server on loopback with the pages of a faulty and a healthy node."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "faulty.html").write_text(page.page(builders.faulty()), encoding="utf-8")
    (folder / "healthy.html").write_text(page.page(builders.healthy()), encoding="utf-8")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, template: str, *values: object) -> None:
            requested.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def browse(*arguments: str, profile: Path) -> str:
    """What the browser printed; skips where there is no browser."""
    if BROWSER is None:
        pytest.skip("no chromium on PATH; apt-get install chromium")
    command = [BROWSER, *QUIET, f"--user-data-dir={profile}", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


def test_the_page_needs_nothing_but_itself(address: str, requested: list[str], tmp_path: Path) -> None:
    """One request for the page and none after it; the document holds verdict, figures and drawings."""
    document = browse("--dump-dom", f"{address}/faulty.html", profile=tmp_path)

    assert requested == ["/faulty.html"]
    body = document[document.index("<body") :]
    text = " ".join(re.sub(r"<[^>]+>", " ", body).split())
    assert text.index("Not qualified") < 40
    for one in builders.faulty().measurements:
        assert one.key in text
    for finding in builders.faulty().findings:
        assert finding.code in text
    assert body.count("<svg") > 40


@pytest.mark.parametrize(("width", "name"), [(1280, "desktop"), (500, "phone")])
@pytest.mark.parametrize(("scheme", "is_dark"), [("0", True), ("1", False)], ids=["dark", "light"])
def test_it_follows_the_readers_colour_scheme(
    address: str, tmp_path: Path, width: int, name: str, scheme: str, is_dark: bool
) -> None:
    """The page's own background is dark for who prefers dark, at the width of a phone and of a desk."""
    picture = tmp_path / f"{name}.png"
    browse(
        f"--blink-settings=preferredColorScheme={scheme}",
        f"--screenshot={picture}",
        f"--window-size={width},1200",
        f"{address}/healthy.html",
        profile=tmp_path / "profile",
    )

    from matplotlib.image import imread

    pixels = imread(picture)
    corner = float(pixels[5, 5, :3].mean())
    assert pixels.shape[1] == width
    assert corner < 0.2 if is_dark else corner > 0.9
    assert float(pixels[:, :, :3].std()) > 0.02


def test_nothing_is_wider_than_a_phone(address: str, tmp_path: Path) -> None:
    """A page that scrolls sideways hides its figures: printed at a phone's width, every line of the body fits."""
    measured = tmp_path / "probe.html"
    inner = page.page(builders.faulty()).replace(
        "default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';"
    )
    probe = "<script>document.title = 'wide ' + (document.documentElement.scrollWidth - innerWidth)</script></body>"
    measured.write_text(inner.replace("</body>", probe), encoding="utf-8")

    document = browse("--window-size=500,1200", "--dump-dom", measured.as_uri(), profile=tmp_path / "profile")

    found = re.search(r"<title>wide (-?\d+)</title>", document)
    assert found is not None
    assert int(found[1]) <= 0
