"""What a page shows, and what it reads to do so."""

import re
import threading
import time

import pytest
from playwright.sync_api import expect

from conftest import until


def test_two_browsers_in_two_rooms_see_their_room_and_nothing_else(server, open_page):
    kitchen, garden = open_page("kitchen", "omri"), open_page("garden", "mira")
    kitchen.say("the soup is ready")
    garden.say("the beans are up")
    expect(kitchen.texts).to_have_text(["the soup is ready"])
    expect(garden.texts).to_have_text(["the beans are up"])
    guest = open_page("kitchen", "jonas")
    guest.say("coming")
    for page in kitchen, guest:
        expect(page.texts).to_have_text(["the soup is ready", "coming"])
        expect(page.tab.locator("#lines .name")).to_have_text(["omri", "jonas"])
    expect(garden.texts).to_have_text(["the beans are up"])
    assert server.messages("kitchen") == ["omri: the soup is ready", "jonas: coming"]
    assert server.messages("garden") == ["mira: the beans are up"]


def test_the_first_page_is_the_room_general(server, browser, open_page):
    server.post("general", "omri", "hi everybody!")
    page = open_page()
    page.tab.goto(server.url)
    expect(page.texts).to_have_text(["hi everybody!"])
    expect(page.tab).to_have_title("general · catchat")


def test_a_line_by_curl_is_there_within_two_seconds(server, open_page):
    page = open_page()
    expect(page.tab.locator("#top")).to_contain_text("Nobody has written here yet")
    took = []
    for number in range(5):
        server.post("general", "curl", f"line {number}")
        began = time.monotonic()
        expect(page.texts.nth(number)).to_have_text(f"line {number}")
        took.append(time.monotonic() - began)
    assert sorted(took)[2] < 2, took


def test_a_line_that_a_script_appends_is_shown_as_it_is(server, open_page):
    page = open_page()
    lines = ["deploy done", "[2018-02-25 14:00:51] no colon", "[2018-99-99 14:00:51] omri: no such day", "a ⏎ b", ""]
    for line in lines:
        server.append("general", f"{line}\n")
    expect(page.tab.locator("#lines .raw")).to_have_text(lines)
    server.append("general", "half a")
    server.append("general", " line\n")
    expect(page.lines.last).to_have_text("half a line")


def test_06_a_message_of_several_lines_is_shown_on_several_lines(server, open_page):
    server.post("general", "omri", "for:\n    spaces  stay\n\tand tabs")
    page = open_page()
    assert server.messages("general") == ["omri: for:⏎    spaces  stay⏎\tand tabs"]
    expect(page.texts).to_have_count(1)
    assert page.texts.inner_text() == "for:\n    spaces  stay\n\tand tabs"


def test_05_times_are_the_readers_own_and_days_are_named(server, open_page):
    server.append("general", "[2018-02-25 14:00:51] omri: hi\n[2018-02-25 14:01:00] omri: again\n[2018-02-25 23:30:00] omri: late\n")
    page = open_page()
    expect(page.tab.locator("#lines time")).to_have_text(["15:00", "15:01", "00:30"])
    days = page.lines.evaluate_all("lines => lines.map((line) => line.dataset.day ?? '')")
    assert days == ["Sunday, 25 February 2018", "", "Monday, 26 February 2018"]
    expect(page.tab.locator("#lines .more")).to_have_text(re.compile("again"))


def test_06_links_are_links_and_nothing_else_is(server, open_page):
    server.post("general", "omri", "see (https://example.org/a?b=1#c), javascript:alert(1) or ftp://example.org.")
    page = open_page()
    link = page.texts.get_by_role("link")
    expect(link).to_have_count(1)
    expect(link).to_have_attribute("href", "https://example.org/a?b=1#c")
    expect(link).to_have_attribute("rel", "noreferrer noopener")


def test_04_the_log_is_never_read_as_a_whole(server, open_page):
    server.fill("general", 5000)
    size = server.file("general").stat().st_size
    page = open_page()
    expect(page.texts.last).to_have_text("line 5000")
    for number in range(5):
        server.post("general", "omri", f"new {number}")
        expect(page.texts.last).to_have_text(f"new {number}")
    page.tab.reload()
    expect(page.texts.last).to_have_text("new 4")
    for status, url, length in page.reads():
        assert length < size / 10, f"{url} brought {length} of {size} bytes"
        assert status == 200 if "tail=100" in url else status in (206, 304, 400), url


