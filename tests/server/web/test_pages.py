"""The pages over a real server: what each shows, to whom, and what it does with hostile input."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from itertools import pairwise

import httpx
import pytest

from scheduler.records import Resources
from server import auth
from server.web.session import COOKIE, FORM_COOKIE
from tests.server.web.market import Market, gpu_node, mark_in

PUBLIC = ("/", "/?q=price+<+1", "/nodes/1", "/nodes/8", "/login", "/nowhere")
HOSTILE = '"><script>alert(1)</script>{{7*7}}\u202e'


class Outline(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def text_of(answer: httpx.Response) -> str:
    """A page's text without its tags, spaces as one."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", answer.text)))


@pytest.mark.parametrize("path", PUBLIC)
def test_a_stranger_sees_the_market_and_nobody_behind_it(market: Market, path: str) -> None:
    """Offers need no login; neither do they name suppliers, keys or machines."""
    answer = market.client().get(path)

    assert answer.status_code == (404 if path == "/nowhere" else 200)
    assert "sue" not in answer.text
    assert "machine-1" not in answer.text
    assert "0" * 63 not in answer.text


@pytest.mark.parametrize("path", [*PUBLIC, "/static/gridmark.css", "/static/live.js"])
def test_every_answer_forbids_what_the_pages_do_not_need(market: Market, path: str) -> None:
    """Scripts and styles are files of ours; nothing is inline, framed, sniffed or sent elsewhere."""
    answer = market.client().get(path)

    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
    assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("path", [*PUBLIC, "/docs", "/jobs", "/jobs/1", "/jobs/4", "/supply", "/operator", "/nodes/5"])
def test_a_page_is_well_built(market: Market, path: str) -> None:
    """One first heading, no level left out, a label for every field, headers for every column, nothing inline."""
    who = "ada" if path.startswith("/jobs") else "opa"
    page = Outline(market.client(who).get(path).text)

    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    labelled = {label["for"] for label in page.of("label")}
    assert all(field.get("type") == "hidden" or field["id"] in labelled for field in page.of("input"))
    assert all(head.get("scope") for head in page.of("th"))
    assert len(page.of("main")) == len(page.of("title")) == 1
    assert not [attributes for _, attributes in page.tags if {"style", "onclick", "onload"} & set(attributes)]
    assert all(script.get("src", "").startswith("/static/") for script in page.of("script"))  # type: ignore[union-attr]
    assert not page.of("style")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = " ".join(str(a.get(n, "")) for _, a in page.tags for n in ("aria-labelledby", "aria-describedby"))
    assert set(named.split()) <= set(ids)


def test_offers_come_with_intervals_and_ages(market: Market) -> None:
    """779 ± 7.79 TFLOP/s is ±1.0 %, measured three hours ago; the cheapest comes first."""
    answer = market.client().get("/")

    text = text_of(answer)
    assert "779 TFLOP/s ±1.0 % · 3 h" in text
    assert text.index("here") < text.index("fjord-01") < text.index("fjord-02")
    assert "fjord-04" not in text  # offline
    assert 'aria-sort="ascending"' in answer.text


def test_a_query_shows_the_figures_it_names(market: Market) -> None:
    """A column per figure that was asked for."""
    text = text_of(market.client().get("/", params={"q": "memlatency.dram < 200 ns and matmul.fp32 > 1 TFLOP/s"}))

    assert "98.2 ns" in text
    assert "48.0 TFLOP/s" in text


def test_a_wrong_query_is_shown_with_its_place_and_a_remedy(market: Market) -> None:
    """The field is marked, its place counted from one, and the mended query one click away."""
    answer = market.client().get("/", params={"q": "count >= 1 and prise < 3 $/h", "sort": "-price"})

    assert answer.status_code == 200
    assert "count &gt;= 1 and <mark>prise</mark> &lt; 3 $/h" in answer.text
    assert "At character 16." in answer.text
    link = re.search(r'Did you mean <a href="([^"]+)"><code>(.*?)</code>', answer.text)
    assert link is not None
    assert html.unescape(link[2]) == "count >= 1 and price < 3 $/h"
    assert "fjord-01" not in market.client().get(html.unescape(link[1])).text.split("<table")[0]
    assert 'aria-invalid="true"' in answer.text


