"""Keys, names, notices, rooms: what a reader and writer has at hand."""

import re

import pytest
from playwright.sync_api import expect

from test_window import address_of

# Counts what a page would show and sound.
NOTICES = """
window.notices = [];
window.tones = 0;
window.answer = 'granted';
window.Notification = class {
  static requestPermission = async () => answer;
  constructor(title, { body }) { notices.push(`${title} | ${body}`); }
};
window.AudioContext = class extends AudioContext {
  createOscillator() { tones += 1; return super.createOscillator(); }
};
"""


def test_11_up_recalls_and_escape_clears(server, open_page):
    page = open_page("general", "omri")
    page.say("first try")
    expect(page.texts).to_have_text(["first try"])
    page.message.press("ArrowUp")
    expect(page.message).to_have_value("first try")
    page.message.press("Escape")
    expect(page.message).to_have_value("")
    page.message.press("Shift+Enter")
    page.message.press("ArrowUp")
    expect(page.message).to_have_value("\n")


def test_11_a_slash_goes_to_the_field(open_page):
    page = open_page("general", "omri")
    page.tab.locator("#scroller").focus()
    page.tab.keyboard.press("/")
    expect(page.message).to_be_focused()
    page.tab.keyboard.press("/")
    expect(page.message).to_have_value("/")


def test_11_enter_of_an_input_method_sends_nothing(server, open_page):
    page = open_page("general", "omri")
    page.message.fill("にほん")
    page.message.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True, "cancelable": True})
    page.message.dispatch_event("keydown", {"key": "Enter", "keyCode": 229, "bubbles": True, "cancelable": True})
    expect(page.message).to_have_value("にほん")
    expect(page.pending).to_have_count(0)


def test_11_names_are_completed(server, open_page):
    for name in "mira", "Mirko", "jonas", "omri":
        server.post("general", name, "hello")
    page = open_page("general", "omri")
    expect(page.lines).to_have_count(4)
    options = page.tab.get_by_role("option")
    page.message.press_sequentially("ask @mi")
    expect(options).to_have_text(["Mirko", "mira"])
    expect(options.first).to_have_attribute("aria-selected", "true")
    page.message.press("ArrowDown")
    page.message.press("Enter")
    expect(page.message).to_have_value("ask @mira ")
    expect(options).to_have_count(0)
    page.message.press_sequentially("and @J")
    page.message.press("Tab")
    expect(page.message).to_have_value("ask @mira and @jonas ")
    page.message.press_sequentially("@")
    expect(options).to_have_count(3)
    page.message.press("Escape")
    expect(options).to_have_count(0)
    page.message.press("Enter")
    page.until(lambda: server.messages("general")[-1] == "omri: ask @mira and @jonas @", "the message")


def test_11_a_line_that_names_one_stands_out(server, open_page):
    for text in "@mira look", "Mira, look", "the mirador", "mira2", "all is well":
        server.post("general", "jonas", text)
    server.post("general", "mira", "I, mira")
    page = open_page("general", "mira")
    expect(page.lines).to_have_count(6)
    expect(page.tab.locator(".named .text")).to_have_text(["@mira look", "Mira, look"])
    page.username.fill("well")
    expect(page.tab.locator(".named .text")).to_have_text(["all is well"])


def test_15_notices_come_only_if_asked_for_and_only_to_hidden_tabs(server, browser, open_page):
    context = browser()
    context.add_init_script(NOTICES)
    page = open_page("general", "mira", context=context)
    page.live()
    page.look(False)
    server.post("general", "jonas", "unasked for")
    expect(page.lines).to_have_count(1)
    page.look(True)
    page.tab.get_by_role("button", name="Rooms").click()
    page.tab.get_by_label("Notify me").check()
    page.tab.get_by_label("Play a sound").check()
    assert page.tab.evaluate("notices") == []
    asked = page.tab.evaluate("tones")
    page.tab.keyboard.press("Escape")
    page.live()
    server.post("general", "jonas", "looked at")
    expect(page.lines).to_have_count(2)
    page.look(False)
    page.until(lambda: page.closed(page.streams[-1]), "the stream's end")
    server.post("general", "jonas", "now")
    expect(page.lines).to_have_count(3)
    page.until(lambda: page.tab.evaluate("notices") == ["general | jonas now"], "the notice")
    assert page.tab.evaluate("tones") == asked + 1
    page.tab.reload()
    expect(page.tab.locator("#notify")).to_be_checked()


def test_15_a_browser_that_forbids_notices_is_told_of(server, browser, open_page):
    context = browser()
    context.add_init_script(NOTICES.replace("'granted'", "'denied'"))
    page = open_page("general", "mira", context=context)
    page.tab.get_by_role("button", name="Rooms").click()
    page.tab.get_by_label("Notify me").click()
    expect(page.tab.get_by_text("does not allow it")).to_be_visible()
    expect(page.tab.get_by_label("Notify me")).not_to_be_checked()


