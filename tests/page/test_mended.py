"""One test for each fault that was found in the page, with its story."""

import re
import signal
import time

import pytest
from playwright.sync_api import expect

from test_window import above, address_of

BELOW = "scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight"


def stamp(offset_s):
    """The beginning of a line, so many seconds from now."""
    return time.strftime("[%Y-%m-%d %H:%M:%S]", time.gmtime(time.time() + offset_s))


def hold(page, which):
    """Keeps requests from the server, until the test lets them go: the list of those, and how."""
    held = []
    released = []

    def release():
        released.append(True)
        for route in held:
            route.continue_()

    page.tab.route("**/chat/**", lambda route: held.append(route) if which(route.request) and not released else route.continue_())
    return held, release


def is_post(request):
    return request.method == "POST"


def test_03_a_hidden_tab_counts_more_than_it_loads(server, open_page):
    """More than 128 KiB at once is opened anew, and nothing of it was counted."""
    server.fill("general", 10)
    page = open_page("general", "mira")
    page.live()
    page.look(False)
    server.append("general", "".join(f"[2018-03-25 14:00:51] omri: {number} {'x' * 10_000}\n" for number in range(20)))
    expect(page.tab).to_have_title("(20) general · catchat")
    page.look(True)
    expect(page.tab).to_have_title("general · catchat")


def test_02_where_one_left_off_is_found_however_much_is_new(server, browser, open_page):
    """With more new lines than are loaded there was no mark, and no way to it."""
    context = browser()
    server.fill("general", 50)
    page = open_page("general", "mira", context=context)
    expect(page.lines).to_have_count(50)
    page.live()
    page.tab.goto("about:blank")
    server.fill("general", 600, first=51)
    page.tab.goto(server.room_url("general"))
    back = page.tab.get_by_role("button", name="New since you left")
    back.click()
    expect(page.tab.locator(".new .text")).to_have_text("line 51")
    expect(page.tab.locator(".new")).to_be_in_viewport()
    page.tab.get_by_role("button", name="Newest").click()
    expect(page.texts.last).to_have_text("line 650")
    expect(back).to_be_hidden()


def test_02_all_is_new_in_a_room_that_was_empty(server, browser, open_page):
    """The cursor of an empty log was taken for one of another log."""
    context = browser()
    page = open_page(context=context)
    page.live()
    page.tab.goto("about:blank")
    server.fill("general", 3)
    page.tab.goto(server.room_url("general"))
    expect(page.tab.locator(".new .text")).to_have_text("line 1")


def test_02_the_first_new_line_tells_its_author(server, browser, open_page):
    """Under the mark stood a line without a name, when its author had written the one above it."""
    context = browser()
    server.append("general", f"{stamp(-50)} omri: one\n")
    page = open_page("general", "mira", context=context)
    expect(page.lines).to_have_count(1)
    page.live()
    page.tab.goto("about:blank")
    server.append("general", f"{stamp(-40)} omri: two\n{stamp(-30)} omri: three\n")
    page.tab.goto(server.room_url("general"))
    expect(page.lines).to_have_count(3)
    grouped = page.lines.evaluate_all("lines => lines.map((line) => line.classList.contains('more'))")
    assert grouped == [False, False, True]
    assert "New since you left" in above(page, 1)


def test_01_offline_the_reader_is_left_where_they_are(server, open_page):
    """Every half second of an absence took the reader back to the end."""
    server.fill("general", 100)
    page = open_page("general", "mira")
    expect(page.texts.last).to_have_text("line 100")
    page.live()
    server.kill()
    expect(page.away).to_be_visible()
    page.tab.evaluate("scroller.scrollTop -= 60")
    countdown = page.tab.locator("#countdown")
    said = countdown.inner_text()
    page.until(lambda: countdown.inner_text() != said, "the next tick")
    said = countdown.inner_text()
    page.until(lambda: countdown.inner_text() != said, "one more")
    assert page.tab.evaluate(BELOW) > 50