def test_a_query_that_finds_nothing_names_the_smallest_way_out(market: Market) -> None:
    """The cheapest of the large nodes costs 16.10 $/h; the link finds it."""
    answer = market.client().get("/", params={"q": "price < 0.1 $/h and count >= 8"})

    assert "No node matches." in answer.text
    link = re.search(r'<ul><li><a href="([^"]+)">([^<]+)</a>', answer.text)
    assert link is not None
    assert re.match(r"1 node with price < 16\.[1-2]\d* \$/h instead of price < 0.1 \$/h", html.unescape(link[2]))
    found = text_of(market.client().get(html.unescape(link[1])))
    assert "1 node" in found
    assert "fjord-01" in found


def test_an_order_that_is_none_is_said(market: Market) -> None:
    """The query was right, so nothing in it is marked."""
    answer = market.client().get("/", params={"q": "count >= 1", "sort": "nonsense"})

    assert "The order cannot be read." in answer.text
    assert "<mark>" not in answer.text


def test_a_cursor_of_another_query_leads_to_the_first_page(market: Market) -> None:
    """Somebody changed the address by hand."""
    answer = market.client().get("/", params={"q": "count >= 1", "cursor": "bm9uZQ"})

    assert answer.status_code == 303
    assert answer.headers["location"] == "/?q=count+%3E%3D+1"


@pytest.mark.parametrize("text", [HOSTILE, "a" * 3000, "(" * 200, "\x00", "café ~ '", "p05(" * 60])
def test_a_hostile_query_stays_text(market: Market, text: str) -> None:
    """Whatever is typed comes back as text, or not at all."""
    answer = market.client().get("/", params={"q": text})

    assert answer.status_code in (200, 422)
    assert "<script>alert" not in answer.text
    assert "{{49}}" not in answer.text


def test_what_a_node_calls_itself_stays_text(market: Market) -> None:
    """Its owner chooses the name, its report the model and the reasons."""
    number = max(market.runtime.book.nodes) + 1
    market.add(gpu_node(number, HOSTILE, 3, model=HOSTILE, why=HOSTILE, region=HOSTILE, price_uh=10**9))

    for path in (f"/nodes/{number}", "/?q=price+>+500+$/h"):
        answer = market.client().get(path)
        assert answer.status_code == 200
        assert "<script>" not in answer.text
        assert "\u202e" not in answer.text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}}�" in answer.text


def test_a_node_is_shown_with_its_figures_and_their_course(market: Market) -> None:
    """Value, interval with its ends, number of samples; ten measurements fell by 3.6 %."""
    text = text_of(market.client().get("/nodes/1"))

    assert "matmul.bf16 779 TFLOP/s ±1.0 % 771 TFLOP/s to 787 TFLOP/s 40 3 h" in text
    assert "−3.6 % since 2026-07-23, 10 measurements" in text
    assert "measured" not in text_of(market.client().get("/nodes/8")).split("Figures")[0].lower().replace(
        "measured never", ""
    )


def test_findings_and_the_report_are_for_the_nodes_owner(market: Market) -> None:
    """As the API gives reports to nobody else; another supplier gets no more than a stranger."""
    remedy = "Reset the GPU; if they come back, have the board replaced."

    assert remedy in market.client("sue").get("/nodes/3").text
    assert remedy in market.client("opa").get("/nodes/3").text
    for who in (None, "ada", "sid"):
        assert remedy not in market.client(who).get("/nodes/3").text
    assert market.client("sid").get("/nodes/5/report").status_code == 404
    assert market.client("ada").get("/nodes/5/report").status_code == 403
    assert market.client().get("/nodes/5/report").headers["location"] == "/login?next=/nodes/5/report"


def test_the_whole_report_runs_nothing(market: Market) -> None:
    """It is a stranger's document: its own policy has no script and cuts it off from our origin."""
    answer = market.client("sue").get("/nodes/5/report")

    assert answer.status_code == 200
    assert "The int8 product is wrong" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "sandbox" in policy
    assert "allow-same-origin" not in policy
    assert "allow-scripts" not in policy


@pytest.mark.parametrize("path", ["/jobs", "/jobs/1", "/jobs/1/logs", "/jobs/1/logs/out", "/supply", "/operator"])
def test_a_stranger_is_led_to_the_login_and_back(market: Market, path: str) -> None:
    """With the page he wanted."""
    answer = market.client().get(path)

    assert answer.status_code == 303
    assert answer.headers["location"] == f"/login?next={path}"