@pytest.mark.parametrize("width, height", [(320, 560), (640, 400), (1280, 800)])
def test_17_nothing_is_cut_off_on_any_screen(server, open_page, width, height):
    """320 px wide; 640 by 400 is what a window of 1280 by 800 has at 200 % zoom."""
    server.fill("general", 30)
    page = open_page("general", "mira", viewport={"width": width, "height": height})
    expect(page.lines).to_have_count(30)
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    expect(page.message).to_be_in_viewport(ratio=1)
    for button in "Find", "Rooms":
        page.tab.get_by_role("button", name=button).click()
        panel = page.tab.get_by_role("dialog")
        box = panel.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= height
        page.tab.keyboard.press("Escape")
        expect(panel).to_be_hidden()
        expect(page.tab.get_by_role("button", name=button)).to_be_focused()


def test_17_every_field_has_a_label_and_focus_shows(open_page):
    page = open_page("general", "mira")
    page.tab.get_by_role("button", name="Rooms").click()
    assert page.tab.evaluate("[...document.querySelectorAll('input, textarea')].every((field) => field.labels.length)")
    for _ in range(8):
        page.tab.keyboard.press("Tab")
        shown = page.tab.evaluate(
            "[document.activeElement, document.activeElement.parentElement].some((it) => getComputedStyle(it).outlineStyle !== 'none')"
        )
        assert shown, page.tab.evaluate("document.activeElement.outerHTML")


def test_17_the_page_moves_nothing_of_its_own(open_page):
    """There is nothing that reduced motion would have to stop."""
    page = open_page(reduced_motion="no-preference")
    assert page.tab.evaluate("document.getAnimations().length") == 0
    assert page.tab.evaluate("getComputedStyle(scroller).scrollBehavior") == "auto"


def test_17_dark_and_light_follow_the_system(open_page):
    paper = lambda scheme: open_page(color_scheme=scheme).tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper("light") != paper("dark")


def outlined(part):
    """Whether an outline is to be seen around a part of the page."""
    style, colour = part.evaluate("part => [getComputedStyle(part).outlineStyle, getComputedStyle(part).outlineColor]")
    return style != "none" and colour != "rgba(0, 0, 0, 0)"


def test_17_forced_colours_leave_what_a_background_says(server, open_page):
    """A system of high contrast takes backgrounds away: the outline says it there."""
    server.append("general", "[2018-02-25 14:00:51] mira: hello\n[2018-02-25 14:00:52] mira: hello omri\n")
    for forced in "none", "active":
        page = open_page("general", "omri", forced_colors=forced)
        expect(page.lines).to_have_count(2)
        page.live()
        page.message.press_sequentially("@m")
        option = page.tab.get_by_role("option", selected=True)
        expect(option).to_have_text("mira")
        seen = [outlined(part) for part in (page.lines.nth(0), page.lines.nth(1), option)]
        assert seen == [False, forced == "active", forced == "active"]


def test_19_one_goes_to_any_room_by_its_name(server, browser, open_page):
    context = browser()
    page = open_page(context=context)
    page.tab.goto(server.url)
    page.tab.get_by_role("button", name="Rooms").click()
    field = page.tab.get_by_label("Go to a room")
    expect(field).to_be_focused()
    field.fill("tea & <biscuits>?")
    field.press("Enter")
    expect(page.tab.get_by_role("heading", level=1)).to_have_text("tea & <biscuits>?")
    page.tab.get_by_role("button", name="Rooms").click()
    expect(page.tab.locator("#lately a")).to_have_text(["general"])
    page.tab.locator("#lately a").click()
    expect(page.tab.get_by_role("heading", level=1)).to_have_text("general")
    page.tab.get_by_role("button", name="Rooms").click()
    expect(page.tab.locator("#lately a")).to_have_text(["tea & <biscuits>?"])
    assert not server.file("tea & <biscuits>?").exists(), "looking at a room makes none"


def test_19_a_new_private_room_has_a_name_that_nobody_guesses(browser, open_page):
    context = browser()
    names = set()
    for _ in range(3):
        page = open_page(context=context)
        page.tab.get_by_role("button", name="Rooms").click()
        page.tab.get_by_role("button", name="New private room").click()
        heading = page.tab.get_by_role("heading", level=1)
        expect(heading).to_have_text(re.compile(r"^(\d{1,10}-){3}\d{1,10}$"))
        names.add(heading.inner_text())
    assert len(names) == 3


@pytest.mark.parametrize("kept", ["x", "{}", "null", "[7, {}]", '{"username": 7, "message": {}}'])
def test_odd_memories_do_no_harm(server, browser, open_page, kept):
    context = browser()
    context.add_init_script(
        f"if (location.protocol === 'http:') for (const key of ['rooms', 'out:general:1', 'seen:general', 'notify']) localStorage['catchat:' + key] = {kept!r};"
    )
    page = open_page("general", "mira", context=context)
    page.say("still here")
    expect(page.texts).to_have_text(["still here"])


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


def test_17_the_log_is_one_stop_of_the_tab_key(server, open_page):
    """Each time is a link: from the field back to Rooms it took 203 steps."""
    server.fill("general", 200)
    page = open_page("general", "mira")
    expect(page.lines).to_have_count(100)
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


@pytest.mark.parametrize("name", [".", "..", "   "])
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