@pytest.mark.parametrize("above_px, follows", [(99, True), (130, False)])
def test_01_it_follows_within_100_px_of_the_end(server, open_page, above_px, follows):
    server.fill("general", 100)
    page = open_page("general", "mira")
    expect(page.texts.last).to_have_text("line 100")
    page.live()
    page.tab.evaluate(f"scroller.scrollTop -= {above_px}")
    assert abs(page.tab.evaluate(BELOW) - above_px) <= 1
    expect(page.tab.locator("#newer")).to_be_visible(visible=not follows)
    server.fill("general", 1, first=101)
    expect(page.texts.last).to_have_text("line 101")
    if follows:
        page.until(lambda: page.tab.evaluate(BELOW) <= 1, "the end")
    else:
        expect(page.tab.get_by_role("button", name="1 new line")).to_be_visible()
        assert page.tab.evaluate(BELOW) > above_px


def test_11_names_are_completed_where_the_caret_is(server, open_page):
    """A name was put where the caret had gone since, and the list came back after a name was taken."""
    for name in "Ann Lee", "mira", "mirko", "Ann", "Ann Lee":
        server.post("general", name, "hello")
    page = open_page("general", "omri")
    expect(page.lines).to_have_count(5)
    options = page.tab.get_by_role("option")
    page.message.press_sequentially("hello dear @mi")
    expect(options).to_have_count(2)
    page.message.press("Home")
    expect(options).to_have_count(0)
    page.message.press("End")
    page.message.press("Control+a")
    page.message.press_sequentially("thanks @Ann")
    expect(options).to_have_text(["Ann", "Ann Lee"])
    page.message.press("Enter")
    expect(page.message).to_have_value("thanks @Ann ")
    expect(options).to_have_count(0)
    page.message.press("Enter")
    expect(page.texts.last).to_have_text("thanks @Ann")
    page.message.press_sequentially("@ann l")
    options.click()
    expect(page.message).to_have_value("@Ann Lee ")
    expect(page.message).to_be_focused()


def test_11_the_list_of_names_is_told_to_screen_readers(server, open_page):
    """The chosen name had the same id all the time, and the field did not say that it has a list."""
    for name in "mira", "mirko":
        server.post("general", name, "hello")
    page = open_page("general", "omri")
    expect(page.lines).to_have_count(2)
    page.message.press_sequentially("@mi")
    chosen = page.tab.locator("#names [aria-selected=true]")
    for name in "mirko", "mira", "mirko":
        expect(chosen).to_have_text(name)
        expect(page.message).to_have_attribute("aria-activedescendant", chosen.get_attribute("id"))
        page.message.press("ArrowDown")
    page.message.press("ArrowUp")
    expect(chosen).to_have_text("mirko")
    expect(page.message).to_have_attribute("aria-controls", "names")


def test_13_a_slow_first_answer_is_no_absence(server, browser):
    """The page said that there was no connection, before it had asked for long."""
    context = browser()
    server.fill("general", 3)
    held = []
    context.route("**/chat/general?tail=200", lambda route: held.append(route))
    tab = context.new_page()
    tab.clock.install()
    tab.goto(server.room_url("general"))
    tab.wait_for_function("document.querySelector('#scroller')")
    while not held:
        tab.wait_for_timeout(20)
    tab.clock.run_for(5000)
    expect(tab.locator("#away")).to_be_hidden()
    held[0].continue_()
    expect(tab.locator("#lines .line")).to_have_count(3)


def test_13_the_count_down_counts_and_says_when_it_tries(server, open_page):
    """While a try was under way it said `Next try in 0 s`."""
    page = open_page("general", "omri")
    page.live()
    server.process.send_signal(signal.SIGSTOP)
    try:
        page.say("into the void")
        # 12 s for the answer, 2 s of silence: a server that hangs was noticed after 26 s only.
        expect(page.away).to_be_visible(timeout=24_000)
        expect(page.tab.locator("#countdown")).to_have_text("Trying …")
    finally:
        server.process.send_signal(signal.SIGCONT)
    expect(page.texts).to_have_text(["into the void"])
    server.kill()
    countdown = page.tab.locator("#countdown")
    expect(countdown).to_have_text(re.compile("Next try in [5-9] s"))
    seconds = int(re.search(r"\d+", countdown.inner_text())[0])
    expect(countdown).to_have_text(f"Next try in {seconds - 1} s.")
    expect(countdown).to_have_text(f"Next try in {seconds - 2} s.")


