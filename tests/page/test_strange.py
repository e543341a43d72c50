"""Several tabs, and answers that servers and proxies seldom give: nothing is doubled, stuck, or asked without end."""

import time

import pytest
from playwright.sync_api import expect

from conftest import ChatPage, is_post


def resets(route):
    """Answers a stream as a server does whose log is always another one."""
    body = "event: server\ndata: alpha\n\nevent: reset\ndata: x\n\n"
    route.fulfill(content_type="text/event-stream", headers={"Server-Name": "alpha"}, body=body)


@pytest.mark.parametrize("replaced", [False, True], ids=["kept", "replaced"])
def test_12_two_tabs_post_a_waiting_message_once_whatever_becomes_of_the_log(server, browser, replaced):
    """The tab that came second posted it again, after the first one's line, or in the new log."""
    server.fill("general", 3)
    context = browser()
    allowed = []

    def post(route):
        if is_post(route.request) and route.request.frame.page not in allowed:
            route.fulfill(status=503, headers={"Server-Name": "alpha"}, body="no store\n")
        else:
            route.continue_()

    context.route("**/chat/general", post)
    first = ChatPage(context, server.room_url("general"), "ann")
    expect(first.lines).to_have_count(3)
    first.say("once please")
    second = ChatPage(context, server.room_url("general"))
    expect(second.pending.locator(".note")).to_have_text("no store")
    if replaced:
        server.file("general").unlink()
        server.fill("general", 2, first=50)
    allowed.append(first.tab)
    expect(first.texts.last).to_have_text("once please")
    expect(second.pending).to_have_count(0)
    allowed.append(second.tab)
    second.say("and another")
    expect(second.texts.last).to_have_text("and another")
    assert [said for said in server.messages("general") if said.startswith("ann")] == ["ann: once please", "ann: and another"]


def test_12_what_one_tab_discards_is_gone_in_the_other(server, browser):
    context = browser()
    first = ChatPage(context, server.room_url("general"), "ann")
    first.say("bad \a")
    expect(first.pending.get_by_role("button", name="Discard")).to_be_visible()
    second = ChatPage(context, server.room_url("general"))
    expect(second.pending).to_have_count(1)
    first.pending.get_by_role("button", name="Discard").click()
    expect(second.pending).to_have_count(0)


def test_12_a_message_that_a_proxy_refuses_can_be_discarded(server, open_page):
    """It was tried again for ever, and all that was written after it waited."""
    page = open_page("general", "ann")
    page.live()
    page.tab.route(
        "**/chat/general",
        lambda route: route.fulfill(status=403, body="Blocked") if is_post(route.request) and "SELECT" in route.request.post_data else route.continue_(),
    )
    page.say("SELECT 1")
    page.say("second")
    page.pending.filter(has_text="SELECT").get_by_role("button", name="Discard").click()
    expect(page.texts).to_have_text(["second"])
    assert server.messages("general") == ["ann: second"]


def test_12_a_cursor_that_is_refused_again_and_again_is_not_repeated_without_end(server, open_page):
    """Behind a proxy with two stores it posted two hundred times a second."""
    server.fill("general", 3)
    page = open_page("general", "ann")
    page.live()
    attempts = []

    def refuse(route):
        attempts.append(route)
        etag = f'"{["0000aaaa", "0000bbbb"][len(attempts) % 2]}-100"'
        route.fulfill(status=412, headers={"Server-Name": "alpha", "ETag": etag}, body="no\n")

    page.tab.route("**/chat/general", lambda route: refuse(route) if is_post(route.request) else route.continue_())
    page.say("hello")
    began = time.monotonic()
    page.until(lambda: len(attempts) > 3, "a few attempts")
    assert time.monotonic() - began > 3
    page.tab.unroute("**/chat/general")
    expect(page.texts.last).to_have_text("hello")


def test_14_a_stream_that_always_begins_anew_is_not_asked_without_end(server, open_page):
    server.fill("general", 30)
    page = open_page()
    page.live()
    page.tab.route("**/chat/general?after=*", resets)
    server.stop()
    server.start()
    page.until(lambda: len(page.streams) > 1, "another stream")
    began = time.monotonic()
    page.until(lambda: len(page.streams) > 4, "a few streams")
    assert time.monotonic() - began > 3
    page.tab.unroute("**/chat/general?after=*")
    page.live()


def test_14_a_poll_that_lands_in_the_middle_of_a_line_begins_anew(server, open_page):
    """A line was taken out of the log, and others were written: the half of one was shown, and stayed."""
    server.fill("general", 10)
    page = open_page()
    page.live()
    page.look(False)
    page.until(lambda: page.closed(page.streams[-1]), "the stream's end")
    lines = server.lines("general")
    del lines[4]
    news = ["[2018-02-25 19:00:52] bob: the first new message", "[2018-02-25 19:00:53] bob: the second"]
    server.file("general").write_text("".join(f"{line}\n" for line in lines + news))
    page.look(True)
    expect(page.texts.last).to_have_text("the second")
    expect(page.texts).to_have_text([line.split(": ", 1)[1] for line in lines + news])


def test_04_older_lines_come_though_reading_them_failed_once(server, open_page):
    """It said that it was loading, for ever."""
    server.fill("general", 300)
    page = open_page()
    expect(page.lines).to_have_count(100)
    failed = []

    def fail(route):
        failed.append(route)
        route.abort()

    page.tab.route("**/chat/general", lambda route: fail(route) if "range" in route.request.headers else route.continue_())
    page.scroll(0)
    page.until(lambda: failed, "a read that fails")
    page.tab.unroute("**/chat/general")
    page.until(lambda: page.lines.count() > 100, "older lines")


def test_03_the_number_of_unread_lines_never_falls(server, open_page):
    """When more came than is read at once, only what was loaded then was counted."""
    server.fill("general", 3)
    page = open_page("general", "mira")
    page.live()
    page.look(False)
    server.fill("general", 150, first=4)
    expect(page.tab).to_have_title("(150) general · catchat")
    server.append("general", f"[2018-03-25 14:00:51] omri: {'y' * 9000}\n" * 20)
    page.until(lambda: page.lines.count() == 100, "it is read anew")
    assert page.tab.title() == "(150) general · catchat"


def test_08_an_address_of_no_line_reads_nothing(server, open_page):
    """The cursor 0-0 made it read the whole log, of whatever size."""
    server.fill("general", 1000)
    page = open_page()
    page.live()
    seen = len(page.reads())
    page.tab.evaluate("location.hash = '#0-0'")
    server.post("general", "omri", "and on")
    expect(page.texts.last).to_have_text("and on")
    assert page.reads()[seen:] == []
