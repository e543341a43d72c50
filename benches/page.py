"""The page in a real Chromium: a room of a million lines, beside one that nobody has written to.

Run as a program, by an interpreter that has Playwright, it measures one such visit and prints it.
"""

import json
import shutil
import subprocess
import sys
import time

from peers import catchat
from rig import LOAD_CORE, ROOT, SCRATCH, Meter, in_turns, limit, median, need, say, spawn

LINES = 1_000_000
LINE = "[2018-02-{:02} {:02}:{:02}:{:02}] {}: {:>36}\n"
LINE_BYTES = 65
NAMES = ("omri", "mira", "niko", "alex")
BACK_LINES = 5_000  # are scrolled over
WHEEL_PX, WHEEL_PAUSE_MS = 400, 16  # 25,000 px a second: a hand in a hurry
VISIT_DEADLINE_S = 120

SHOWN_MARK_MS = 1000.0
FETCHED_MARK_BYTES = 3_000_000
DOCUMENT_MARK_LINES = 550  # "about 500"
TASK_MARK_MS = 50.0  # what is longer, a reader sees as a jerk
LATE_FRAMES_MARK_PERCENT = 1.0
CHROMIUM = "/usr/bin/chromium"

# When the first lines, or the word that there are none, were painted; how long tasks and frames took.
WATCH = """
window.watched = { shown: 0, tasks: [], frames: [] };
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) watched.tasks.push([startTime, duration]);
}).observe({ type: 'longtask', buffered: true });
let before = 0;
const frame = (now) => {
  if (!watched.shown && document.querySelector('#lines .line, #top:not([hidden])')?.checkVisibility()) {
    requestAnimationFrame(() => (watched.shown = performance.now()));
  }
  if (before) watched.frames.push([before, now - before]);
  before = now;
  requestAnimationFrame(frame);
};
requestAnimationFrame(frame);
"""
STATE = """() => ({
  shown: watched.shown,
  lines: document.querySelectorAll('#lines .line').length,
  last: Number(document.querySelector('#lines .line:last-child')?.dataset.end ?? 0),
  seen: Number([...document.querySelectorAll('#lines .line')].find((line) => line.getBoundingClientRect().bottom > 0)?.dataset.end ?? 0),
})"""


