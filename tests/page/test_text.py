"""What a line shows: its time, its links, its code, its direction."""

import re

import pytest
from playwright.sync_api import expect

LINKS = {
    "see https://en.wikipedia.org/wiki/Cat_(animal) there": "https://en.wikipedia.org/wiki/Cat_(animal)",
    "(see https://en.wikipedia.org/wiki/Cat_(animal))": "https://en.wikipedia.org/wiki/Cat_(animal)",
    "(https://example.org/a), then": "https://example.org/a",
    "HTTPS://Example.org/x": "HTTPS://Example.org/x",
    "https://example.org/a…": "https://example.org/a",
    "「https://example.org/a」": "https://example.org/a",
    "https://example.org/a。": "https://example.org/a",
    "https://example.org/a/?": "https://example.org/a/",
    "https://example.org/#": "https://example.org/#",
    "xhttps://example.org/a": None,
    "https://(((": None,
}


def test_06_links_end_where_they_should(server, open_page):
    for text in LINKS:
        server.post("general", "omri", text)
    page = open_page()
    expect(page.lines).to_have_count(len(LINKS))
    found = page.texts.evaluate_all("texts => texts.map((text) => text.querySelector('a')?.textContent)")
    assert dict(zip(LINKS, found, strict=True)) == LINKS


@pytest.mark.parametrize("text", ["(", ")", "()", ".", "(.", "https://(", "https://x(", "(((a)"])
def test_06_links_are_looked_for_in_no_time(server, open_page, text):
    server.append("general", f"[2018-02-25 14:00:51] omri: https://example.org/{text * (16_000 // len(text))}\n" * 20)
    page = open_page()
    expect(page.lines).to_have_count(20, timeout=10_000)


def test_06_a_fence_or_a_table_is_code(server, open_page):
    texts = {"```\nfn a() {}\n```": True, "a  |  b\n1  |  22": True, "total 48\n-rw-r--r--  1 root": True, "One.  Two.\nThree.  Four.": False}
    for text in texts:
        server.post("general", "omri", text)
    page = open_page()
    expect(page.lines).to_have_count(len(texts))
    assert page.texts.evaluate_all("texts => texts.map((text) => text.classList.contains('code'))") == list(texts.values())


def test_06_each_message_has_its_own_direction(server, open_page):
    server.post("general", "omri", "שלום")
    server.post("general", "omri", "hello")
    page = open_page()
    expect(page.lines).to_have_count(2)
    assert page.texts.evaluate_all("texts => texts.map((text) => [text.dir, getComputedStyle(text).direction])") == [["auto", "rtl"], ["auto", "ltr"]]


def test_05_the_full_date_is_there_for_screen_readers(server, open_page):
    server.append("general", "[2018-02-25 14:00:51] omri: hi\n")
    page = open_page()
    expect(page.lines.get_by_role("link", name=re.compile("Sunday,? 25 February 2018.*15:00:51"))).to_have_text("15:00")
