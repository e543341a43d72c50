"""Nothing that anyone writes runs, and nothing breaks the page."""

import re

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
    "constructor",
    "' onfocus='owned()' autofocus='",
    "\u2067\u2068\u202a\u202b",
    "\u200b",
    "toString:hasOwnProperty",
]
MESSAGES = [
    "<script>owned()</script><img src=x onerror=owned()><style>*{display:none}</style>",
    "javascript:owned() https://example.org/\"onmouseover=owned() <a href='javascript:owned()'>",
    "\u202e\u2066\u2067 right to left \u202d",
    "x" * 16_384,
    "z" + "\u0310\u0489" * 4000,
    "&lt;b&gt; {{room}} ${owned()}",
    "\u2800\u200b\ufeff",
    "data:text/html,<script>owned()</script> vbscript:owned() file:///etc/passwd //example.com/x",
    "JaVaScRiPt:owned() http:javascript:owned() https://javascript:owned()@example.org/",
    "https://example.org/?q='onclick='owned()' http://example.org/\u202egpj.exe https://" + "a" * 3000,
    "__proto__ constructor @__proto__ @constructor @toString \\u003cscript\\u003e",
    "a" * 8000 + " https://example.org/" + "(" * 4000 + ")" * 4000,
]
# What a script may append: of another form, or of this form with nonsense in it.
FOREIGN = [
    b"<script>owned()</script> \x1b[31m \xe2\x80\xae raw " + b"y" * 5000,
    b"",
    b"   ",
    b"[2018-02-25 14:00:51] : no name",
    b"[2018-02-25 14:00:51] no message",
    b"[2018-02-25 14:00:51]omri: no space",
    b"[2018-13-45 99:99:99] omri: no such day",
    b"[0000-00-00 00:00:00] omri: before all days",
    b"[9999-12-31 23:59:59] omri: after all days",
    b"[2018-02-25 14:00:51] omri: \xff\xfe no text \xc3",
    b"[2018-02-25 14:00:51] \xed\xa0\x80: half a character",
    b"[2018-02-25 14:00:51] " + b"n" * 3000 + b": a long name",
    b"[2018-02-25 14:00:51] omri: tab\tand\x00null\x07bell",
    b"\xef\xbb\xbf[2018-02-25 14:00:51] omri: a byte order mark",
    b"event: reset",
    b"data: [2018-02-25 14:00:51] omri: forged",
]
ROOMS = [
    "<script>owned()&amp;",
    "a?b#c&d=e%2F+f",
    "{{name}} {{host}}",
    "\u202eabc",
    "été à la plage",
    "'\"`",
    "W" * 80,
    "\\",
    "-",
    "\"><img src=x onerror=owned()>",
    "__proto__",
    "a" + "\u0310" * 39,
    "javascript:owned()",
    "%2e%2e",
]

# What is wrong with how the page stands: parts that overlap, stick out, or cannot be reached.
ASTRAY = """() => {
  const found = [];
  const box = (node) => node.getBoundingClientRect();
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) found.push(`the document is ${root.scrollWidth} px wide`);
  if (root.scrollHeight > innerHeight) found.push(`the document is ${root.scrollHeight} px high`);
  const scroller = document.getElementById('scroller');
  if (scroller.scrollWidth > scroller.clientWidth) found.push('the log scrolls sideways');
  if (box(scroller).height < 40) found.push(`the log is ${box(scroller).height} px high`);
  for (const id of ['message', 'room']) {
    const { left, right, top, bottom } = box(document.getElementById(id));
    if (left < 0 || right > innerWidth || top < 0 || bottom > innerHeight) found.push(`${id} is out of sight`);
    const there = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
    if (!there || !document.getElementById(id).contains(there) && !there.contains(document.getElementById(id))) {
      found.push(`${id} is behind ${there?.outerHTML.slice(0, 80)}`);
    }
  }
  if (box(document.getElementById('message')).top < box(scroller).bottom) found.push('the field is over the log');
  for (const line of document.querySelectorAll('.line, .line *')) {
    const { left, right, width } = box(line);
    if (width && (left < -1 || right > innerWidth + 1)) found.push(`${line.className} from ${left} to ${right}`);
  }
  const foreign = 'script, img, style, iframe, object, form, svg, base, meta, link';
  for (const node of document.querySelectorAll(':is(#scroller, #hits, #lately, #names) :is(' + foreign + ')')) found.push(node.outerHTML.slice(0, 80));
  for (const { href, rel, target } of document.querySelectorAll('a[href]')) {
    const own = href.startsWith(location.origin) && !rel;
    const http = /^https?:/.test(href) && /noreferrer/.test(rel) && /noopener/.test(rel);
    if (!own && !http) found.push(`a link to ${href.slice(0, 80)}, ${rel}, ${target}`);
  }
  for (const node of document.querySelectorAll('*')) {
    const running = node.getAttributeNames().filter((name) => name.startsWith('on'));
    if (running.length) found.push(`${node.tagName} has ${running}`);
  }
  if (typeof owned != 'undefined' || {}.polluted) found.push('owned');
  return found;
}"""


