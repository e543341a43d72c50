"""The window onto a log: where one left off, lines with addresses, and what is found in all of it."""

import re
import time
import urllib.parse
import xml.etree.ElementTree

import pytest
from playwright.sync_api import expect

from conftest import hold


def address_of(server, room, number):
    """The cursor at the end of a line of the room's file, as the page's fragment."""
    page = server.room_url(room)
    epoch = server.etag(room).partition("-")[0]
    end = len(b"\n".join(server.file(room).read_bytes().split(b"\n")[:number])) + 1
    return f"{page}#{epoch}-{end}"


def above(page, index):
    """What stands above a line."""
    return page.lines.nth(index).evaluate("line => getComputedStyle(line, '::after').content")


def test_02_what_is_new_since_one_left_says_so_across_reloads(server, browser, open_page):
    context = browser()
    server.fill("general", 3)
    page = open_page(context=context)
    expect(page.lines).to_have_count(3)
    expect(page.tab.locator(".new")).to_have_count(0)
    page.live()
    page.tab.goto("about:blank")
    server.fill("general", 2, first=4)
    page.tab.goto(server.room_url("general"))
    expect(page.tab.locator(".new .text")).to_have_text("line 4")
    assert "New since you left" in above(page, 3)
    page.live()
    page.tab.reload()
    expect(page.lines).to_have_count(5)
    page.live()
    server.fill("general", 1, first=6)
    expect(page.lines).to_have_count(6)
    expect(page.tab.locator(".new")).to_have_count(0)


def test_02_what_came_while_the_tab_was_hidden_is_new(server, open_page):
    server.fill("general", 3)
    page = open_page()
    page.live()
    page.look(False)
    server.fill("general", 2, first=4)
    page.look(True)
    expect(page.tab.locator(".new .text")).to_have_text("line 4")


def number_in(icon):
    """What is written in the picture."""
    picture = urllib.parse.unquote(icon.get_attribute("href").partition(",")[2])
    return "".join(xml.etree.ElementTree.fromstring(picture).itertext()).strip()


def test_03_the_icon_counts_what_is_unread(server, open_page):
    server.fill("general", 1)
    page = open_page("general", "mira")
    page.live()
    icon = page.tab.locator("link[rel=icon]")
    expect(icon).to_have_attribute("href", "/-/icon.svg")
    page.look(False)
    server.fill("general", 1, first=2)
    expect(icon).to_have_attribute("href", re.compile("^data:image/svg"))
    assert number_in(icon) == "1"
    server.fill("general", 2, first=3)
    expect(page.tab).to_have_title("(3) general · catchat")
    assert number_in(icon) == "3"
    server.fill("general", 120, first=5)
    expect(page.tab).to_have_title("(123) general · catchat")
    assert number_in(icon) == "99", "no more than two digits can be read"
    page.look(True)
    expect(icon).to_have_attribute("href", re.compile("/-/icon.svg$"))


def test_05_lines_of_one_author_stand_together_and_tell_their_full_date(server, open_page):
    server.append("general", "[2018-02-25 14:00:00] omri: a\n[2018-02-25 14:04:59] omri: b\n[2018-02-25 14:10:00] omri: c\n[2018-02-25 14:10:01] mira: d\n")
    page = open_page()
    grouped = page.lines.evaluate_all("lines => lines.map((line) => line.classList.contains('more'))")
    assert grouped == [False, True, False, False]
    expect(page.tab.locator("time").first).to_have_attribute("title", re.compile("Sunday,? 25 February 2018.*15:00:00"))
    expect(page.tab.locator("time").first).to_have_attribute("datetime", "2018-02-25T14:00:00.000Z")


def test_07_a_name_has_its_colour_everywhere(server, open_page):
    for room in "kitchen", "garden":
        server.post(room, "omri", "hello")
        server.post(room, "mira", "hello")
    colours = []
    for room in "kitchen", "garden":
        page = open_page(room)
        expect(page.lines).to_have_count(2)
        colours.append(page.tab.locator("#lines .name").evaluate_all("names => names.map((name) => getComputedStyle(name).color)"))
    assert colours[0] == colours[1]
    assert colours[0][0] != colours[0][1]


def test_08_a_line_far_back_is_opened_by_its_address(server, open_page, browser):
    server.fill("general", 20_000)
    size = server.file("general").stat().st_size
    page = open_page("general", "mira")
    page.tab.goto("about:blank")
    page.tab.goto(address_of(server, "general", 500))
    target = page.tab.locator(".target")
    expect(target.locator(".text")).to_have_text("line 500")
    expect(target).to_be_in_viewport()
    assert page.lines.count() <= 500
    assert sum(length for _, _, length in page.reads()) < size / 4
    page.tab.get_by_role("button", name="Newest").click()
    expect(page.texts.last).to_have_text("line 20000")
    expect(page.texts.last).to_be_in_viewport()
    server.fill("general", 1, first=20_001)
    expect(page.texts.last).to_be_in_viewport()
    expect(page.texts.last).to_have_text("line 20001")


def test_08_an_address_that_is_no_lines_is_said_to_be_none(server, open_page):
    server.fill("general", 300)
    page = open_page()
    for address in "#feedbeef-31", address_of(server, "general", 3) + "9999", address_of(server, "general", 3)[:-1] + "1":
        page.tab.goto("about:blank")
        page.tab.goto(server.room_url("general") + "#" + address.partition("#")[2])
        expect(page.tab.locator("#said")).to_contain_text("no such line")
        expect(page.texts.last).to_have_text("line 300")


