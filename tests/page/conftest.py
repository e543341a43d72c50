"""The real server and a real Chromium, as fixtures.

Nothing here sleeps and hopes: `until` and Playwright's `expect` wait for what is expected, with a
deadline. Every page reports what it logs, and a test fails at its end if any page broke the
Content-Security-Policy or threw an error.
"""

import fcntl
import os
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("CATCHAT_BIN", ROOT / "target/debug/catchat")).resolve()
# Far beyond what anything takes, so that a busy machine fails no test; what is about promptness says so itself.
DEADLINE_S = 60

expect.set_options(timeout=DEADLINE_S * 1000)

# Lets a test hide a tab: headless Chromium counts every tab as looked at. And has violations
# of the Content-Security-Policy told on the console, where the test collects them.
INIT_SCRIPT = """
let hidden = false;
Object.defineProperty(document, 'hidden', { get: () => hidden });
Object.defineProperty(document, 'visibilityState', { get: () => (hidden ? 'hidden' : 'visible') });
addEventListener('test:look', ({ detail }) => {
  hidden = !detail;
  document.dispatchEvent(new Event('visibilitychange'));
});
document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
  console.error(`Content Security Policy violated: ${violatedDirective} ${blockedURI}`);
});
"""


def until(true, what, deadline_s=DEADLINE_S):
    """Waits until true() is, and returns its value."""
    end = time.monotonic() + deadline_s
    while not (value := true()):
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.02)
    return value


class Server:
    """The server's binary on a directory of its own; it keeps its port over restarts."""

    def __init__(self, store):
        self.store = store
        self.port = 0
        self.process = None

    def start(self, *arguments):
        listen = f"127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [BIN, "--listen", listen, "--store", self.store, *arguments],
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stderr.readline()
        found = re.match(r"catchat: listening on http://127\.0\.0\.1:(\d+), rooms in ", line)
        assert found, f"the server's first line: {line!r}{self.process.stderr.read() if not found else ''}"
        self.port = int(found[1])
        # Its standard error must be read, or it would block on a full pipe one day.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        return self

    def stop(self):
        """Ends the server in good order."""
        self.process.terminate()
        self.process.wait(DEADLINE_S)

    def kill(self):
        """Ends the server as a crash would."""
        if self.process:
            self.process.kill()
            self.process.wait()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def room_url(self, room):
        return f"{self.url}/{urllib.parse.quote(room, safe='')}"

    def file(self, room):
        return self.store / f"{room}.log"

    def lines(self, room):
        """The room's log as the file has it."""
        return self.file(room).read_text("utf-8").split("\n")[:-1] if self.file(room).exists() else []

    def messages(self, room):
        """The room's messages, each as `name: message`."""
        return [line[len("[2018-02-25 14:00:51] "):] for line in self.lines(room)]

    def append(self, room, text):
        """Appends as a script does, under the file's lock."""
        with open(self.file(room), "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(text.encode())

    def fill(self, room, count, first=1):
        """Appends numbered lines of one author, a minute apart."""
        times = (time.gmtime(1519567200 + 60 * number) for number in range(first, first + count))
        stamps = (time.strftime("%Y-%m-%d %H:%M:%S", moment) for moment in times)
        self.append(room, "".join(f"[{at}] omri: line {first + index}\n" for index, at in enumerate(stamps)))

    def etag(self, room):
        """The room's cursor."""
        with urllib.request.urlopen(f"{self.url}/chat/{urllib.parse.quote(room, safe='')}?tail=0", timeout=DEADLINE_S) as answer:
            return answer.headers["ETag"].strip('"')

    def post(self, room, username, message):
        """Posts as curl does."""
        body = urllib.parse.urlencode({"username": username, "message": message}).encode()
        url = f"{self.url}/chat/{urllib.parse.quote(room, safe='')}"
        with urllib.request.urlopen(url, body, timeout=DEADLINE_S) as answer:
            assert answer.status == 201


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "rooms")
    server.store.mkdir()
    yield server.start()
    server.kill()


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def browser(chromium):
    """Makes contexts, each a browser of its own; at the end no page of theirs may have complained."""
    contexts = []
    complaints = []

    def watch(page):
        def log(message):
            if "Content Security Policy" in message.text:
                complaints.append(message.text)

        page.on("console", log)
        page.on("pageerror", lambda error: complaints.append(str(error)))

    def make(**options):
        options = {"locale": "en-GB", "timezone_id": "Europe/Berlin", **options}
        context = chromium.new_context(**options)
        context.set_default_timeout(DEADLINE_S * 1000)
        if options.get("java_script_enabled", True):
            context.add_init_script(INIT_SCRIPT)
        context.on("page", watch)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


class ChatPage:
    """One tab with the chat page, in the words of the one who looks at it."""

    def __init__(self, context, url, name=None, clock=False):
        self.tab = context.new_page()
        if clock:
            self.tab.clock.install()
        self.requests = []
        self.tab.on("requestfinished", lambda request: self.requests.append(request))
        self.streams = []
        self.ended = []
        self.tab.on("request", lambda request: request.resource_type == "eventsource" and self.streams.append(request))
        self.tab.on("requestfailed", lambda request: self.ended.append(request))
        self.tab.goto(url)
        expect(self.tab.locator("#top")).to_be_visible()
        if name:
            self.username.fill(name)

    @property
    def username(self):
        return self.tab.get_by_label("Your name")

    @property
    def message(self):
        return self.tab.get_by_label("Message", exact=True)

    @property
    def lines(self):
        return self.tab.locator("#lines .line")

    @property
    def texts(self):
        return self.tab.locator("#lines .text")

    @property
    def pending(self):
        return self.tab.locator("#pending .line")

    @property
    def away(self):
        return self.tab.locator("#away")

    def say(self, text):
        self.message.fill(text)
        self.message.press("Enter")

    def look(self, visible):
        """Brings the tab to the front, or behind another one."""
        self.tab.evaluate("detail => { dispatchEvent(new CustomEvent('test:look', { detail })) }", visible)

    def live(self):
        """Waits until the stream stands, so that lines come without any poll."""
        expect(self.tab.locator("body")).to_have_class("live")

    def until(self, true, what, deadline_s=DEADLINE_S):
        """Waits until true() is, and lets Playwright tell what happens meanwhile."""
        end = time.monotonic() + deadline_s
        while not true():
            assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
            self.tab.wait_for_timeout(20)

    def closed(self, stream):
        """Whether a stream of this page has ended, whoever ended it."""
        return stream in self.ended or stream in self.requests

    def below(self):
        """How much of the log is below what is shown, in px."""
        return self.tab.evaluate("scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight")

    def scroll(self, top):
        self.tab.evaluate("top => { document.getElementById('scroller').scrollTop = top }", top)

    def reads(self):
        """What was read of logs so far: (status, URL, bytes of the body)."""
        answers = [(request, request.response()) for request in self.requests if "/chat/" in request.url and request.method == "GET"]
        return [(answer.status, request.url, request.sizes()["responseBodySize"]) for request, answer in answers]


def hold(page, which):
    """Keeps requests from the server, until the test lets them go: the list of those, and how."""
    held = []
    released = []

    def release():
        released.append(True)
        for route in held:
            route.continue_()

    page.tab.route("**/chat/**", lambda route: held.append(route) if which(route.request) and not released else route.continue_())
    return held, release


def is_post(request):
    return request.method == "POST"


@pytest.fixture
def open_page(server, browser):
    """Opens a room's page, in a browser of its own unless a context is given."""

    def open_room(room="general", name=None, context=None, **options):
        return ChatPage(context or browser(**options), server.room_url(room), name)

    return open_room
