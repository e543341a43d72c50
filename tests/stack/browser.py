"""Reloads a room in a real browser, and prints each server's name that its page shows.

The name follows the page's stream, so which one is shown after a reload is not foreseen.
Run by the page tests' Python, which has playwright: browser.py URL RELOADS
"""

import sys

from playwright.sync_api import expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"


def main(url, reloads):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page()
        page.goto(url)
        for _ in range(reloads):
            page.locator("body.live").wait_for()
            name = page.locator("#server-name")
            expect(name).not_to_be_empty()
            print(name.inner_text(), flush=True)
            page.reload()
        browser.close()


main(sys.argv[1], int(sys.argv[2]))