def test_a_tab_that_slept_for_long_reads_the_last_lines_only(server, open_page):
    server.fill("general", 10)
    page = open_page()
    expect(page.lines).to_have_count(10)
    page.look(False)
    server.fill("general", 20_000, first=11)
    size = server.file("general").stat().st_size
    page.look(True)
    expect(page.texts.last).to_have_text("line 20010")
    assert sum(length for _, _, length in page.reads()) < size / 4
    page.scroll(0)
    page.until(lambda: page.texts.first.inner_text() != "line 19911", "the lines before those")
    numbers = [int(text.removeprefix("line ")) for text in page.texts.all_inner_texts()]
    assert numbers == list(range(numbers[0], 20_011))


def test_04_older_lines_come_as_one_scrolls_up_and_nothing_jumps(server, open_page):
    server.fill("general", 1200)
    page = open_page()
    expect(page.texts.last).to_have_text("line 1200")
    expect(page.texts.first).to_have_text("line 1101")
    reached_top = page.tab.locator("#top").get_by_text("This is where general begins")
    while not reached_top.is_visible():
        # In one step, so that no older lines come in between: go up, and note where a line is.
        first = page.tab.evaluate(
            """() => {
              const line = document.querySelector('#lines .line');
              scroller.scrollTop = 0;
              window.noted = { line, at: line.getBoundingClientRect().top };
              return line.lastChild.textContent;
            }"""
        )
        if first == "line 1":
            break
        page.until(lambda: page.texts.first.inner_text() != first, "older lines")
        assert page.lines.count() <= 500
        moved = page.tab.evaluate("Math.abs(noted.line.getBoundingClientRect().top - noted.at)")
        assert moved < 40, f"what one was reading moved by {moved} px"
    assert page.texts.all_inner_texts() == [f"line {number}" for number in range(1, 501)]
    # And down again, in the same way.
    while page.texts.last.inner_text() != "line 1200":
        last = page.tab.evaluate(
            """() => {
              const line = document.querySelector('#lines').lastChild;
              scroller.scrollTop = scroller.scrollHeight;
              window.noted = { line, at: line.getBoundingClientRect().top };
              return line.lastChild.textContent;
            }"""
        )
        if last == "line 1200":
            break
        page.until(lambda: page.texts.last.inner_text() != last, "newer lines")
        moved = page.tab.evaluate("noted.line.isConnected ? Math.abs(noted.line.getBoundingClientRect().top - noted.at) : 0")
        assert moved < 40, f"what one was reading moved by {moved} px"
        assert page.lines.count() <= 500
    expect(page.texts).to_have_text([f"line {number}" for number in range(701, 1201)])


def test_04_the_document_stays_small_however_long_one_watches(server, open_page):
    server.fill("general", 400)
    page = open_page()
    server.fill("general", 1500, first=401)
    expect(page.texts.last).to_have_text("line 1900")
    expect(page.lines).to_have_count(500)
    page.scroll(0)
    until(lambda: page.texts.first.inner_text() == "line 1351", "the lines that were let go of")
    numbers = [int(text.removeprefix("line ")) for text in page.texts.all_inner_texts()]
    assert numbers == list(range(numbers[0], numbers[0] + 500))


def test_01_who_reads_older_lines_is_left_alone_and_told_of_new_ones(server, open_page):
    server.fill("general", 300)
    page = open_page("general", "mira")
    expect(page.texts.last).to_have_text("line 300")
    page.scroll(2000)
    server.fill("general", 3, first=301)
    newer = page.tab.get_by_role("button", name="3 new lines")
    expect(newer).to_be_visible()
    assert page.tab.evaluate("scroller.scrollTop") == 2000
    newer.click()
    expect(newer).to_be_hidden()
    expect(page.texts.last).to_be_in_viewport()
    server.fill("general", 1, first=304)
    expect(page.texts.last).to_have_text("line 304")
    expect(page.texts.last).to_be_in_viewport()
    page.scroll(0)
    page.say("my own line always shows")
    expect(page.texts.last).to_have_text("my own line always shows")
    expect(page.texts.last).to_be_in_viewport()


