"""The live page: a stream where there is one, nothing lost and nothing doubled where it breaks."""

import threading
import time

import pytest
from playwright.sync_api import expect

from conftest import ChatPage, until
from proxy import Proxy


@pytest.fixture
def proxy(server):
    proxy = Proxy(server)
    yield proxy
    proxy.close()


@pytest.fixture
def open_through(proxy, browser):
    """Opens a room's page through the proxy."""

    def open_room(room="general", name=None):
        return ChatPage(browser(), f"http://127.0.0.1:{proxy.port}/{room}", name)

    return open_room


def reads_since(page, count):
    return [url for _, url, _ in page.reads()[count:]]


def test_lines_come_by_the_stream_and_nothing_is_polled(server, open_page):
    server.fill("general", 300)
    page = open_page()
    page.live()
    expect(page.lines).to_have_count(100)
    seen = len(page.reads())
    for number in range(1, 21):
        server.post("general", "mira", f"live {number}")
        expect(page.texts.last).to_have_text(f"live {number}")
    assert reads_since(page, seen) == []
    assert len(page.streams) == 1


def test_eight_tabs_on_one_origin_and_posting_works_in_each(server, browser, open_page):
    """A browser has six connections to a host: eight streams would leave none for a post."""
    context = browser()
    tabs = []
    for number in range(8):
        for tab in tabs[-1:]:
            tab.look(False)
        tabs.append(open_page("general", f"omri{number}", context=context))
        tabs[-1].live()
    for number, tab in enumerate(tabs):
        tabs[number - 1].look(False)
        tab.look(True)
        tab.say(f"from tab {number}")
        expect(tab.texts.last).to_have_text(f"from tab {number}")
        expect(tab.pending).to_have_count(0)
    assert sum(not tab.closed(stream) for tab in tabs for stream in tab.streams) <= 2
    assert server.messages("general") == [f"omri{number}: from tab {number}" for number in range(8)]


def test_a_hidden_tab_closes_its_stream_and_takes_it_up_where_it_was(server, open_page):
    server.fill("general", 10)
    page = open_page()
    page.live()
    page.look(False)
    page.until(lambda: page.closed(page.streams[0]), "the stream's end")
    seen = len(page.reads())
    server.post("general", "mira", "while hidden")
    started = time.monotonic()
    expect(page.texts.last).to_have_text("while hidden")
    assert time.monotonic() - started > 5, "a hidden tab does not hurry"
    server.post("general", "mira", "still hidden")
    page.look(True)
    expect(page.texts.last).to_have_text("still hidden", timeout=8000)  # before the next poll
    page.live()
    assert len(page.streams) == 2
    size = server.file("general").stat().st_size
    assert page.streams[1].url.endswith(f"-{size}"), "the stream goes on at the newest line"
    assert not any("tail" in url for url in reads_since(page, seen))
    expect(page.lines).to_have_count(12)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_restart_under_the_page_loses_and_doubles_nothing(server, open_page, end):
    page, other = open_page("general", "mira"), open_page("general", "jonas")
    page.live()
    said = []
    for round_ in range(3):
        for index in range(4):
            if index == 2:
                getattr(server, end)()
                server.append("general", f"[2018-02-25 14:00:5{round_}] cron: between {round_}\n")
                said.append(f"cron: between {round_}")
            for who, name in (page, "mira"), (other, "jonas"):
                who.say(f"{round_}.{index}")
                said.append(f"{name}: {round_}.{index}")
        server.start()
        for who in page, other:
            expect(who.lines).to_have_count(len(said))
            expect(who.pending).to_have_count(0)
    messages = server.messages("general")
    assert sorted(messages) == sorted(said)
    for name in "mira", "jonas":
        assert [m for m in messages if m.startswith(name)] == [m for m in said if m.startswith(name)]
    shown = [message.partition(": ")[2] for message in messages]
    for who in page, other:
        expect(who.texts).to_have_text(shown)


def test_16_the_name_changes_when_another_server_takes_over(server, open_page):
    server.stop()
    server.start("--name", "first")
    page = open_page("general", "mira")
    shown = page.tab.locator("#server")
    expect(shown).to_have_text(r"first, on host " + page.tab.locator("#server-host").inner_text())
    page.live()
    server.stop()
    server.start("--name", "second")
    expect(page.tab.locator("#server-name")).to_have_text("second")
    expect(page.tab.locator("#server-host")).to_be_visible()
    page.say("hello, second")
    expect(page.texts).to_have_text(["hello, second"])


def test_16_the_name_stays_shown_where_a_proxy_asks_another_server(proxy, server, open_through):
    """The name once vanished: the stream had moved to a second server, and behind the proxy the
    page, which is asked for that server's host, still came from the first one.
    """
    server.stop()
    server.start("--name", "first")
    pages = []

    def stream_of_another(data):
        if b"<!doctype" in data:
            pages.append(data)
        if b"event: server\n" in data:
            return data.replace(b"data: first\n", b"data: other\n", 1)
        return data

    proxy.edit = stream_of_another
    page = open_through("general", "mira")
    expect(page.tab.locator("#server")).to_have_text("other")
    until(lambda: len(pages) > 3, "the page is asked for a few times")
    expect(page.tab.locator("#server-name")).to_have_text("other")


