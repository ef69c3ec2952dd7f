"""The pages in a real browser: asked, sorted, logged in, followed, by keyboard and on a phone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from scheduler.records import Resources
from tests.server.web.market import Market, fill, gpu_node, served

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
from selenium.common.exceptions import (  # noqa: E402 - only where selenium is there
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.real
T = TypeVar("T")

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
#: nothing but what the test asks for: no updates, no telemetry, no other protocol
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--no-first-run",
    "--disable-dev-shm-usage",
)  # fmt: skip
PATIENCE_S = 15.0
#: how the driver says that the page changed while an element of it was read, beside its own error for that
GONE = "does not belong to the document"
PHONE = 390
#: text on the screen that is narrower than what it holds, except where it may scroll
TOO_WIDE = """
return [...document.querySelectorAll("body *")].filter((one) => {
  const box = one.getBoundingClientRect();
  return box.width && box.right > document.documentElement.clientWidth + 1 && !one.closest(".log, .skip, .unseen");
}).map((one) => one.outerHTML.slice(0, 120));
"""


class Browser:
    """A window, and what it did."""

    def __init__(self, driver: Any, market: Market) -> None:
        self.driver = driver
        self.market = market
        self.asked: list[str] = []

    def open(self, path: str) -> None:
        self.driver.get(self.market.address + path)

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return found

    def wait(self, condition: Callable[[], T]) -> T:
        def met(_: Any) -> T:
            try:
                return condition()
            except WebDriverException as error:
                if GONE in str(error.msg):
                    raise StaleElementReferenceException(error.msg) from error
                raise

        found: T = WebDriverWait(self.driver, PATIENCE_S, 0.02, [StaleElementReferenceException]).until(met)
        return found

    def resize(self, width: int) -> None:
        metrics = {"width": width, "height": 850, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def login(self, who: str) -> None:
        self.driver.delete_all_cookies()
        self.open("/login")
        self.find("#token").send_keys(self.market.tokens[who], Keys.ENTER)
        self.wait(lambda: self.find("h1").text == "Jobs")

    @property
    def focused(self) -> Any:
        return self.driver.switch_to.active_element

    def tab(self) -> Any:
        self.focused.send_keys(Keys.TAB)
        return self.focused

    @property
    def complaints(self) -> list[str]:
        """What the console says; a policy that was violated too."""
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    @property
    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "about:", "chrome:"))]


def many(market: Market) -> None:
    """A market of 60 nodes: more than a page of offers."""
    fill(market)
    supplier = market.accounts["sue"].id
    market.add(*(gpu_node(number, f"row-{number}", supplier, price_uh=number * 1_000_000) for number in range(9, 65)))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser and one server for all tests here."""
    if BROWSER is None or DRIVER is None:
        pytest.skip("needs chromium and chromedriver on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with served(tmp_path_factory.mktemp("browser"), many) as market:
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            driver.set_page_load_timeout(20)
            yield Browser(driver, market)
        finally:
            driver.quit()


@pytest.fixture(autouse=True)
def _fresh(browser: Browser) -> Iterator[None]:
    """A window as it was first; a page that complains, or asks another server for anything, fails its test."""
    browser.driver.delete_all_cookies()
    browser.resize(1280)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.driver.get_log("browser")
    _ = browser.requests
    yield
    assert browser.complaints == []
    strangers = [url for url in browser.requests if not url.startswith(f"{browser.market.address}/")]
    assert strangers == []


def names(browser: Browser) -> list[str]:
    return [one.text for one in browser.all("tbody th a")]


def test_a_query_is_typed_and_answered(browser: Browser) -> None:
    """Enter is enough; the query stays where it was typed."""
    browser.open("/")
    browser.find("#q").send_keys('kind = "cpu"', Keys.ENTER)
    browser.wait(lambda: browser.find("#count").text == "1 node")

    assert names(browser) == ["here"]
    assert browser.find("#q").get_attribute("value") == 'kind = "cpu"'


def test_a_mistake_is_marked_and_mended_by_a_click(browser: Browser) -> None:
    """The error is announced, the suggestion is a link."""
    browser.open("/")
    browser.find("#q").send_keys("prise < 20 $/h", Keys.ENTER)
    alert = browser.wait(lambda: browser.find("[role=alert]"))

    assert browser.find("mark").text == "prise"
    assert browser.find("#q").get_attribute("aria-describedby") == alert.get_attribute("id")
    alert.find_element(By.TAG_NAME, "a").click()
    browser.wait(lambda: browser.find("#q").get_attribute("value") == "price < 20 $/h")
    assert "fjord-01" in names(browser)


def test_columns_sort_both_ways(browser: Browser) -> None:
    """Price: the dearest first after a click, the cheapest again after another."""
    browser.open("/?q=count+>=+8")
    assert names(browser)[0] == "row-9"
    for expected in ("row-64", "row-9"):
        browser.find("th[aria-sort] a").click()
        browser.wait(lambda expected=expected: names(browser)[0] == expected)  # type: ignore[misc]


def test_pages_follow_each_other_without_a_gap(browser: Browser) -> None:
    """60 offers: 50 and 10, each once."""
    browser.open("/")
    first = names(browser)
    browser.find("a[rel=next]").send_keys(Keys.ENTER)
    browser.wait(lambda: not browser.all("a[rel=next]"))
    second = names(browser)

    assert len(first) == 50
    assert len(second) == 10
    assert not set(first) & set(second)


def test_logging_in_and_out(browser: Browser) -> None:
    """A token in, a name in the corner, and out again; no script can read the cookie."""
    browser.login("ada")

    assert "ada" in browser.find(".who").text
    assert browser.driver.execute_script("return document.cookie") == ""
    browser.find(".who button").click()
    browser.wait(lambda: browser.find("h1").text == "Offers")
    browser.open("/jobs")
    assert browser.find("h1").text == "Log in"


def test_output_appears_as_it_is_written_and_the_page_tells_the_end(browser: Browser) -> None:
    """Both streams, letters cut in two, a progress bar, and at the end state and files without a reload."""
    market = browser.market
    job = market.submit("ada", name="live", resources=Resources(cpu_milli=100), region="home").id
    market.tell(job, "running")
    market.write(job, "out", b"before\n")
    browser.login("ada")
    browser.open(f"/jobs/{job}")
    out, err = browser.find("[data-stream=out]"), browser.find("[data-stream=err]")
    browser.wait(lambda: browser.find("#live-status").text == "Following.")

    assert out.text == "before"
    assert not browser.find("[data-without-script]").is_displayed()
    market.write(job, "err", "<b>Grü".encode()[:-1])
    market.write(job, "out", b"10 %\r20 %\r")
    browser.wait(lambda: err.text.startswith("<b>Gr") and out.text.endswith("20 %"))
    market.write(job, "err", "ü".encode()[1:] + b"\x1b[31m red\x1b[0m\n")
    market.write(job, "out", b"30 %\nlast\n")
    browser.wait(lambda: err.text == "<b>Grü red" and out.text == "before\n30 %\nlast")
    market.tell(job, "exited", exit_code=0, artifacts=(market.artifact("a.txt", b"a"),))
    browser.wait(lambda: browser.find("#live-status").text == "The job has ended.")
    browser.wait(lambda: browser.find("[data-fresh=state] .state").text == "done")
    assert browser.find("[data-fresh=artifacts] a").text == "a.txt"
    assert not browser.all("[data-fresh=cancel] button")


def test_a_job_is_cancelled_by_its_button(browser: Browser) -> None:
    """One that still waits ends at once."""
    job = browser.market.submit("ada", name="stop", resources=Resources(gpus=64)).id
    browser.login("ada")
    browser.open(f"/jobs/{job}")
    browser.find("button.danger").click()
    browser.wait(lambda: browser.find("[data-fresh=state] .state").text == "cancelled")

    assert browser.market.job(job).cancelled


def test_the_keyboard_is_enough(browser: Browser) -> None:
    """The first stop skips the menu; then brand, menu, login, the field, its button; the focus can be seen."""
    browser.open("/")

    skip = browser.tab()
    assert skip.text == "Skip to the content"
    assert skip.rect["x"] >= 0
    stops = [browser.tab() for _ in range(6)]
    assert [one.text or one.get_attribute("id") for one in stops] == [
        "gridmark",
        "Offers",
        "Jobs",
        "Log in",
        "q",
        "Find",
    ]
    assert browser.focused.value_of_css_property("outline-style") == "solid"
    browser.open("/")
    browser.tab().send_keys(Keys.ENTER)
    assert browser.focused.get_attribute("id") == "main"
    assert browser.tab().get_attribute("id") == "q"


def test_a_log_can_be_scrolled_by_keyboard(browser: Browser) -> None:
    """What scrolls can have the focus, and says what it is."""
    browser.login("ada")
    browser.open("/jobs/4")
    log = browser.find("[data-stream=out]")

    assert log.get_attribute("tabindex") == "0"
    assert log.accessible_name == "Standard output"
    assert log.text == "all done"


@pytest.mark.parametrize(
    "path", ["/", "/?q=prise", "/nodes/1", "/login", "/docs", "/jobs", "/jobs/1", "/supply", "/operator"]
)
def test_nothing_is_wider_than_a_phone(browser: Browser, path: str) -> None:
    """No page scrolls sideways at 390 pixels, and nothing sticks out."""
    if path not in ("/", "/?q=prise", "/login"):
        browser.login("ada" if path.startswith("/jobs") else "opa")
    browser.resize(PHONE)
    browser.open(path)

    assert browser.driver.execute_script("return document.documentElement.scrollWidth") == PHONE
    assert browser.driver.execute_script(TOO_WIDE) == []


def test_tables_stay_tables_on_a_phone(browser: Browser) -> None:
    """A screen reader still finds rows and headers where the eye sees cards."""
    browser.resize(PHONE)
    browser.open("/")

    table = browser.find("table")
    assert table.aria_role == "table"
    assert browser.find("tbody tr").aria_role == "row"
    assert browser.find("tbody th").aria_role == "rowheader"
    assert browser.find("tbody td").aria_role in ("cell", "gridcell")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_readers_scheme(browser: Browser, scheme: str) -> None:
    """Dark ground under light letters where that is preferred."""
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    browser.open("/")

    ground = browser.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(252, 252, 250)" if scheme == "light" else "rgb(19, 20, 22)")


def test_everything_but_following_works_without_scripts(browser: Browser) -> None:
    """Offers, login and a job with its output so far."""
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open("/?q=count+>=+8&sort=-price")
        assert names(browser)[0] == "row-64"
        browser.login("ada")
        browser.open("/jobs/1")
        assert browser.find("[data-without-script] a").is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
