"""Nothing that anyone writes runs, and nothing breaks the page."""

import pytest
from playwright.sync_api import expect

NAMES = [
    "<img src=x onerror=owned()>",
    "\"><script>owned()</script>",
    "\u202eevil\u202e",
    "W" * 64,
    "a" + "\u0310" * 63,
    "__proto__",
    "{{name}}",
]
MESSAGES = [
    "<script>owned()</script><img src=x onerror=owned()><style>*{display:none}</style>",
    "javascript:owned() https://example.org/\"onmouseover=owned() <a href='javascript:owned()'>",
    "\u202e\u2066\u2067 right to left \u202d",
    "x" * 16_384,
    "z" + "\u0310\u0489" * 4000,
    "&lt;b&gt; {{room}} ${owned()}",
    "\u2800\u200b\ufeff",
]


def post(server, room, username, message):
    # Through the file: no server in between that might refuse what a script may write.
    server.append(room, f"[2018-02-25 14:00:51] {username}: {message}\n")


@pytest.mark.parametrize("width", [320, 1100])
def test_hostile_lines_are_text(server, open_page, width):
    for index in range(7):
        post(server, "general", NAMES[index], MESSAGES[index])
    server.append("general", "<script>owned()</script> \x1b[31m \u202e raw " + "y" * 5000 + "\n")
    page = open_page(viewport={"width": width, "height": 600})
    expect(page.lines).to_have_count(8)
    assert page.tab.locator("#lines .name").all_text_contents() == NAMES
    assert page.texts.all_text_contents()[:7] == MESSAGES
    assert page.tab.evaluate("typeof owned") == "undefined"
    expect(page.tab.locator("#lines :is(script, img, style)")).to_have_count(0)
    expect(page.tab.locator("#lines a:not([href^='https://example.org/'])")).to_have_count(0)
    assert page.tab.evaluate("scroller.scrollWidth <= scroller.clientWidth"), "wider than the window"
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    heights = page.lines.evaluate_all("lines => lines.map((line) => line.offsetHeight)")
    assert heights[5] < 150, "a neighbour's line is as high as ever"


def test_hostile_words_are_posted_as_they_are(server, open_page):
    page = open_page("general", NAMES[0])
    page.say(MESSAGES[0])
    expect(page.texts).to_have_text([MESSAGES[0]])
    assert server.messages("general") == [f"{NAMES[0]}: {MESSAGES[0]}"]


@pytest.mark.parametrize(
    "room",
    ["<script>owned()&amp;", "a?b#c&d=e%2F+f", "{{name}} {{host}}", "\u202eabc", "été à la plage", "'\"`", "W" * 80, "\\", "-"],
)
def test_any_room_name_is_a_room(server, open_page, room):
    page = open_page(room, "omri", viewport={"width": 320, "height": 600})
    expect(page.tab.get_by_role("heading")).to_have_text(room)
    page.say("here")
    expect(page.texts).to_have_text(["here"])
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= 320
    page.tab.reload()
    expect(page.texts).to_have_text(["here"])
