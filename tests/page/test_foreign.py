"""A page that knows nothing of this server but the routes that such pages are written for."""

from pathlib import Path

from playwright.sync_api import expect

JQUERY = Path("/usr/share/javascript/jquery/jquery.min.js")

PAGE = """<!doctype html>
<title>Chat</title>
<pre id="chat"></pre>
<form id="say">
  <input name="username" value="omri">
  <input name="msg">
  <button>Send</button>
</form>
<script src="/jquery.js"></script>
<script>
  const room = '/api/chat/' + location.pathname.split('/').pop()
  const poll = () => $.get(room, text => $('#chat').text(text))
  $('#say').on('submit', function (event) {
    event.preventDefault()
    $.post(room, $(this).serialize()).done(() => { this.msg.value = ''; poll() })
  })
  setInterval(poll, 200)
  poll()
</script>
"""


def test_a_page_with_jquery_works_unchanged(server, browser):
    """It posts what `serialize()` makes of a form, and polls the whole log as text."""
    tab = browser().new_page()
    address = server.room_url("foreign")
    tab.route(address, lambda route: route.fulfill(body=PAGE, content_type="text/html"))
    tab.route("**/jquery.js", lambda route: route.fulfill(path=JQUERY, content_type="text/javascript"))
    tab.goto(address)
    tab.locator("[name=msg]").fill("hi, 100% + more & é <b>")
    tab.get_by_role("button", name="Send").click()
    expect(tab.locator("#chat")).to_contain_text("omri: hi, 100% + more & é <b>")
    assert server.messages("foreign") == ["omri: hi, 100% + more & é <b>"]
    server.post("foreign", "cron", "from elsewhere")
    expect(tab.locator("#chat")).to_contain_text("cron: from elsewhere")
    assert tab.locator("#chat").text_content() == server.file("foreign").read_text("utf-8")
