"""Without script the page still posts and reads."""

import urllib.parse

import pytest
from playwright.sync_api import expect


@pytest.fixture
def tab(server, browser):
    context = browser(java_script_enabled=False)
    tab = context.new_page()
    server.post("tea & <biscuits>", "omri", "hi everybody!")
    tab.goto(server.room_url("tea & <biscuits>"))
    return tab


def test_the_log_is_there(tab):
    expect(tab.get_by_role("heading")).to_have_text("tea & <biscuits>")
    expect(tab.frame_locator("iframe").locator("body")).to_contain_text("omri: hi everybody!")
    box = tab.locator("iframe").bounding_box()
    assert box["width"] > 600 and box["height"] > 300


def test_the_form_posts_and_comes_back_to_the_room(server, tab):
    address = tab.url
    tab.get_by_label("Your name").fill("mira")
    tab.get_by_label("Message", exact=True).fill("no script\nno problem")
    tab.get_by_role("button", name="Send").click()
    expect(tab.frame_locator("iframe").locator("body")).to_contain_text("mira: no script⏎no problem")
    assert urllib.parse.unquote(tab.url) == urllib.parse.unquote(address)
    assert server.messages("tea & <biscuits>") == ["omri: hi everybody!", "mira: no script⏎no problem"]