def test_08_the_address_of_a_line_and_of_the_room_can_be_copied(server, open_page, browser):
    context = browser(permissions=["clipboard-read", "clipboard-write"])
    server.fill("tea time", 5)
    page = open_page("tea time", context=context)
    expect(page.lines).to_have_count(5)
    page.lines.nth(2).hover()
    page.lines.nth(2).locator(".at").click()
    expect(page.tab.locator("#said")).to_have_text("Address copied.")
    assert page.tab.evaluate("navigator.clipboard.readText()") == address_of(server, "tea time", 3)
    assert page.tab.url == address_of(server, "tea time", 3)
    page.tab.get_by_role("button", name="Rooms").click()
    page.tab.get_by_role("button", name="Copy the address").click()
    page.until(lambda: page.tab.evaluate("navigator.clipboard.readText()") == server.room_url("tea time"), "the address")


def test_09_what_is_found_in_the_whole_log_can_be_jumped_to(server, open_page):
    server.append("general", "[2018-02-25 14:00:51] mira: the Needle, (here)\n")
    server.fill("general", 30_000)
    page = open_page()
    page.tab.get_by_role("button", name="Find").click()
    field = page.tab.get_by_label("Find in this room")
    expect(field).to_be_focused()
    field.fill("needle, (")
    field.press("Enter")
    hits = page.tab.locator("#hits a")
    expect(hits).to_have_count(1)
    expect(hits.locator("mark")).to_have_text("Needle, (")
    expect(page.tab.locator("#found")).to_have_text("Lines found: 1.")
    pieces = [length for status, _, length in page.reads() if status == 206]
    assert max(pieces) < 600_000 and sum(pieces) > server.file("general").stat().st_size
    hits.click()
    expect(page.tab.locator(".target .text")).to_have_text("the Needle, (here)")
    expect(page.tab.locator(".target")).to_be_in_viewport()
    field.fill("nothing like this")
    field.press("Enter")
    expect(page.tab.locator("#found")).to_have_text("Lines found: 0.")
    field.fill("omri")
    field.press("Enter")
    expect(page.tab.locator("#found")).to_have_text(re.compile(r"^Lines found: \d+ and more\.$"))


def test_09_hits_are_walked_through_by_keyboard(server, open_page):
    server.fill("general", 30)
    page = open_page()
    page.tab.get_by_role("button", name="Find").press("Enter")
    page.tab.keyboard.type("line 2")
    page.tab.keyboard.press("Enter")
    expect(page.tab.locator("#hits a")).to_have_count(11)
    page.tab.locator("#hits a").first.focus()
    page.tab.keyboard.press("Enter")
    expect(page.tab.locator(".target .text")).to_have_text("line 29")
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("Enter")
    expect(page.tab.locator(".target .text")).to_have_text("line 28")
    page.tab.keyboard.press("Escape")
    expect(page.tab.locator("#finder")).to_be_hidden()


def stamp(offset_s):
    """The beginning of a line, so many seconds from now."""
    return time.strftime("[%Y-%m-%d %H:%M:%S]", time.gmtime(time.time() + offset_s))


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


@pytest.mark.parametrize("count", [3, 130], ids=["few", "more-than-are-loaded"])
def test_02_all_is_new_in_a_room_that_was_empty(server, browser, open_page, count):
    """The cursor of an empty log was taken for one of another log, or led to a line that is none."""
    context = browser()
    page = open_page(context=context)
    page.live()
    page.tab.goto("about:blank")
    server.fill("general", count)
    page.tab.goto(server.room_url("general"))
    expect(page.texts.last).to_have_text(f"line {count}")
    expect(page.tab.locator("#newer")).to_be_hidden()
    page.scroll(0)
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


def test_05_a_line_of_another_form_does_not_repeat_the_day(server, open_page):
    first = "[2018-02-25 14:00:00] omri: one\n" + "[2018-02-25 14:00:10] omri: more\n" * 249
    server.append("general", first + "deploy done\n[2018-02-25 14:00:30] omri: two\nbackup done\n[2018-02-25 14:01:00] omri: three\n")
    page = open_page()
    expect(page.texts.last).to_have_text("three")
    page.until(lambda: page.scroll(0) or page.lines.count() == 254, "all lines")
    assert page.lines.evaluate_all("lines => lines.filter((line) => line.dataset.day).length") == 1


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


def test_09_a_search_in_a_log_that_is_replaced_says_nothing_untrue(server, open_page):
    """It said that there was no connection."""
    server.fill("general", 100)
    page = open_page()
    expect(page.lines).to_have_count(100)
    page.tab.get_by_role("button", name="Find").click()
    held, release = hold(page, lambda request: "range" in request.headers)
    field = page.tab.get_by_label("Find in this room")
    field.fill("line")
    field.press("Enter")
    page.until(lambda: held, "the first piece")
    server.file("general").unlink()
    server.append("general", "[2018-02-26 14:00:51] omri: another line\n")
    release()
    expect(page.tab.locator("#found")).to_have_text("Lines found: 0 so far. Try again.")
    expect(page.texts).to_have_text(["another line"])
    field.press("Enter")
    expect(page.tab.locator("#found")).to_have_text("Lines found: 1.")