def test_12_a_post_whose_answer_is_lost_is_in_the_log_once(proxy, server, open_through):
    page = open_through("general", "mira")
    lost = []

    def lose_answers(data):
        if data.startswith(b"HTTP/1.1 201") and len(lost) < 2:
            lost.append(data)
            return None
        return data

    proxy.edit = lose_answers
    for text in "ok", "ok", "done":
        page.say(text)
    expect(page.texts).to_have_text(["ok", "ok", "done"])
    expect(page.pending).to_have_count(0)
    assert len(lost) == 2
    assert server.messages("general") == ["mira: ok", "mira: ok", "mira: done"]


@pytest.mark.parametrize("begun", [True, False], ids=["begun", "empty"])
@pytest.mark.parametrize("written", [True, False], ids=["written", "not-written"])
def test_a_post_that_waited_too_long_for_its_cursor(server, open_page, written, begun):
    """The log grew by more than the server looks back: the page finds its own line, or posts it."""
    server.fill("general", 10 if begun else 0)
    page = open_page("general", "mira")
    page.live()
    attempts = []

    def fail(route):
        attempts.append(route.request.post_data)
        if len(attempts) > 1:
            return route.continue_()
        if written:
            route.fetch()
        server.append("general", f"[2018-02-25 14:00:51] omri: {'x' * 10_000}\n" * 120)
        return route.abort()

    page.tab.route("**/chat/general", lambda route: fail(route) if route.request.method == "POST" else route.continue_())
    page.say("patience")
    expect(page.pending).to_have_count(0)
    assert server.messages("general").count("mira: patience") == 1
    assert attempts[0] == attempts[1], "repeated unchanged"


def test_a_post_for_a_log_that_was_replaced(server, open_page):
    server.fill("general", 10)
    page = open_page("general", "mira")
    expect(page.lines).to_have_count(10)
    server.stop()
    page.say("patience")
    expect(page.pending).to_have_count(1)
    server.file("general").unlink()
    server.append("general", "[2024-01-01 00:00:00] omri: a new log\n")
    server.start()
    expect(page.texts).to_have_text(["a new log", "patience"])
    assert server.messages("general") == ["omri: a new log", "mira: patience"]


def test_two_tabs_with_the_same_waiting_message_post_it_once(server, browser, open_page):
    """A message that waits is found in the store by each tab that opens: all send it, once."""
    context = browser()
    first = open_page("general", "mira", context=context)
    first.tab.route("**/chat/general", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
    first.say("ok")
    first.say("ok")
    expect(first.pending).to_have_count(2)
    others = [open_page("general", context=context) for _ in range(2)]
    first.tab.unroute("**/chat/general")
    for page in (first, *others):
        expect(page.texts).to_have_text(["ok", "ok"])
        expect(page.pending).to_have_count(0)
    assert server.messages("general") == ["mira: ok", "mira: ok"]


def test_14_behind_a_proxy_that_holds_streams_back_it_polls(server, browser):
    context = browser()
    held = []
    context.route("**/chat/general?after=*", lambda route: held.append(route))
    page = ChatPage(context, server.room_url("general"))
    for number in range(6):
        server.post("general", "omri", f"line {number}")
        expect(page.texts.last).to_have_text(f"line {number}")
    page.until(lambda: page.closed(page.streams[0]), "giving the stream up")
    assert held
    context.unroute("**/chat/general?after=*")
    page.look(False)
    page.look(True)
    page.live()


def test_a_stream_that_is_refused_leaves_polling(server, browser):
    context = browser()
    context.route("**/chat/general?after=*", lambda route: route.fulfill(status=503, body="no streams here"))
    page = ChatPage(context, server.room_url("general"))
    for number in range(3):
        server.post("general", "omri", f"line {number}")
        expect(page.texts.last).to_have_text(f"line {number}")


def test_13_a_dead_stream_that_nobody_closed_is_noticed(proxy, server, browser):
    context = browser()
    page = ChatPage(context, f"http://127.0.0.1:{proxy.port}/general", clock=True)
    page.live()
    proxy.freeze_streams()
    server.post("general", "omri", "into the void")
    page.tab.clock.fast_forward(39_000)
    expect(page.lines).to_have_count(0)
    page.tab.clock.fast_forward(2000)
    expect(page.texts).to_have_text(["into the void"])
    page.until(lambda: len(page.streams) > 1, "another stream")


def test_a_missed_line_is_noticed_by_the_next_ping(proxy, server, open_through):
    page = open_through()
    page.live()
    spoilt = []

    def spoil(data):
        if b"omri: missed" in data and b"id: " in data:
            spoilt.append(data)
            return data.replace(b"id: ", b"xx: ").replace(b"data: ", b"xxxx: ")
        return data

    proxy.edit = spoil
    server.post("general", "omri", "missed")
    until(lambda: spoilt, "the line on its way")
    expect(page.texts).to_have_text(["missed"])
    assert len(page.streams) == 1


def test_pages_that_watch_a_busy_room_miss_nothing(server, open_page):
    """Servers come and go under posters and watchers, and each page shows exactly the log."""
    pages = [open_page("general", "mira"), open_page("general", "jonas")]
    done = threading.Event()

    def write():
        for number in range(120):
            server.append("general", f"[2018-02-25 14:00:51] cron: tick {number}\n")
            time.sleep(0.05)
        done.set()

    threading.Thread(target=write).start()
    said = 0
    while not done.is_set():
        pages[said % 2].say(f"said {said}")
        said += 1
        if said % 6 == 0:
            server.kill()
            server.start()
        done.wait(0.2)
    for page in pages:
        expect(page.pending).to_have_count(0)
        expect(page.lines).to_have_count(120 + said)
        until(lambda: page.texts.all_inner_texts() == [m.partition(": ")[2] for m in server.messages("general")], "the log")
    assert len(set(server.messages("general"))) == 120 + said