def _rooms():
    """A directory with the big room; the empty one need not be there."""
    data = SCRATCH / "page"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    with open(data / "million.log", "w", encoding="ascii") as log:
        for n in range(LINES):
            day, second = 1 + n // 40_000, 2 * (n % 40_000)
            time_of_day = second // 3600, second // 60 % 60, second % 60
            log.write(LINE.format(day, *time_of_day, NAMES[n // 3 % 4], f"line number {n:,}"))
    assert (data / "million.log").stat().st_size == LINES * LINE_BYTES
    return data


def _python():
    """An interpreter with the same Playwright as the page's tests."""
    need({CHROMIUM: "chromium", "/usr/share/doc/python3-venv": "python3-venv"})
    home = SCRATCH / "page-venv"
    wanted = [line for line in (ROOT / "tests/page/requirements.txt").read_text().split() if line.startswith("playwright=")]
    if not (home / "bin" / "playwright").exists():
        say(f"installing {wanted[0]} into {home}")
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", *wanted], check=True)
    return home / "bin" / "python"


def _visit(python, server, room, back):
    """One visit by a fresh browser: (figures, percent that others took)."""
    meter = Meter(server.pid)
    command = [python, __file__, f"http://127.0.0.1:{server.port}/{room}", back]
    child = spawn(command, LOAD_CORE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    meter.load = child.pid
    line = child.stdout.readline()
    others = meter.read()[2]
    child.stdin.close()  # the browser may end
    if not line or child.wait(VISIT_DEADLINE_S) != 0:
        sys.exit(f"bench: the visit to {room} failed")
    figures = json.loads(line)
    say(f"  {room:8} " + ", ".join(f"{name} {value:,.0f}" for name, value in figures.items()))
    return figures, others


def million(options):
    """Opens a room of a million lines and scrolls back."""
    if not options.ours:
        return []
    say(f"the page of a room of {LINES:,} lines, in Chromium")
    python = _python()
    with catchat(_rooms()) as server:
        results = in_turns(options, {
            "empty": lambda: _visit(python, server, "nobody", 0),
            "full": lambda: _visit(python, server, "million", 0),
            "back": lambda: _visit(python, server, "million", BACK_LINES),
        })
    shutil.rmtree(SCRATCH / "page")

    def middle(side, name):
        return median([figures[name] for figures in results[side]])

    shown = limit(f"page of a room of {LINES:,} lines: first lines on screen", middle("full", "shown_ms"),
                  SHOWN_MARK_MS, "{:.0f} ms".format)
    shown.peer = f"empty room {middle('empty', 'shown_ms'):.0f} ms"
    shown.ratio = f"{middle('full', 'shown_ms') / middle('empty', 'shown_ms'):.2f} × empty"
    shown.notes.append(f"of that, the page's own processor time is {middle('full', 'busy_ms'):.0f} ms, "
                       f"that of an empty room's {middle('empty', 'busy_ms'):.0f} ms")
    went = f"the same, {BACK_LINES:,} lines scrolled back"
    rows = [
        ("the same: fetched in all", "full", "fetched", FETCHED_MARK_BYTES, "{:,.0f} bytes"),
        (f"{went}: fetched in all", "back", "fetched", FETCHED_MARK_BYTES, "{:,.0f} bytes"),
        (f"{went}: lines in the document, at most", "back", "document_lines", DOCUMENT_MARK_LINES, "{:,.0f}"),
        (f"{went}: longest task", "back", "longest_task_ms", TASK_MARK_MS, "{:.0f} ms"),
        (f"{went}: frames over {TASK_MARK_MS:.0f} ms", "back", "late_frames_percent", LATE_FRAMES_MARK_PERCENT, "{:.1f} %"),
    ]
    return [shown] + [limit(what, middle(side, name), mark, show.format) for what, side, name, mark, show in rows]


def _scroll(tab, lines):
    """Turns the wheel until so many lines have gone by; gives the figures of the way."""
    start = tab.evaluate("performance.now()")
    state = tab.evaluate(STATE)
    end, most, gone = state["last"], state["lines"], 0
    tab.mouse.move(500, 400)
    deadline = time.monotonic() + VISIT_DEADLINE_S / 2
    while gone < lines and time.monotonic() < deadline:
        for _ in range(10):
            tab.mouse.wheel(0, -WHEEL_PX)
            tab.wait_for_timeout(WHEEL_PAUSE_MS)
        state = tab.evaluate(STATE)
        most, gone = max(most, state["lines"]), (end - state["seen"]) // LINE_BYTES
    watched = tab.evaluate("watched")
    frames = [took for began, took in watched["frames"] if began >= start]
    tasks = [took for began, took in watched["tasks"] if began >= start]
    late = [took for took in frames if took > TASK_MARK_MS]
    return {
        "back_lines": gone, "document_lines": most, "frames": len(frames), "late_frames": len(late),
        "late_frames_percent": 100 * len(late) / len(frames), "longest_frame_ms": max(frames),
        "long_tasks": len(tasks), "longest_task_ms": max(tasks, default=0),
    }


def _busy_ms(session):
    """Processor time of the page's main thread so far."""
    metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    return 1000 * metrics["TaskDuration"]


def _measure(url, back):
    """Runs in the interpreter that has Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        # The first page of a browser pays for the browser's own start.
        warm = browser.new_page()
        warm.goto("data:text/html,<p>warm")
        tab = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        tab.add_init_script(WATCH)
        network = tab.context.new_cdp_session(tab)
        network.send("Network.enable")
        network.send("Performance.enable", {"timeDomain": "threadTicks"})
        fetched = []
        network.on("Network.dataReceived", lambda event: fetched.append(max(event["dataLength"], event["encodedDataLength"])))
        tab.goto(url, wait_until="commit")
        deadline = time.monotonic() + VISIT_DEADLINE_S / 2
        while not (shown := tab.evaluate("watched.shown")):
            assert time.monotonic() < deadline, "nothing is shown"
            tab.wait_for_timeout(50)
        tab.locator("body.live").wait_for()
        figures = {"shown_ms": shown, "busy_ms": _busy_ms(network)}
        if back:
            figures |= _scroll(tab, back)
            figures["back_busy_ms"] = _busy_ms(network) - figures["busy_ms"]
        figures["fetched"] = sum(fetched)
        print(json.dumps(figures), flush=True)
        sys.stdin.read()  # what the browser has cost is read while it lives
        browser.close()


if __name__ == "__main__":
    _measure(sys.argv[1], int(sys.argv[2]))
