"""Without script the page still posts and reads, in a text browser too."""

import os
import pty
import re
import signal
import subprocess
import threading
import urllib.parse

import pyte
import pytest
from playwright.sync_api import expect

from conftest import DEADLINE_S, until

ROOM = "tea & <biscuits>"
# What only a script could make true, or do anything about.
FALSE_WITHOUT_SCRIPT = re.compile(r"no connection|try now|retry|unread|new lines?\b|\bfind\b|notif|\[]|\(BUTTON\) *$", re.I | re.M)


@pytest.fixture
def tab(server, browser):
    context = browser(java_script_enabled=False)
    tab = context.new_page()
    server.post(ROOM, "omri", "hi everybody!")
    tab.goto(server.room_url(ROOM))
    return tab


def test_the_log_is_there(tab):
    expect(tab.get_by_role("heading", level=1)).to_have_text(ROOM)
    expect(tab.frame_locator("iframe").locator("body")).to_contain_text("omri: hi everybody!")
    box = tab.locator("iframe").bounding_box()
    assert box["width"] > 600 and box["height"] > 300


def test_nothing_is_said_that_only_a_script_would_know(tab):
    words = tab.locator("body").inner_text()
    assert not FALSE_WITHOUT_SCRIPT.search(words), words


def test_the_form_posts_and_comes_back_to_the_room(server, tab):
    address = tab.url
    tab.get_by_label("Your name").fill("mira")
    tab.get_by_label("Message", exact=True).fill("no script\nno problem")
    tab.get_by_role("button", name="Send").click()
    expect(tab.frame_locator("iframe").locator("body")).to_contain_text("mira: no script⏎no problem")
    assert urllib.parse.unquote(tab.url) == urllib.parse.unquote(address)
    assert server.messages(ROOM) == ["omri: hi everybody!", "mira: no script⏎no problem"]


def dump(program, *arguments):
    environment = {**os.environ, "LANG": "C.UTF-8", "HOME": "/nonexistent"}
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


DUMPS = [
    pytest.param(["w3m", "-dump", "-cols", "80", "-I", "UTF-8", "-O", "UTF-8"], id="w3m"),
    pytest.param(["lynx", "-dump", "-width=80", "-display_charset=utf-8"], id="lynx"),
]


@pytest.mark.parametrize("command", DUMPS)
def test_a_text_browser_shows_the_room_and_the_form(server, command):
    server.post(ROOM, "omri", "hi everybody!")
    words = dump(*command, server.room_url(ROOM))
    assert ROOM in words and "Your name" in words and "Send" in words
    assert not FALSE_WITHOUT_SCRIPT.search(words), words


def test_links_lead_from_the_text_to_the_log(server):
    server.post(ROOM, "omri", "hi everybody!")
    listed = dump("lynx", "-dump", "-listonly", server.room_url(ROOM))
    logs = [link for link in re.findall(r"http://.+", listed) if "/chat/" in link]
    assert logs, listed
    for link in logs:
        link = urllib.parse.quote(link, safe=":/?=%")
        assert "omri: hi everybody!" in dump("lynx", "-dump", link)
        assert "omri: hi everybody!" in dump("w3m", "-dump", link)
    # A frame is no link in w3m, whose own list has only what one can follow.
    followed = dump("w3m", "-dump", "-o", "display_link_number=1", server.room_url(ROOM))
    assert "/chat/" in followed and "tail=" in followed, followed


class Terminal:
    """A program on a terminal of its own: keys in, what the screen shows out."""

    def __init__(self, *command):
        self.screen = pyte.Screen(80, 40)
        self.stream = pyte.ByteStream(self.screen)
        self.pid, self.door = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="linux", LANG="C.UTF-8", HOME="/nonexistent", LINES="40", COLUMNS="80")
            os.execvp(command[0], command)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        try:
            while data := os.read(self.door, 65536):
                self.stream.feed(data)
        except OSError:
            pass  # the program has ended

    def rows(self):
        return list(self.screen.display)

    def shows(self, text):
        return any(text in row for row in self.rows())

    def press(self, keys):
        os.write(self.door, keys.encode())

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.reader.join(DEADLINE_S)
        os.close(self.door)


@pytest.fixture
def lynx(server):
    terminal = Terminal("lynx", "-display_charset=utf-8", "-accept_all_cookies", server.room_url(ROOM))
    yield terminal
    terminal.close()


def test_a_text_browser_posts_and_comes_back_to_the_room(server, lynx):
    def step_to(kind, label):
        """Steps through links and fields to the one of this kind on a row with this label."""
        for _ in range(60):
            until(lambda: lynx.rows()[37].strip(), "lynx to say what is chosen")
            row = lynx.rows()[lynx.screen.cursor.y]
            if re.search(kind, lynx.rows()[37]) and label in row:
                return
            before = (lynx.rows(), lynx.screen.cursor.y, lynx.screen.cursor.x)
            lynx.press("\t")
            until(lambda: (lynx.rows(), lynx.screen.cursor.y, lynx.screen.cursor.x) != before, f"lynx to go on from {before}")
        raise AssertionError(f"no {kind} at {label}: {lynx.rows()}")

    until(lambda: lynx.shows("Your name"), "the page in lynx")
    step_to(r"Text ?(entry )?field", "Your name")
    lynx.press("mira")
    until(lambda: lynx.shows("mira"), "the name in its field")
    step_to("Textarea", "")
    lynx.press("no script")
    until(lambda: lynx.shows("no script"), "the message in its field")
    step_to("submit", "Send")
    lynx.press("\r")
    until(lambda: server.messages(ROOM) == ["mira: no script"], "the message in the log")
    # The room again, its field empty; not the page before, nor the bare line as programs get it.
    until(lambda: lynx.shows("Your name") and not lynx.shows("no script"), "the room again")