@pytest.mark.parametrize("sign", ["online", "looked at"])
def test_13_it_tries_at_once_when_there_is_reason_to(server, open_page, sign):
    page = open_page("general", "omri")
    page.live()
    server.kill()
    if sign == "looked at":
        page.look(False)
    expect(page.tab.locator("#countdown")).to_have_text(re.compile(r"Next try in ([6-9]|1\d) s"))
    server.start()
    if sign == "online":
        page.tab.evaluate("dispatchEvent(new Event('online'))")
    else:
        page.look(True)
    expect(page.away).to_be_hidden(timeout=5000)


def test_08_an_address_that_is_opened_while_away_is_not_said_to_be_none(server, open_page):
    server.fill("general", 1000)
    page = open_page()
    page.live()
    address = address_of(server, "general", 3).partition("#")[2]
    server.kill()
    page.tab.evaluate("address => { location.hash = address }", address)
    expect(page.tab.locator("#said")).to_have_text("The server cannot be reached.")


def test_what_is_read_anew_can_still_be_searched_and_written_to(server, open_page):
    """On the way to the end the page forgot its cursor, and until the answer came Find and sending did nothing."""
    server.fill("general", 3000)
    page = open_page("general", "mira")
    page.tab.goto("about:blank")
    page.tab.goto(address_of(server, "general", 500))
    expect(page.tab.locator(".target")).to_be_in_viewport()
    held, release = hold(page, lambda request: "tail=" in request.url)
    page.tab.get_by_role("button", name="Newest").click()
    page.until(lambda: held, "the question for the end")
    page.tab.get_by_role("button", name="Find").click()
    page.tab.get_by_label("Find in this room").fill("line 2999")
    page.tab.keyboard.press("Enter")
    expect(page.tab.locator("#found")).to_have_text("Lines found: 1.")
    page.tab.keyboard.press("Escape")
    page.tab.keyboard.press("Escape")
    page.say("hello")
    page.until(lambda: server.messages("general")[-1] == "mira: hello", "the message in the log")
    release()
    expect(page.texts.last).to_have_text("hello")
    expect(page.texts.last).to_be_in_viewport()


def test_12_a_message_stays_where_it_is_when_it_is_confirmed(server, open_page):
    """A second message stood there with a name and a picture, and shrank once it was in the log."""
    page = open_page("general", "mira")
    page.say("first")
    expect(page.texts).to_have_text(["first"])
    expect(page.pending).to_have_count(0)
    held, release = hold(page, is_post)
    page.say("second")
    page.until(lambda: held, "the post")
    top = "texts => texts.at(-1).getBoundingClientRect().top"
    text = page.tab.locator(".text")
    before = text.evaluate_all(top)
    pale = page.pending.locator(".text").evaluate("text => getComputedStyle(text).color")
    assert pale != page.texts.evaluate("text => getComputedStyle(text).color"), "pale until confirmed"
    page.say("third")
    expect(page.pending.nth(1)).to_have_class(re.compile(r"\bmore\b"))
    release()
    expect(page.texts).to_have_text(["first", "second", "third"])
    expect(page.pending).to_have_count(0)
    colours = page.texts.evaluate_all("texts => texts.map((text) => getComputedStyle(text).color)")
    assert len(set(colours)) == 1 and pale not in colours
    assert page.lines.evaluate_all("lines => lines.map((line) => line.classList.contains('more'))") == [False, True, True]
    assert abs(page.texts.nth(1).evaluate("text => text.getBoundingClientRect().top") - before) < 3


def test_11_up_recalls_what_is_not_on_the_page(server, open_page):
    """After some hundred lines of others, or under another name, there was nothing to recall."""
    page = open_page("general", "omri")
    page.say("a typo")
    expect(page.texts).to_have_text(["a typo"])
    server.fill("general", 600)
    page.username.fill("mira")
    page.tab.reload()
    expect(page.texts.last).to_have_text("line 600")
    page.message.press("ArrowUp")
    expect(page.message).to_have_value("a typo")


def test_11_what_escape_clears_comes_back_with_undo(open_page):
    page = open_page("general", "omri")
    page.message.press_sequentially("a long draft")
    page.message.press("Escape")
    expect(page.message).to_have_value("")
    page.message.press("Control+z")
    expect(page.message).to_have_value("a long draft")


