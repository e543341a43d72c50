"""The window onto a log: where one left off, lines with addresses, and what is found in all of it."""

import re

from playwright.sync_api import expect


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


def test_03_the_icon_counts_what_is_unread(server, open_page):
    server.fill("general", 1)
    page = open_page("general", "mira")
    page.live()
    icon = page.tab.locator("link[rel=icon]")
    expect(icon).to_have_attribute("href", "/-/icon.svg")
    page.look(False)
    server.fill("general", 1, first=2)
    expect(icon).to_have_attribute("href", re.compile("^data:image/svg"))
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