@pytest.mark.parametrize(
    "path", ["/jobs/3", "/jobs/3/logs", "/jobs/3/logs/out", "/jobs/3/artifacts/x", "/jobs/999", "/jobs/x"]
)
def test_another_renters_job_does_not_exist(market: Market, path: str) -> None:
    """Neither by its page, its output or its files; nothing of it is told."""
    answer = market.client("ada").get(path)

    assert answer.status_code == 404
    assert "secret-plan" not in answer.text
    assert "bob" not in answer.text
    assert "Not found" in answer.text


def test_an_operator_sees_every_job_and_no_output_of_others(market: Market) -> None:
    """What it prints and leaves behind is its owner's, as with the API."""
    operator = market.client("opa")

    assert "secret-plan" in operator.get("/jobs").text
    assert "for its owner alone" in operator.get("/jobs/4").text
    assert "all done" not in operator.get("/jobs/4").text
    assert operator.get("/jobs/4/logs/out").status_code == 404


@pytest.mark.parametrize(("who", "path"), [("ada", "/supply"), ("ada", "/operator"), ("sue", "/operator")])
def test_a_page_of_another_role_is_refused(market: Market, who: str, path: str) -> None:
    """The menu does not offer it, and the address does not help."""
    client = market.client(who)

    assert client.get(path).status_code == 403
    assert f'href="{path}"' not in client.get("/").text


def test_a_job_says_why_it_is_where_it_is(market: Market) -> None:
    """Placed: what it was ranked by, who came second, what ruled the others out. Waiting: what stops it."""
    placed, waiting = (text_of(market.client("ada").get(f"/jobs/{job}")) for job in (1, 2))

    assert "running on fjord-01" in placed
    assert "Runner up fjord-02" in placed
    assert "cannot be reached: 1" in placed
    assert "none of" in waiting
    assert "too few GPUs" in waiting


def test_what_a_job_left_behind_can_be_fetched(market: Market) -> None:
    """As a file, never as a page."""
    client = market.client("ada")
    page = client.get("/jobs/4")

    assert "7 B" in page.text
    for path, content in (("/jobs/4/artifacts/out/model.bin", "weights"), ("/jobs/4/logs/out", "all done\n")):
        assert f'href="{path}"' in page.text
        answer = client.get(path)
        assert answer.text == content
        assert answer.headers["content-disposition"].startswith("attachment")
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_output_is_shown_without_a_script(market: Market) -> None:
    """The page has what was written so far, as text, and how to get more."""
    job = market.submit("ada", name="loud", resources=Resources(cpu_milli=100), region="home").id
    market.tell(job, "running")
    market.write(job, "out", b"<b>bold</b>\x1b[31mred\x1b[0m \xe2\x80\xae10 %\r20 %\n\xc3")
    client = market.client("ada")

    page = client.get(f"/jobs/{job}").text

    assert "&lt;b&gt;" not in page  # written over by what came after the carriage return
    assert "20 %\n</pre>" in page
    assert f'<a href="/jobs/{job}">Load the page anew</a>' in page
    written = len(b"<b>bold</b>\x1b[31mred\x1b[0m \xe2\x80\xae10 %\r20 %\n")
    assert f'data-stream="out" data-offset="{written}"' in page  # half a letter is left to whoever follows


def test_a_job_is_cancelled_by_its_owners_form_alone(market: Market) -> None:
    """Not without the mark, not with another session's, not from another site, not by another renter."""
    job = market.submit("ada", name="short", resources=Resources(gpus=16)).id
    ada, bob = market.client("ada"), market.client("bob")
    path = f"/jobs/{job}/cancel"
    mark, other = mark_in(ada.get(f"/jobs/{job}").text), mark_in(bob.get("/jobs").text)

    assert ada.post(path).status_code == 415
    assert ada.post(path, data={"csrf": ""}).status_code == 403
    assert ada.post(path, data={"csrf": other}).status_code == 403
    assert ada.post(path, data={"csrf": mark}, headers={"Origin": "https://evil.example"}).status_code == 403
    assert ada.post(path, data={"csrf": mark}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert bob.post(path, data={"csrf": other}).status_code == 404
    assert market.client().post(path, data={"csrf": mark}).status_code in (401, 403)
    assert not market.job(job).cancelled
    assert ada.post(path, data={"csrf": mark}, headers={"Origin": market.address}).status_code == 303
    assert market.job(job).reason == "cancelled by account 1"


def test_a_form_that_is_too_large_is_not_read(market: Market) -> None:
    """Sixteen KiB are enough for any."""
    client = market.client("ada")

    assert client.post("/logout", data={"csrf": "a" * 20_000}).status_code == 413
    assert client.post("/logout", data={str(n): "" for n in range(100)}).status_code == 400


def test_the_cookie_is_out_of_reach(market: Market) -> None:
    """No script reads it, no other site sends it; it is not the token."""
    client = market.client()
    answer = client.post("/login", data={"token": market.tokens["ada"], "csrf": mark_in(client.get("/login").text)})

    cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith(COOKIE))
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip().lower() for part in cookie.split(";")}
    assert market.tokens["ada"] not in cookie
    assert answer.headers["location"] == "/jobs"


