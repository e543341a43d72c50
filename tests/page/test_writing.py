"""What one writes arrives, once, whatever happens in between."""

import re
import time

import pytest
from playwright.sync_api import expect

from conftest import ChatPage, hold, is_post

ABSENCES, SHORT_S = 5, 1.9


def test_10_the_name_is_asked_once_and_easily_changed(server, browser, open_page):
    context = browser()
    page = open_page("general", context=context)
    expect(page.username).to_be_focused()
    page.message.fill("hello")
    page.message.press("Enter")
    assert server.messages("general") == []
    page.username.fill("  omri ")
    page.say("hello")
    expect(page.texts).to_have_text(["hello"])
    again = open_page("kitchen", context=context)
    expect(again.username).to_have_value("  omri ")
    expect(again.message).to_be_focused()
    again.username.fill("omri the second")
    again.say("hello")
    expect(again.texts).to_have_text(["hello"])
    assert server.messages("general") == ["omri: hello"]
    assert server.messages("kitchen") == ["omri the second: hello"]


def test_10_each_room_keeps_its_draft(browser, open_page):
    context = browser()
    kitchen, garden = open_page("kitchen", context=context), open_page("garden", context=context)
    kitchen.message.fill("half a thou")
    garden.message.fill("another\none")
    kitchen.tab.reload()
    garden.tab.reload()
    expect(kitchen.message).to_have_value("half a thou")
    expect(garden.message).to_have_value("another\none")


def test_11_enter_sends_and_shift_enter_breaks_the_line(server, open_page):
    page = open_page("general", "omri")
    page.message.press("Enter")
    page.message.press_sequentially("one")
    page.message.press("Shift+Enter")
    page.message.press_sequentially("two")
    assert server.messages("general") == []
    page.message.press("Enter")
    expect(page.lines).to_have_count(1)
    expect(page.message).to_have_value("")
    assert server.messages("general") == ["omri: one⏎two"]


def test_11_on_a_touch_screen_enter_breaks_the_line(server, open_page):
    page = open_page("general", "omri", has_touch=True, is_mobile=True, viewport={"width": 390, "height": 780})
    page.message.press_sequentially("one")
    page.message.press("Enter")
    page.message.press_sequentially("two")
    page.tab.get_by_role("button", name="Send").tap()
    expect(page.lines).to_have_count(1)
    assert server.messages("general") == ["omri: one⏎two"]


def test_17_the_keyboard_alone_suffices(server, open_page):
    page = open_page("general", "omri")
    page.username.focus()
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.type("no mouse")
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("Space")
    expect(page.texts).to_have_text(["no mouse"])


def test_the_same_words_again_are_another_message(server, open_page):
    page = open_page("general", "omri")
    for _ in range(3):
        page.say("ok")
    expect(page.texts).to_have_text(["ok"] * 3)
    expect(page.pending).to_have_count(0)
    assert server.messages("general") == ["omri: ok"] * 3


def test_the_same_words_again_before_the_first_are_shown(server, browser):
    """The newest cursor that the page has seen may be that of its own post."""
    context = browser()
    opening = lambda route: route.request.method == "POST" or "tail=" in route.request.url
    context.route("**/chat/general*", lambda route: route.continue_() if opening(route) else None)
    page = ChatPage(context, server.room_url("general"), "omri")
    for count in 1, 2:
        page.say("ok")
        page.until(lambda: len(server.messages("general")) == count, "the message in the log")
        expect(page.pending).to_have_count(count)
    assert server.messages("general") == ["omri: ok", "omri: ok"]


def test_12_a_restart_while_a_message_is_being_written(server, open_page):
    page = open_page("general", "omri")
    page.say("before")
    expect(page.texts).to_have_text(["before"])
    expect(page.pending).to_have_count(0)
    page.message.press_sequentially("while it ")
    server.kill()
    page.message.press_sequentially("was away")
    page.message.press("Enter")
    page.say("ok")
    page.say("ok")
    expect(page.pending.locator(".text")).to_have_text(["while it was away", "ok", "ok"])
    expect(page.away).to_be_visible()
    page.message.press_sequentially("still writing")
    server.start()
    expect(page.texts).to_have_text(["before", "while it was away", "ok", "ok"])
    expect(page.pending).to_have_count(0)
    expect(page.away).to_be_hidden()
    expect(page.message).to_have_value("still writing")
    assert server.messages("general") == ["omri: before", "omri: while it was away", "omri: ok", "omri: ok"]


def test_13_a_short_absence_is_not_worth_a_word(server, open_page):
    page = open_page("general", "omri")
    page.tab.evaluate(
        """() => {
          window.said = 0;
          const away = document.getElementById('away');
          new MutationObserver(() => { said += !away.hidden }).observe(away, { attributes: true });
        }"""
    )
    # A machine that is busy may take longer to start a server: then a word is due.
    for attempt in range(ABSENCES):
        began = time.monotonic()
        server.kill()
        page.say(f"quick {attempt}")
        expect(page.pending).to_have_count(1)
        server.start()
        expect(page.texts).to_have_count(attempt + 1)
        if time.monotonic() - began < SHORT_S:
            assert page.tab.evaluate("said") == 0
            return
        page.tab.evaluate("window.said = 0")
    raise AssertionError(f"of {ABSENCES} absences, none was short")


def test_13_one_can_try_again_now(server, open_page):
    page = open_page("general", "omri")
    server.kill()
    page.say("patience")
    expect(page.tab.locator("#countdown")).to_have_text(re.compile("Next try in [4-9] s"))
    server.start()
    page.tab.get_by_role("button", name="Try now").click()
    expect(page.texts).to_have_text(["patience"], timeout=3500)