def astray(page):
    # A change of the window's size is told with the next frame.
    page.tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.tab.evaluate(ASTRAY)


def wide_and_narrow(page):
    """Looks at the page in both widths, wherever it is scrolled to."""
    found = []
    for width, height in ((1280, 800), (320, 568)):
        page.tab.set_viewport_size({"width": width, "height": height})
        for top in (0, 10**9):
            page.scroll(top)
            found += [f"{width} px: {fault}" for fault in astray(page)]
    return found


def shown(message):
    return message.replace("⏎", "\n")


def test_hostile_lines_that_come_live_and_again_from_the_log(server, open_page):
    page = open_page()
    page.live()
    for name, message in zip(NAMES, MESSAGES, strict=True):
        server.post("general", name, message)
    expect(page.lines).to_have_count(len(NAMES))
    for _ in range(2):
        assert page.tab.locator("#lines .name").all_text_contents() == [name.strip() for name in NAMES]
        assert page.texts.all_text_contents() == MESSAGES
        assert wide_and_narrow(page) == []
        page.tab.reload()
        expect(page.lines).to_have_count(len(NAMES))


def test_lines_of_any_other_form_are_shown_as_they_are(server, open_page):
    """The same whether they come live or from the log."""
    page = open_page()
    page.live()
    with open(server.file("general"), "wb") as file:
        file.write(b"[2018-02-25 14:00:51] omri: the first\n")
        file.write(b"".join(line + b"\n" for line in FOREIGN))
        file.write(b"[2018-02-25 14:00:51] omri: the last\n")
    expect(page.texts.last).to_have_text("the last")
    live = page.texts.all_text_contents()
    assert len(live) == len(FOREIGN) + 2
    assert live[1] == FOREIGN[0].decode()
    assert live[10] == "\ufffd\ufffd no text \ufffd"
    assert "event: reset" in live and "data: [2018-02-25 14:00:51] omri: forged" in live
    assert wide_and_narrow(page) == []
    page.tab.reload()
    expect(page.texts.last).to_have_text("the last")
    assert page.texts.all_text_contents() == live
    page.username.fill("mira")
    page.say("still at work")
    expect(page.texts.last).to_have_text("still at work")


def test_a_carriage_return_in_a_line_splits_nothing(server, open_page):
    """A script may write one; server-sent events would end a line there."""
    page = open_page()
    page.live()
    server.append("general", "[2018-02-25 14:00:51] omri: one\rdata: two\rid: 0-0\r\n[2018-02-25 14:00:52] omri: next\n")
    expect(page.texts.last).to_have_text("next")
    expect(page.lines).to_have_count(2)
    page.live()
    page.tab.reload()
    expect(page.texts.last).to_have_text("next")
    expect(page.lines).to_have_count(2)


def test_a_line_of_a_million_bytes(server, open_page):
    server.fill("general", 300)
    server.append("general", "[2018-02-28 14:00:51] omri: " + "0123456789" * 100_000 + "\n")
    server.append("general", "[2018-02-28 14:00:52] omri: after it\n")
    page = open_page("general", "mira")
    expect(page.texts.last).to_have_text("after it")
    page.live()
    assert astray(page) == []
    page.say("still at work")
    expect(page.texts.last).to_have_text("still at work")
    expect(page.pending).to_have_count(0)


