"""While the server cannot be reached, or answers late: what the page says, and what stays as it is."""

import re
import signal

import pytest
from playwright.sync_api import expect

from conftest import hold
from test_window import address_of


def test_13_a_slow_first_answer_is_no_absence(server, browser):
    """The page said that there was no connection, before it had asked for long."""
    context = browser()
    server.fill("general", 3)
    held = []
    context.route("**/chat/general?tail=100", lambda route: held.append(route))
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
    assert page.below() > 50


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