def test_01_it_follows_a_burst_unless_one_scrolls_away(server, open_page):
    server.fill("general", 100)
    page = open_page()
    page.live()

    def burst(first):
        for number in range(first, first + 400):
            server.fill("general", 1, first=number)
            time.sleep(0.002)

    writer = threading.Thread(target=burst, args=[101])
    writer.start()
    expect(page.texts.last).to_have_text("line 500")
    expect(page.texts.last).to_be_in_viewport()
    writer.join()
    writer = threading.Thread(target=burst, args=[501])
    writer.start()
    page.until(lambda: int(page.texts.last.inner_text().removeprefix("line ")) > 550, "the second burst")
    page.tab.mouse.move(500, 300)
    page.tab.mouse.wheel(0, -400)
    expect(page.tab.locator("#newer")).to_be_visible()
    writer.join()
    expect(page.texts.last).not_to_be_in_viewport()
    page.tab.locator("#newer").click()
    expect(page.texts.last).to_have_text("line 900")
    expect(page.texts.last).to_be_in_viewport()


def test_a_log_that_was_replaced_is_shown_instead(server, open_page):
    server.fill("general", 20)
    page = open_page()
    expect(page.lines).to_have_count(20)
    server.file("general").unlink()
    server.append("general", "[2024-01-01 00:00:00] mira: a new year, a new log\n")
    expect(page.texts).to_have_text(["a new year, a new log"])
    server.post("general", "omri", "and it goes on")
    expect(page.texts).to_have_text(["a new year, a new log", "and it goes on"])


def test_an_empty_room_that_begins_again_and_a_removed_one(server, open_page):
    page = open_page()
    server.post("general", "omri", "first")
    expect(page.texts).to_have_text(["first"])
    server.file("general").unlink()
    expect(page.lines).to_have_count(0)
    expect(page.tab.locator("#top")).to_contain_text("Nobody has written here yet")


def test_03_a_hidden_tab_counts_what_is_unread_in_its_title(server, open_page):
    page = open_page("general", "mira")
    page.look(False)
    server.fill("general", 2)
    expect(page.tab).to_have_title("(2) general · catchat")
    page.look(True)
    expect(page.tab).to_have_title("general · catchat")


def test_17_only_what_is_new_is_read_out(server, open_page):
    server.fill("general", 20)
    page = open_page()
    log = page.tab.get_by_role("log")
    expect(log).to_have_attribute("aria-busy", "false")
    expect(log.locator(".line")).to_have_count(20)
    states = "() => { window.states = []; new MutationObserver(() => states.push(lines.ariaBusy)).observe(lines, { childList: true }) }"
    page.tab.evaluate(states)
    server.post("general", "omri", "news")
    expect(page.texts.last).to_have_text("news")
    assert page.tab.evaluate("states") == ["false"]


def test_17_older_lines_are_not_read_out(server, open_page):
    server.fill("general", 300)
    page = open_page()
    expect(page.texts.last).to_have_text("line 300")
    page.tab.evaluate("() => { window.states = []; new MutationObserver(() => states.push(lines.ariaBusy)).observe(lines, { childList: true }) }")
    page.scroll(0)
    expect(page.texts.first).to_have_text(re.compile("line 1?[0-9]{1,2}$"))
    assert set(page.tab.evaluate("states")) == {"true"}
    expect(page.tab.get_by_role("log")).to_have_attribute("aria-busy", "false")


def test_16_it_shows_the_server_and_its_host(server, open_page):
    page = open_page()
    expect(page.tab.locator("#server")).to_have_text(re.compile(r"^\S+, on host \S+$"))


@pytest.mark.parametrize("above_px, follows", [(99, True), (130, False)])
def test_01_it_follows_within_100_px_of_the_end(server, open_page, above_px, follows):
    server.fill("general", 100)
    page = open_page("general", "mira")
    expect(page.texts.last).to_have_text("line 100")
    page.live()
    page.tab.evaluate(f"scroller.scrollTop -= {above_px}")
    assert abs(page.below() - above_px) <= 1
    expect(page.tab.locator("#newer")).to_be_visible(visible=not follows)
    server.fill("general", 1, first=101)
    expect(page.texts.last).to_have_text("line 101")
    if follows:
        page.until(lambda: page.below() <= 1, "the end")
    else:
        expect(page.tab.get_by_role("button", name="1 new line")).to_be_visible()
        assert page.below() > above_px