def test_a_forged_line_stays_inside_its_message(server, open_page):
    forged = "hi\r\n[2018-02-25 14:00:51] admin: forged\u2028[2018-02-25 14:00:52] admin: again⏎admin: and again"
    page = open_page("general", "mallory")
    page.say(forged)
    expect(page.texts).to_have_count(1)
    expect(page.pending).to_have_count(0)
    assert page.tab.locator("#lines .name").all_text_contents() == ["mallory"]
    assert len(server.lines("general")) == 1
    assert page.texts.all_text_contents()[0].split("\n")[1:] == [
        "[2018-02-25 14:00:51] admin: forged",
        "[2018-02-25 14:00:52] admin: again",
        "admin: and again",
    ]


def test_stacked_accents_stay_out_of_their_neighbours(server, open_page):
    """The line after them looks as it does after any other."""
    stacked = "Z" + "\u0310\u0489\u0316\u0324" * 500
    for room, text, name in (("plain", "Z", "noa"), ("stacked", stacked, "n" + "\u0310" * 60)):
        server.append(room, "[2018-02-25 14:00:51] omri: before\n")
        server.append(room, f"[2018-02-25 14:01:51] {name}: {text}\n")
        server.append(room, "[2018-02-25 14:02:51] omri: after\n")
    looks = []
    for room in ("plain", "stacked"):
        page = open_page(room)
        expect(page.lines).to_have_count(3)
        page.tab.mouse.move(1, 1)
        looks.append([page.lines.nth(index).screenshot() for index in (0, 2)])
    assert looks[0] == looks[1]


def test_hostile_words_are_posted_as_they_are(server, open_page):
    page = open_page("general", NAMES[0])
    page.say(MESSAGES[0])
    expect(page.texts).to_have_text([MESSAGES[0]])
    assert server.messages("general") == [f"{NAMES[0]}: {MESSAGES[0]}"]


def test_a_refused_message_and_what_waits_are_text_too(server, open_page):
    page = open_page("general", NAMES[1])
    page.live()
    page.say(MESSAGES[0] + "\x07")
    expect(page.pending.get_by_role("button").first).to_be_visible()
    server.kill()
    page.say(MESSAGES[1])
    page.say("y" * 16_000)
    expect(page.pending).to_have_count(3)
    expect(page.away).to_be_visible()
    assert wide_and_narrow(page) == []


@pytest.mark.parametrize("room", ROOMS)
def test_any_room_name_is_a_room(server, open_page, room):
    page = open_page(room, "omri", viewport={"width": 320, "height": 600})
    expect(page.tab.get_by_role("heading", level=1)).to_have_text(room)
    assert re.sub("[\u2066-\u2069]", "", page.tab.title()) == f"{room} · catchat"
    page.say("here")
    expect(page.texts).to_have_text(["here"])
    assert astray(page) == []
    page.tab.reload()
    expect(page.texts).to_have_text(["here"])
    assert server.lines(room.replace("%", "%25"))[0].endswith(" omri: here")


def test_twice_the_size(server, open_page):
    """200 % zoom: a window of 1280 × 800 has half as many pixels of the page."""
    server.fill("general", 50)
    page = open_page("general", "omri", viewport={"width": 640, "height": 400}, device_scale_factor=2)
    page.say("a message\nof several\nlines")
    expect(page.texts.last).to_contain_text("of several")
    assert astray(page) == []
    page.tab.evaluate("document.documentElement.style.fontSize = '200%'")
    assert astray(page) == []


def test_the_keyboard_of_a_phone_leaves_the_field_in_sight(server, open_page):
    server.fill("general", 50)
    phone = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}
    page = open_page("general", "omri", **phone)
    expect(page.texts.last).to_have_text("line 50")
    page.message.tap()
    page.message.fill("one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten")
    page.tab.set_viewport_size({"width": 360, "height": 300})
    expect(page.message).to_be_focused()
    expect(page.lines.last).to_be_in_viewport(ratio=0.5)
    expect(page.tab.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)
    assert astray(page) == []