def test_11_a_slash_in_an_open_panel_keeps_the_draft(open_page):
    """It went to the field behind the panel, and the Escape that was for the panel cleared the draft."""
    page = open_page("general", "omri")
    page.message.fill("a long draft")
    page.tab.get_by_role("button", name="Rooms").click()
    page.tab.locator("#copy").focus()
    page.tab.keyboard.press("/")
    expect(page.tab.locator("#copy")).to_be_focused()
    page.message.focus()
    page.tab.keyboard.press("Escape")
    expect(page.tab.locator("#rooms")).to_be_hidden()
    expect(page.message).to_have_value("a long draft")


def test_05_a_line_of_another_form_does_not_repeat_the_day(server, open_page):
    first = "[2018-02-25 14:00:00] omri: one\n" + "[2018-02-25 14:00:10] omri: more\n" * 249
    server.append("general", first + "deploy done\n[2018-02-25 14:00:30] omri: two\nbackup done\n[2018-02-25 14:01:00] omri: three\n")
    page = open_page()
    expect(page.texts.last).to_have_text("three")
    page.until(lambda: page.scroll(0) or page.lines.count() == 254, "all lines")
    assert page.lines.evaluate_all("lines => lines.filter((line) => line.dataset.day).length") == 1


LINKS = {
    "see https://en.wikipedia.org/wiki/Cat_(animal) there": "https://en.wikipedia.org/wiki/Cat_(animal)",
    "(see https://en.wikipedia.org/wiki/Cat_(animal))": "https://en.wikipedia.org/wiki/Cat_(animal)",
    "(https://example.org/a), then": "https://example.org/a",
    "HTTPS://Example.org/x": "HTTPS://Example.org/x",
    "https://example.org/a…": "https://example.org/a",
    "「https://example.org/a」": "https://example.org/a",
    "https://example.org/a。": "https://example.org/a",
    "https://example.org/a/?": "https://example.org/a/",
    "https://example.org/#": "https://example.org/#",
    "xhttps://example.org/a": None,
    "https://(((": None,
}


def test_06_links_end_where_they_should(server, open_page):
    for text in LINKS:
        server.post("general", "omri", text)
    page = open_page()
    expect(page.lines).to_have_count(len(LINKS))
    found = page.texts.evaluate_all("texts => texts.map((text) => text.querySelector('a')?.textContent)")
    assert dict(zip(LINKS, found, strict=True)) == LINKS


@pytest.mark.parametrize("text", ["(", ")", "()", ".", "(.", "https://(", "https://x(", "(((a)"])
def test_06_links_are_looked_for_in_no_time(server, open_page, text):
    server.append("general", f"[2018-02-25 14:00:51] omri: https://example.org/{text * (16_000 // len(text))}\n" * 20)
    page = open_page()
    expect(page.lines).to_have_count(20, timeout=10_000)


def test_06_a_fence_or_a_table_is_code(server, open_page):
    texts = {"```\nfn a() {}\n```": True, "a  |  b\n1  |  22": True, "total 48\n-rw-r--r--  1 root": True, "One.  Two.\nThree.  Four.": False}
    for text in texts:
        server.post("general", "omri", text)
    page = open_page()
    expect(page.lines).to_have_count(len(texts))
    assert page.texts.evaluate_all("texts => texts.map((text) => text.classList.contains('code'))") == list(texts.values())


def test_06_each_message_has_its_own_direction(server, open_page):
    server.post("general", "omri", "שלום")
    server.post("general", "omri", "hello")
    page = open_page()
    expect(page.lines).to_have_count(2)
    assert page.texts.evaluate_all("texts => texts.map((text) => [text.dir, getComputedStyle(text).direction])") == [["auto", "rtl"], ["auto", "ltr"]]