def test_a_wrong_token_opens_nothing(market: Market) -> None:
    """It is said, and not repeated."""
    client = market.client()
    answer = client.post("/login", data={"token": "gm_wrong", "csrf": mark_in(client.get("/login").text)})

    assert answer.status_code == 401
    assert "no account" in answer.text
    assert "gm_wrong" not in answer.text
    assert COOKIE not in client.cookies


def test_the_login_form_has_a_mark_of_its_own(market: Market) -> None:
    """Nobody can log somebody else in under a foreign account from another site."""
    client = market.client()
    mark = mark_in(client.get("/login").text)
    del client.cookies[FORM_COOKIE]

    answer = client.post("/login", data={"token": market.tokens["ada"], "csrf": mark})

    assert "out of date" in answer.text
    assert COOKIE not in client.cookies


@pytest.mark.parametrize("wanted", ["https://e.example", "//e.example", "/\\e.example", "javascript:1", "\n/x"])
def test_the_login_leads_to_a_page_of_this_server(market: Market, wanted: str) -> None:
    """A link that somebody was sent does not lead away."""
    client = market.client()
    mark = mark_in(client.get("/login", params={"next": wanted}).text)

    answer = client.post("/login", data={"token": market.tokens["ada"], "csrf": mark, "next": wanted})

    assert answer.headers["location"] == "/jobs"


def test_logging_out_ends_the_session(market: Market) -> None:
    """The cookie is worth nothing afterwards, kept or not."""
    client = market.client("ada", fresh=True)
    cookie = client.cookies[COOKIE]

    client.post("/logout", data={"csrf": mark_in(client.get("/jobs").text)})

    client.cookies.set(COOKIE, cookie)
    assert client.get("/jobs").status_code == 303


def test_a_revoked_account_is_out_at_once(market: Market) -> None:
    """The session asks anew at every page whose its token is; what is public stays visible."""
    token = "gm_" + "r" * 43
    account = market.do(lambda c, now: c.create_account("eve", "renter", auth.digest(token), now))
    market.runtime.directory.put(account)
    market.tokens["eve"] = token
    client = market.client("eve")
    assert client.get("/jobs").status_code == 200

    market.runtime.directory.put(market.do(lambda c, now: c.revoke_account(account.id, now)))

    assert client.get("/jobs").status_code == 303
    assert client.get("/").status_code == 200


def test_a_bearer_token_is_no_cookie_and_a_cookie_no_bearer_token(market: Market) -> None:
    """Pages know sessions alone, the API tokens alone: no form of another site can speak to the API."""
    headers = {"Authorization": f"Bearer {market.tokens['ada']}"}

    assert market.client().get("/jobs", headers=headers).status_code == 303
    assert market.client("ada").get("/v1/jobs").status_code == 401