def test_12_what_waits_survives_the_page(server, browser, open_page):
    context = browser()
    page = open_page("general", "omri", context=context)
    expect(page.lines).to_have_count(0)
    server.kill()
    page.say("one")
    page.say("two")
    expect(page.pending).to_have_count(2)
    page.tab.close()
    server.start()
    other = open_page("kitchen", context=context)
    expect(other.pending).to_have_count(0)
    again = open_page("general", context=context)
    expect(again.texts).to_have_text(["one", "two"])
    again.tab.reload()
    expect(again.pending).to_have_count(0)
    assert server.messages("general") == ["omri: one", "omri: two"]


def test_what_waits_for_a_room_goes_to_no_other(server, browser, open_page):
    context = browser()
    page = open_page("tea: green", "omri", context=context)
    server.kill()
    page.say("for the green one")
    expect(page.pending).to_have_count(1)
    page.tab.close()
    server.start()
    for room in "tea", "te":
        other = open_page(room, context=context)
        other.say("here")
        expect(other.texts).to_have_text(["here"])
        expect(other.pending).to_have_count(0)
    expect(open_page("tea: green", context=context).texts).to_have_text(["for the green one"])


def test_12_a_refusal_is_told_in_the_servers_words_and_can_be_mended(server, open_page):
    page = open_page("general", "omri: the first")
    page.say("hello")
    note = page.pending.locator(".note")
    expect(note).to_contain_text("username")
    page.username.fill("omri")
    page.say("this one is not held up")
    expect(page.texts).to_have_text(["this one is not held up"])
    page.tab.reload()
    expect(note).to_contain_text("username")
    page.message.fill("and goodbye")
    page.pending.get_by_role("button", name="Edit").click()
    expect(page.message).to_be_focused()
    expect(page.message).to_have_value("hello\nand goodbye")
    page.message.press("Enter")
    expect(page.pending).to_have_count(0)
    expect(page.texts).to_have_text(["this one is not held up", "hello\nand goodbye"])
    assert server.messages("general") == ["omri: this one is not held up", "omri: hello⏎and goodbye"]


@pytest.mark.parametrize("text", ["é" * 8193, "x" * 200_000, "bell \a"], ids=["long", "huge", "control"])
def test_what_the_server_cannot_take_holds_up_nothing(server, open_page, text):
    page = open_page("general", "omri")
    page.message.fill(text)
    page.message.press("Enter")
    expect(page.pending.locator(".note")).not_to_be_empty()
    page.say("next")
    expect(page.texts).to_have_text(["next"])
    page.pending.get_by_role("button", name="Discard").click()
    expect(page.pending).to_have_count(0)
    page.tab.reload()
    expect(page.texts).to_have_text(["next"])
    expect(page.pending).to_have_count(0)


def test_another_answer_than_the_servers_changes_nothing(server, open_page):
    """A hotel's login page, or a proxy without its server, is no answer to a post."""
    page = open_page("general", "omri")
    answers = iter([(200, "Please log in"), (404, "Not found"), (502, "Bad gateway")])

    def answer(route):
        status, body = next(answers, (None, None))
        route.fulfill(status=status, body=body) if status else route.continue_()

    page.tab.route("**/chat/general", lambda route: answer(route) if route.request.method == "POST" else route.continue_())
    page.say("patience")
    expect(page.texts).to_have_text(["patience"])
    assert server.messages("general") == ["omri: patience"]
    assert next(answers, None) is None


def test_13_where_only_posts_fail_they_are_not_repeated_without_end(server, open_page):
    """Whenever reading went well it posted again at once, a hundred times a second, and said nothing."""
    page = open_page("general", "omri")
    page.live()
    attempts = []

    def refuse(route):
        attempts.append(route)
        route.fulfill(status=403, body="not from here")

    page.tab.route("**/chat/general", lambda route: refuse(route) if route.request.method == "POST" else route.continue_())
    began = time.monotonic()
    page.say("patience")
    expect(page.pending.locator(".note")).to_have_text("Not sent yet.")
    page.until(lambda: len(attempts) > 3, "a few attempts")
    assert time.monotonic() - began > 3
    expect(page.away).to_be_hidden()
    page.tab.unroute("**/chat/general")
    expect(page.texts).to_have_text(["patience"])
    expect(page.pending).to_have_count(0)
    assert server.messages("general") == ["omri: patience"]


def test_a_store_that_cannot_take_it_says_so_and_is_asked_again(server, open_page):
    page = open_page("general", "omri")
    # No directory, no append.
    server.store.rename(server.store.with_name("elsewhere"))
    page.say("keep this")
    expect(page.pending.locator(".note")).not_to_be_empty()
    server.store.with_name("elsewhere").rename(server.store)
    expect(page.texts).to_have_text(["keep this"])
    assert server.messages("general") == ["omri: keep this"]


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


def test_12_the_focus_stays_on_a_button_of_a_waiting_message(server, open_page):
    """Each try of another message made all buttons anew, and the focus was lost."""
    page = open_page("general", "mira")
    page.say("bad \a")
    edit = page.pending.get_by_role("button", name="Edit").first
    expect(edit).to_be_visible()
    held, _ = hold(page, is_post)
    page.say("next")
    page.until(lambda: held, "the post")
    edit.focus()
    held[0].fulfill(status=502, headers={"Server-Name": "x"}, body="not now")
    expect(page.pending.get_by_text("not now")).to_be_visible()
    expect(edit).to_be_focused()
    page.pending.get_by_role("button", name="Discard").first.press("Enter")
    expect(page.message).to_be_focused()