def test_08_copying_the_address_of_a_line_moves_nothing(server, browser, open_page):
    """A click on a time went to that line, and the page followed new lines no more."""
    context = browser(permissions=["clipboard-read", "clipboard-write"])
    server.fill("general", 100)
    page = open_page("general", "mira", context=context)
    expect(page.texts.last).to_have_text("line 100")
    page.live()
    line = page.lines.nth(95)
    line.hover()
    before = line.bounding_box()["y"]
    line.locator(".at").click()
    expect(page.tab.locator("#said")).to_have_text("Address copied.")
    assert abs(line.bounding_box()["y"] - before) < 40
    expect(page.tab.locator("#newer")).to_be_hidden()
    server.fill("general", 1, first=101)
    expect(page.texts.last).to_have_text("line 101")
    expect(page.texts.last).to_be_in_viewport()


def test_05_the_full_date_is_there_for_screen_readers(server, open_page):
    server.append("general", "[2018-02-25 14:00:51] omri: hi\n")
    page = open_page()
    expect(page.lines.get_by_role("link", name=re.compile("Sunday,? 25 February 2018.*15:00:51"))).to_have_text("15:00")


def test_12_the_focus_stays_on_a_button_of_a_waiting_message(server, open_page):
    """Each try of another message made all buttons anew, and the focus was lost."""
    page = open_page("general", "mira")
    page.say("bad \a")
    edit = page.pending.get_by_role("button", name="Edit")
    expect(edit).to_be_visible()
    held, _ = hold(page, is_post)
    page.say("next")
    page.until(lambda: held, "the post")
    edit.focus()
    held[0].fulfill(status=502, headers={"Server-Name": "x"}, body="not now")
    expect(page.pending.get_by_text("not now")).to_be_visible()
    expect(edit).to_be_focused()


def test_09_a_search_ends_with_its_panel_and_says_little(server, open_page):
    server.append("general", f"[2018-02-25 14:00:51] omri: line {'x' * 10_000}\n" * 600)
    page = open_page()
    page.tab.evaluate("window.said = 0; new MutationObserver(() => { said += 1 }).observe(found, { childList: true })")
    page.tab.get_by_role("button", name="Find").click()
    field = page.tab.get_by_label("Find in this room")
    field.fill("nothing like it")
    field.press("Enter")
    expect(page.tab.locator("#found")).to_have_text("Lines found: 0.")
    assert page.tab.evaluate("said") == 2
    held, _ = hold(page, lambda request: "range" in request.headers)
    field.press("Enter")
    page.until(lambda: held, "the first piece")
    page.tab.locator("#finder").evaluate("finder => finder.hidePopover()")
    held[0].continue_()
    expect(page.tab.locator("#found")).to_have_text("Lines found: 0 and more.")
    assert len(held) == 1


def test_17_the_log_is_one_stop_of_the_tab_key(server, open_page):
    """Each time is a link: from the field back to Rooms it took 203 steps."""
    server.fill("general", 200)
    page = open_page("general", "mira")
    expect(page.lines).to_have_count(200)
    page.message.focus()
    for _ in range(3):
        page.tab.keyboard.press("Shift+Tab")
    expect(page.tab.get_by_role("button", name="Rooms")).to_be_focused()
    page.tab.keyboard.press("Tab")
    expect(page.tab.locator("#scroller")).to_be_focused()
    page.tab.keyboard.press("ArrowDown")
    focused = page.tab.locator(".line:focus-within .text")
    first = int(focused.inner_text().removeprefix("line "))
    for _ in range(3):
        page.tab.keyboard.press("ArrowUp")
    expect(focused).to_have_text(f"line {first - 3}")
    expect(focused).to_be_in_viewport()
    page.tab.keyboard.press("ArrowDown")
    expect(focused).to_have_text(f"line {first - 2}")
    page.tab.keyboard.press("Enter")
    expect(page.tab.locator("#said")).to_contain_text("ddress")
    assert page.tab.url == address_of(server, "general", first - 2)


@pytest.mark.parametrize("name", [".", ".."])
def test_19_a_name_that_is_no_room_is_refused(open_page, name):
    """It led elsewhere: a browser takes these for directories."""
    page = open_page("kitchen")
    page.tab.get_by_role("button", name="Rooms").click()
    field = page.tab.get_by_label("Go to a room")
    field.fill(name)
    field.press("Enter")
    assert not field.evaluate("field => field.checkValidity()")
    expect(page.tab.get_by_role("heading", level=1)).to_have_text("kitchen")
    assert page.tab.url.endswith("/kitchen")