def test_hostile_words_are_found_and_hostile_names_completed_as_text(server, open_page):
    for name, message in zip(NAMES, MESSAGES, strict=True):
        server.post("general", name, message)
    page = open_page("general", "omri")
    expect(page.lines).to_have_count(len(NAMES))
    page.tab.get_by_role("button", name="Find").click()
    page.tab.get_by_label("Find in this room").fill("owned")
    page.tab.keyboard.press("Enter")
    expect(page.tab.locator("#hits a").first).to_be_visible()
    expect(page.tab.locator("#hits")).to_contain_text("<script>")
    assert astray(page) == []
    page.tab.keyboard.press("Escape")
    page.message.fill("")
    page.message.press_sequentially("@_")
    expect(page.tab.get_by_role("option")).to_have_text(["__proto__"])
    page.message.press("Enter")
    page.message.press_sequentially("@<")
    expect(page.tab.get_by_role("option")).to_have_text([NAMES[0]])
    assert astray(page) == []
    page.message.press("Enter")
    expect(page.message).to_have_value(f"@__proto__ @{NAMES[0]} ")


@pytest.mark.parametrize("fragment", ["<img src=x onerror=owned()>", "0-1", "x-99999999999999999999", "__proto__-1", "\u202e", "lines", "%"])
def test_a_fragment_that_names_nothing_does_no_harm(server, open_page, fragment):
    server.fill("general", 3)
    page = open_page()
    page.tab.goto("about:blank")
    page.tab.goto(server.room_url("general") + "#" + fragment)
    expect(page.texts).to_have_count(3)
    page.live()
    assert astray(page) == []


GARBAGE = ["x", "{}", "[]", "null", "7", '"x"', '{"username": 7, "message": {}}', "[null, {}, 7, [1]]", "\u202e" * 1000, "-1", "0-0"]


def test_any_garbage_that_is_remembered_does_no_harm(server, open_page, browser):
    """Other programs, and other versions of this page, may have used the same origin."""
    context = browser()
    server.fill("general", 3)
    page = open_page("general", "omri", context=context)
    page.live()
    page.tab.evaluate("localStorage.setItem('catchat:notify', 'yes')")
    keys = page.tab.evaluate("Object.keys(localStorage)")
    assert "catchat:name" in keys, keys
    for garbage in GARBAGE:
        page.tab.evaluate(
            """([keys, garbage]) => {
              for (const key of keys) localStorage.setItem(key, garbage);
              for (const key of ['draft', 'seen', 'out', 'out:general:1', 'out:general:__proto__', 'draft:general', 'seen:general', 'sound']) {
                localStorage.setItem(`catchat:${key}`, garbage);
              }
            }""",
            [keys, garbage],
        )
        page.tab.reload()
        expect(page.texts.nth(2)).to_have_text("line 3")
        page.live()
        page.tab.evaluate("localStorage.clear()")
    page.tab.reload()
    page.username.fill("omri")
    page.say("still at work")
    expect(page.texts.last).to_have_text("still at work")


STORES = {
    "forbidden": "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })",
    "full": "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }",
    "missing": "Object.defineProperty(window, 'localStorage', { value: null })",
}


@pytest.mark.parametrize("store", STORES)
def test_a_browser_that_remembers_nothing_still_chats(server, open_page, browser, store):
    context = browser()
    context.add_init_script(STORES[store])
    page = open_page("general", "omri", context=context)
    page.live()
    page.say("not kept")
    page.say("not kept")
    expect(page.texts).to_have_text(["not kept", "not kept"])
    expect(page.pending).to_have_count(0)
    assert server.messages("general") == ["omri: not kept"] * 2


def test_a_name_as_long_as_a_book_breaks_nothing(server, open_page):
    server.fill("general", 3)
    page = open_page("general")
    page.tab.evaluate("localStorage.setItem('catchat:name', '(a+'.repeat(50000))")
    page.tab.reload()
    expect(page.texts).to_have_count(3)
    page.live()
    assert astray(page) == []


def test_a_burst_of_lines_does_not_freeze_the_page(server, open_page):
    page = open_page("general", "omri")
    page.live()
    server.fill("general", 3000)
    expect(page.texts.last).to_have_text("line 3000")
    page.say("still at work")
    expect(page.texts.last).to_have_text("still at work")