def test_a_supplier_drains_his_own_node_alone(market: Market) -> None:
    """By a form, which leads back to where it was."""
    sue, sid = market.client("sue"), market.client("sid")
    mark = mark_in(sue.get("/nodes/2").text)

    assert sid.post("/nodes/2/drain", data={"csrf": mark_in(sid.get("/supply").text)}).status_code == 404
    assert sue.post("/nodes/2/explode", data={"csrf": mark}).status_code == 404
    answer = sue.post("/nodes/2/drain", data={"csrf": mark, "next": "/supply"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/supply")
    assert market.runtime.book.nodes[2].draining
    sue.post("/nodes/2/undrain", data={"csrf": mark})
    assert not market.runtime.book.nodes[2].draining


def test_supply_says_what_is_wrong_and_what_mending_is_worth(market: Market) -> None:
    """A job of 8 GPUs at up to 99 $/h waits for fjord-03 alone: it would pay the node's whole price, 16.30 $/h."""
    spec = {"resources": Resources(gpus=8), "where": 'name = "fjord-03"', "max_price_uh": 99_000_000}
    job = market.submit("bob", name="waits", **spec).id
    page = market.client("sue").get("/supply")

    text = text_of(page)
    section = text[text.index("fjord-03") : text.index("fjord-04")]
    assert "Reset the GPU" in section
    assert "$16.30/h from 1 waiting job" in section
    assert "$16.15/h is what 2 nodes of the same model and size" in section
    assert "bob" not in page.text
    assert "waits" not in text[text.index("fjord-03") :].split("Worth is")[0].replace("waiting", "")
    market.do(lambda control, now: control.cancel(job, "server", now))


def test_supply_prices_figures_below_what_is_expected(market: Market) -> None:
    """memory.triad at 76 % of what is expected: 16.50 $/h × (1/0.7565 − 1)."""
    text = text_of(market.client("sue").get("/supply"))

    section = text[text.index("fjord-05") :]
    assert re.search(r"up to \$5\.\d\d/h by memory\.triad, which stands at 76 %", section)


def test_an_operator_sees_what_is_due_and_who_did_what(market: Market) -> None:
    """The overdue node first, and events with links."""
    text = market.client("opa").get("/operator").text

    plain = re.sub(r"<[^>]+>", " ", text)
    assert "1 node due to be measured again." in plain
    assert plain.index("fjord-05") < plain.index("fjord-01")
    assert '<a href="/jobs/1">job 1</a>' in market.client("opa").get("/operator").text or "older" in text.lower()


def test_an_operator_sees_alarms_first(market: Market) -> None:
    """Whatever they quote is text; when they are over they are gone."""
    market.runtime.alarms.set("disk", "12 MiB are left on the disk of /<b>data", market.runtime.now().unix_ms)
    page = market.client("opa").get("/operator").text
    market.runtime.alarms.set("disk", None, market.runtime.now().unix_ms)

    assert "12 MiB are left on the disk of /&lt;b&gt;data" in page
    assert page.index('role="alert"') < page.index('id="due"')
    assert 'role="alert"' not in market.client("opa").get("/operator").text


def test_machines_get_problem_documents_still(market: Market) -> None:
    """The page for unknown addresses does not reach into the API."""
    for path, status in (("/v1/nowhere", 404), ("/v1/jobs/1/cancel", 405), ("/v1/jobs", 401)):
        answer = market.client().get(path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
    assert market.client().get("/v1x").headers["content-type"].startswith("text/html")


def test_the_reference_has_every_operation_and_is_ours(market: Market) -> None:
    """What the OpenAPI document has, without a viewer from elsewhere; links inside it lead somewhere."""
    client = market.client()
    answer, document = client.get("/docs"), client.get("/openapi.json").json()

    for path, methods in document["paths"].items():
        assert all(f"<code>{method.upper()} {path}</code>" in answer.text for method in methods)
    page = Outline(answer.text)
    ids = {attributes.get("id") for _, attributes in page.tags}
    anchors = [str(link["href"]) for link in page.of("a") if str(link["href"]).startswith("#")]
    assert len(anchors) > 3
    assert {anchor[1:] for anchor in anchors} <= ids
    assert "matmul.bf16" in answer.text  # an example


def test_a_style_sheet_is_kept_as_long_as_its_address(market: Market) -> None:
    """With the right version for ever, without it never; another file there is not."""
    page = market.client().get("/").text
    address = re.search(r'href="(/static/gridmark\.css\?v=\w+)"', page)

    assert address is not None
    assert "immutable" in market.client().get(address[1]).headers["cache-control"]
    assert market.client().get("/static/gridmark.css").headers["cache-control"] == "no-cache"
    assert market.client().get("/static/..%2fpages.py").status_code == 404
    assert market.client().get("/static/pages.py").status_code == 404


def test_output_is_streamed_as_it_is_written(market: Market) -> None:
    """A line of JSON for each piece, the last of them when the job has ended."""
    job = market.submit("ada", name="stream", resources=Resources(cpu_milli=100), region="home").id
    market.tell(job, "running")
    market.write(job, "out", b"one\n")

    seen = []
    with market.client("ada").stream("GET", f"/jobs/{job}/logs", params={"out": 0, "err": 0}) as answer:
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        lines = answer.iter_lines()
        seen.append(next(lines))
        market.write(job, "err", b"two\n")
        seen.append(next(lines))
        market.tell(job, "exited", exit_code=3)
        seen.append(next(lines))

    assert '"one\\n"' in seen[0]
    assert '"two\\n"' in seen[1]
    assert '"exit_code":3' in seen[2]
