"""axe-core finds nothing in the page: no rule of it, of whatever weight, in any state.

Its script comes into the page by the debugger's door, so the page's own policy stays as it is.
"""

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import expect

# Every rule that axe has but the experimental ones: WCAG 2.0 to 2.2 up to AA, and good practice.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"]
RUN = """tags => axe.run(document, { runOnly: tags, resultTypes: ['violations', 'incomplete'] })
  .then(({ violations, incomplete, passes }) => ({ violations, incomplete, passed: passes.length }))"""

# axe passes over text that is scrolled out of sight or beside a pseudo-element, so the contrast of
# all text is reckoned here as well, as WCAG has it: 4.5, and 3 for large letters.
PALE = """() => {
  const context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      known.set(colour, [...context.getImageData(0, 0, 1, 1).data].map((part) => part / 255));
    }
    return known.get(colour);
  };
  const over = (upper, lower, alpha = upper[3]) => [0, 1, 2].map((i) => upper[i] * alpha + lower[i] * (1 - alpha)).concat(1);
  const behind = (node) => {
    if (!node) return rgba(matchMedia('(prefers-color-scheme: dark)').matches ? '#121212' : '#fff');
    return over(rgba(getComputedStyle(node).backgroundColor), behind(node.parentElement));
  };
  const luminance = (colour) => colour.slice(0, 3)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const opacity = (node) => (node ? Number(getComputedStyle(node).opacity) * opacity(node.parentElement) : 1);
  let checked = 0;
  const pale = [];
  const check = (node, pseudo) => {
    const style = getComputedStyle(node, pseudo);
    if (style.display === 'none' || style.visibility === 'hidden' || node.closest('[disabled]')) return;
    const seen = opacity(node) * (pseudo ? Number(style.opacity) : 1);
    if (seen === 0) return; // it shows on being pointed at
    const paper = pseudo ? over(rgba(style.backgroundColor), behind(node)) : behind(node);
    const ink = rgba(style.color);
    const [light, dark] = [luminance(over(ink, paper, ink[3] * seen)), luminance(paper)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    const px = parseFloat(style.fontSize);
    const large = px >= 24 || (px >= 18.66 && Number(style.fontWeight) >= 700);
    const where = `${node.tagName} #${node.id} .${node.className} ${pseudo ?? ''} in .${node.parentElement?.className}`;
    if (ratio < (large ? 3 : 4.5)) pale.push(`${where}: ${ratio.toFixed(2)}: ${node.textContent.slice(0, 20)}`);
    checked += 1;
  };
    for (const node of document.body.querySelectorAll('*')) {
    if (!node.checkVisibility() || node instanceof SVGElement) continue;
    if ([...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) check(node);
    for (const pseudo of ['::before', '::after']) {
      // What has an empty alternative text is decoration.
      if (/^"[^"]+"$/.test(getComputedStyle(node, pseudo).content)) check(node, pseudo);
    }
    if (node.placeholder && !node.value) check(node, '::placeholder');
  }
  return { checked, pale };
}"""

LOOKS = [
    pytest.param({"color_scheme": scheme, "viewport": {"width": width, "height": height}}, id=f"{scheme}-{width}")
    for scheme in ("light", "dark")
    for width, height in ((1280, 800), (320, 640))
]


def faults(tab):
    """What axe has against the page as it is now, a line for each element."""
    # Halfway through a transition a colour is not the one that is read.
    tab.evaluate("Promise.all(document.getAnimations().map((each) => each.finished.catch(() => {})))")
    if tab.evaluate("typeof axe") == "undefined":
        tab.evaluate(AXE_SCRIPT)
    found = tab.evaluate(RUN, TAGS)
    assert found["passed"] > 10, "axe looked at hardly anything"
    contrast = tab.evaluate(PALE)
    assert contrast["checked"] > 5, "hardly any text was found"
    return contrast["pale"] + [
        f"{rule['impact']} {rule['id']}: {' '.join(map(str, node['target']))}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def a_busy_log(server):
    """Hundreds of lines of many authors: groups, days, links, code, other forms."""
    for day in range(20, 26):
        lines = [f"[2018-02-{day} 14:{n:02}:51] author {n * day}: line {n}\n" for n in range(50)]
        lines += [f"[2018-02-{day} 15:00:{n:02}] mira: grouped {n}\n" for n in range(10)]
        lines += [f"[2018-02-{day} 15:01:{n:02}] omri: my own {n}\n" for n in range(5)]
        server.append("general", "".join(lines))
    server.append("general", (
        "[2018-02-26 09:00:00] mira: see https://example.org/a?b=c#d and http://example.org.\n"
        "[2018-02-26 09:00:01] mira: for n in range(3):⏎    print(n)⏎\tdone\n"
        "[2018-02-26 09:00:02] noa: @omri omri: look here, omri!\n"
        "[2018-02-26 09:00:03] דוד: שלום, omri\n"
        "a line that a script wrote, with https://example.org in it\n"
    ))


@pytest.mark.parametrize("look", LOOKS)
def test_an_empty_room(open_page, look):
    page = open_page(**look)
    page.live()
    assert faults(page.tab) == []


@pytest.mark.parametrize("look", LOOKS)
def test_a_full_room_with_all_that_a_line_can_be(server, open_page, look):
    a_busy_log(server)
    page = open_page("general", "omri", **look)
    page.live()
    expect(page.texts.last).to_contain_text("a line that a script wrote")
    page.message.fill("bad \x07 bell")
    page.message.press("Enter")
    expect(page.pending.get_by_role("button").first).to_be_visible()
    page.scroll(0)
    page.lines.nth(120).wait_for()
    server.post("general", "mira", "come while the reader is above")
    expect(page.tab.locator("#newer")).to_be_visible()
    assert faults(page.tab) == []
    page.scroll(10**9)
    page.lines.last.hover()
    assert faults(page.tab) == []


@pytest.mark.parametrize("look", LOOKS)
def test_a_server_that_is_away_and_messages_that_wait(server, open_page, look):
    server.fill("general", 30)
    page = open_page("general", "omri", **look)
    page.live()
    server.kill()
    page.say("kept until the server is back https://example.org")
    page.say("and so is\nthis one")
    expect(page.pending).to_have_count(2)
    expect(page.away).to_be_visible()
    assert faults(page.tab) == []


@pytest.mark.parametrize("look", [LOOKS[0], LOOKS[3]])
def test_what_opens_above_the_page(server, open_page, look):
    a_busy_log(server)
    page = open_page("general", "omri", **look)
    page.live()
    page.tab.get_by_role("button", name="Find").click()
    page.tab.get_by_label("Find in this room").fill("grouped 3")
    page.tab.keyboard.press("Enter")
    expect(page.tab.locator("#hits a")).to_have_count(6)
    assert faults(page.tab) == []
    page.tab.locator("#hits a").first.click()
    expect(page.tab.locator("#lines .target")).to_contain_text("grouped 3")
    page.tab.keyboard.press("Escape")
    assert faults(page.tab) == []
    page.tab.get_by_role("button", name="Rooms").click()
    expect(page.tab.get_by_role("button", name="New private room")).to_be_visible()
    assert faults(page.tab) == []
    page.tab.keyboard.press("Escape")
    page.message.press_sequentially("@a")
    expect(page.tab.get_by_role("option").first).to_be_visible()
    assert faults(page.tab) == []
