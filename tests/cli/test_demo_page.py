"""The demo's page in a real Chromium: a net learns, reads what is drawn, and each of its numbers can be checked."""

import base64
import contextlib
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest

from autoconv import functional as F

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                  "--disable-background-networking", "--disable-component-update", "--disable-sync"]
PARTS = ("learn", "draw", "look", "kernels")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium"),
    pytest.mark.skipif(os.name == "nt", reason="ends the server by SIGINT"),
]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        launched = play.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def address():
    """Of a server that is ended with Ctrl-C, while it learns, and leaves nothing."""
    process = subprocess.Popen([sys.executable, "-m", "autoconv", "demo", "--no-browser", "--port", "0",
                                "--threads", "1"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield next(line.strip() for line in process.stdout if line.startswith("http"))
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (0, "")
    assert out.endswith("Stopped.\n")


@pytest.fixture
def window(browser, address):
    """Makes windows; at the end none may have said anything on its console, or asked another server. Chromium itself
    says there which requests were refused.
    """
    said, contexts = [], []
    refused = "Failed to load resource: the server responded with a status of 400 (Bad Request)"

    def make(width=1200, height=850, scheme="light", part="learn"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        tab.on("console", lambda message: message.text == refused or said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: request.url.startswith(address.partition("?")[0]) or said.append(request.url))
        tab.goto(f"{address}#{part}")
        tab.wait_for_selector(".thumb", state="attached")
        return tab

    yield make
    for context in contexts:
        context.close()
    assert said == []


def until(tab, condition):
    """Waits until a JavaScript expression holds. Not by `wait_for_function`: the page's policy forbids what it does."""
    end = time.monotonic() + 20
    while not tab.evaluate(condition):
        assert time.monotonic() < end, condition
        tab.wait_for_timeout(30)


def pixels(tab, canvas, width, height):
    """The pixels (H, W, 3) on a canvas."""
    text = tab.evaluate(f"""() => {{
        const {{ data }} = document.getElementById('{canvas}').getContext('2d').getImageData(0, 0, {width}, {height});
        let text = '';
        for (const byte of data) text += String.fromCharCode(byte);
        return btoa(text);
    }}""")
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]


def start(tab):
    """The tiny net begins to learn the built-in digits."""
    tab.select_option("[name=data]", "digits")
    tab.select_option("[name=net]", "tiny")
    tab.select_option("[name=optimizer]", "adam")
    tab.fill("[name=learning_rate]", "0.003")
    tab.press("[name=learning_rate]", "Tab")
    tab.fill("[name=epochs]", "200")
    tab.click("#anew" if tab.is_enabled("#anew") else "#go")
    until(tab, "document.getElementById('status').textContent === 'The net learns'")  # the new one


def learn(tab):
    """Starts a net and lets it learn until most digits are right. Leaves it paused."""
    start(tab)
    until(tab, "document.querySelectorAll('#learn-layers .layer').length === 4")
    until(tab, f"parseFloat({figure('training accuracy')}) > 95")
    tab.click("#go")
    until(tab, "document.getElementById('status').textContent === 'The net is paused'")


def figure(name):
    """JavaScript for one of the figures above the curves, as text."""
    return (f"[...document.querySelectorAll('#figures div')].find(d => d.firstChild.textContent === '{name}')"
            ".lastChild.textContent")


def step_of(tab):
    return int(re.sub(r"\D", "", tab.evaluate(figure("step")).split(" of ")[0]))


def png(width, height):
    """A white picture as a file."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"".join(b"\0" + b"\xff" * width for _ in range(height)))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def value(tab, name):
    """A bold number of a sum, with all its digits."""
    return float(tab.locator(f"[data-value={name}]").first.get_attribute("title"))


def cells(tab, table):
    return np.array([[float(cell) for cell in row.split("\t")] for row in table.inner_text().strip().split("\n")])


def test_the_axis_of_the_loss_recovers_from_a_peak(window):
    tab = window()
    ticks = tab.evaluate("""async () => {
        const { Chart } = await import('./chart.js');
        const chart = new Chart(document.body, { label: 'loss', lines: { loss: 'train' }, form: (v) => v.toFixed(1) });
        const top = () => [...chart.root.querySelectorAll('.tick')].at(4).textContent;
        const points = Array.from({ length: 20 }, (_, i) => [i, 2.3 - 0.1 * i]);
        chart.paint({ loss: points }, 20, 0, 2.3);
        const found = [top()];
        points.push([20, 50], [21, 40]);
        for (let i = 22; i < 40; i++) points.push([i, 0.5]);
        chart.paint({ loss: points }, 40, 0, 2.3);
        return [...found, top()];
    }""")
    assert ticks == ["2.3", "2.9"]  # 1.25 times the loss of guessing, not 50


def test_a_net_learns_pauses_steps_and_goes_on_in_two_windows(window):
    tab, other = window(), window(390, 844, "dark")
    before = tab.locator("#filters canvas").screenshot()
    learn(tab)
    assert tab.locator("#filters canvas").screenshot() != before
    assert len(tab.locator("#accuracy .line.train").get_attribute("d")) > 20
    step = step_of(tab)
    tab.click("#step")
    until(tab, f"{figure('step')}.startsWith('{step + 1:,}')")
    until(other, f"{figure('step')}.startsWith('{step + 1:,}')")  # it sees the same net
    assert other.input_value("[name=net]") == "tiny"
    tab.click(".thumb >> nth=4")
    until(tab, "document.querySelectorAll('#learn-images [aria-pressed=true]').length === 1")
    other.click("#go")  # the other window resumes it
    until(tab, f"parseInt({figure('step')}.replace(',', '')) > {step + 20}")
    other.click("#go")
    assert other.evaluate("document.documentElement.scrollWidth") <= 390


def test_enter_in_a_field_takes_its_value_and_starts_or_pauses_nothing(window):
    tab = window()
    start(tab)
    for name, typed in (("learning_rate", "0.001"), ("epochs", "300")):
        tab.fill(f"[name={name}]", typed)
        with tab.expect_response("**/api/rate") if name == "learning_rate" else contextlib.nullcontext():
            tab.press(f"[name={name}]", "Enter")
        step = step_of(tab)
        until(tab, f"parseInt({figure('step')}.replace(',', '')) > {step + 20}")
        assert tab.inner_text("#status") == "The net learns"
    tab.click("#go")
    until(tab, "document.getElementById('status').textContent === 'The net is paused'")


def test_a_message_stays_until_its_cause_is_gone_or_it_is_dismissed(window):
    tab = window()
    start(tab)
    tab.fill("[name=learning_rate]", "a lot")
    tab.press("[name=learning_rate]", "Tab")
    until(tab, "document.getElementById('trouble').innerText.includes(\"Received: 'a lot'.\")")
    tab.set_input_files("#file", {"name": "no picture.png", "mimeType": "image/png", "buffer": b"no picture"})
    until(tab, "document.querySelectorAll('#trouble p').length === 2")
    step = step_of(tab)
    tab.click(".thumb >> nth=3")  # something else succeeds, and the net learns on
    until(tab, f"parseInt({figure('step')}.replace(',', '')) > {step + 20}")
    assert tab.locator("#trouble p").count() == 2
    assert tab.input_value("[name=learning_rate]") == "a lot"
    assert tab.get_attribute("[name=learning_rate]", "aria-invalid") == "true"
    tab.fill("[name=learning_rate]", "0,002")
    tab.press("[name=learning_rate]", "Tab")
    until(tab, "document.querySelectorAll('#trouble p').length === 1")
    assert tab.get_attribute("[name=learning_rate]", "aria-invalid") == "false"
    tab.click("#trouble button")
    assert tab.locator("#trouble").is_hidden()
    tab.fill("[name=epochs]", "many")
    tab.click("#anew")
    until(tab, "document.getElementById('trouble').innerText.includes(\"epochs must be a whole number\")")
    assert "Received: 'many'" in tab.locator("#trouble").inner_text()
    tab.fill("[name=epochs]", "200")
    tab.click("#anew")
    until(tab, "document.getElementById('trouble').hidden")
    tab.click("#go")


def test_a_drawn_seven_is_read_and_looked_into(window):
    tab = window()
    learn(tab)
    tab.keyboard.press("Escape")
    tab.focus("#tab-learn")
    tab.keyboard.press("ArrowRight")  # to the part Draw
    box = tab.locator("#paper").bounding_box()
    x, y = box["x"], box["y"]
    tab.mouse.move(x + 70, y + 60)
    tab.mouse.down()
    tab.mouse.move(x + 200, y + 60, steps=5)
    tab.mouse.move(x + 120, y + 230, steps=6)
    tab.mouse.up()
    until(tab, "document.getElementById('answer').textContent === '7'")
    assert tab.locator("#draw-layers canvas").count() == 5
    end = time.monotonic() + 20
    while np.ptp(np.flatnonzero(pixels(tab, "seen", 28, 28)[..., 0].any(1))) != 19:  # brought into a box of 20 x 20
        assert time.monotonic() < end  # the answer may have been 7 before the stroke ended
        tab.wait_for_timeout(50)

    tab.click("#inspect")
    tab.wait_for_selector("#sum [data-value=total]")
    tab.locator("#look-layers canvas").nth(2).scroll_into_view_if_needed()
    tab.locator("#look-layers canvas").nth(2).click(position={"x": 30, "y": 30})  # a pixel of the second convolution
    until(tab, "document.querySelector('.pill[aria-pressed=true]').textContent === 'Convolution 2'")
    until(tab, "document.querySelectorAll('.chip').length === 6")
    window_, kernel, products = (cells(tab, tab.locator("#sum .equation table").nth(i)) for i in range(3))
    np.testing.assert_allclose(window_ * kernel, products, atol=2e-4)
    assert products.sum() == pytest.approx(value(tab, "channel"), abs=9e-4)
    sums = [float(chip.get_attribute("title").split(": ")[1]) for chip in tab.locator(".chip").all()]
    assert sum(sums) == pytest.approx(value(tab, "sum"), abs=1e-6)
    assert sum(sums) + value(tab, "bias") == pytest.approx(value(tab, "total"), abs=1e-6)
    assert value(tab, "value") == pytest.approx(max(value(tab, "total"), 0), abs=1e-4)

    tab.click(".pill >> nth=1")  # max pooling
    tab.wait_for_selector("#sum .winner")
    assert cells(tab, tab.locator("#sum table")).max() == pytest.approx(value(tab, "value"), abs=1e-4)


def test_a_clicked_pixel_has_the_sum_of_conv2d_and_the_kernel_slides(window):
    tab = window(part="look")
    tab.wait_for_selector("#sum [data-value=total]")
    def is_sum(message):
        return "/api/explain" in message.url

    for element in ("#look-images .thumb >> nth=3", ".pill >> nth=0"):
        with tab.expect_response(is_sum):
            tab.click(element)
    asked = []
    tab.on("request", lambda request: asked.append(request.url) if is_sum(request) else None)
    with tab.expect_response(is_sum) as answered:
        tab.locator("#above").click(position={"x": 150, "y": 121})
    found = answered.value.json()
    row, column, _ = found["place"]
    until(tab, f"document.getElementById('look-row').value === '{row}'")
    image = np.zeros((1, 28, 28, 1), np.float32)
    for i, r in enumerate(found["rows"]):
        for j, c in enumerate(found["columns"]):
            image[0, r, c, 0] = found["window"][i][j][0]
    sums = F.conv2d(image, np.array(found["weights"], np.float32)[..., None]).numpy()
    assert value(tab, "sum") == pytest.approx(float(sums[0, row, column, 0]), abs=1e-5)
    assert value(tab, "total") == pytest.approx(float(sums[0, row, column, 0]) + value(tab, "bias"), abs=1e-5)

    tab.focus("#above")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    until(tab, f"document.getElementById('look-row').value === '{row + 1}'")
    until(tab, f"document.getElementById('look-column').value === '{column + 1}'")
    tab.evaluate("document.getElementById('look-speed').value = 30")
    tab.keyboard.press(" ")  # plays
    assert tab.locator("#look-play").inner_text() == "Pause"
    until(tab, "document.getElementById('look-row').value === '0' && document.getElementById('look-column').value > 5")
    tab.keyboard.press(" ")
    assert tab.locator("#look-play").inner_text() == "Play"
    assert len(asked) > 7


def test_a_kernel_that_is_typed_changes_the_picture(window):
    tab = window(part="kernels")
    before = pixels(tab, "before", 384, 256)
    tab.select_option("#preset", "blur")
    assert tab.locator("#matrix input").first.input_value() == "1/9"
    tab.select_option("#preset", "identity")
    for i, number in enumerate(["1", "2", "1", "0", "0", "0", "-1", "-2", "-1"]):
        tab.locator("#matrix input").nth(i).fill(number)
    assert tab.input_value("#preset") == ""  # one's own
    after = pixels(tab, "after", 384, 256)
    kernel = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]], np.float32)
    planes = before.transpose(2, 0, 1)[..., None].astype(np.float32)
    sums = F.conv2d(planes, kernel[:, :, None, None], padding="same").numpy()[..., 0].transpose(1, 2, 0)
    np.testing.assert_array_equal(after, np.clip(sums, 0, 255).astype(np.uint8))
    tab.locator("#after").click(position={"x": 100, "y": 90})
    row, column = (int(n) for n in re.findall(r"\d+", tab.locator("#pixel h2").inner_text()))
    assert value(tab, "sum") == sums[row, column, 0]

    tab.locator("#matrix input").nth(4).fill("1/0")
    assert tab.locator("#matrix [aria-invalid=true]").count() == 1
    assert tab.locator("#kernel-wrong").inner_text() == (
        "Not a number: row 2, column 2 (1/0). The picture shows the last valid kernel.")
    np.testing.assert_array_equal(pixels(tab, "after", 384, 256), after)
    tab.select_option("#show", "absolute")  # of the last valid kernel, too
    np.testing.assert_array_equal(pixels(tab, "after", 384, 256), np.abs(sums).clip(0, 255).astype(np.uint8))
    tab.locator("#matrix input").nth(4).fill("0")
    assert tab.locator("#kernel-wrong").is_hidden()
    tab.locator("#matrix input").nth(4).fill(" ")
    assert "(empty)" in tab.locator("#kernel-wrong").inner_text()
    tab.select_option("#size", "5")
    assert tab.locator("#matrix input").count() == 25

    tab.set_input_files("#file", {"name": "no picture.png", "mimeType": "image/png", "buffer": b"no picture"})
    until(tab, "!document.getElementById('trouble').hidden")
    tab.set_input_files("#file", {"name": "two.png", "mimeType": "image/png", "buffer": png(2, 1)})
    until(tab, "document.getElementById('after').width === 2")
    assert tab.locator("#trouble").is_hidden()


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_every_part_fits_the_window_by_day_and_by_night(window, width, scheme):
    tab = window(width, 844, scheme)
    tab.focus("#tab-learn")
    for part in PARTS:
        assert tab.locator(f"#{part}").is_visible()
        assert tab.locator(f"#tab-{part}").get_attribute("aria-selected") == "true"
        tab.wait_for_timeout(150)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, part
        for control in tab.locator(f"#{part} :is(button, input, select, canvas)[id]").all():
            named = control.evaluate("e => e.labels?.length > 0 || e.ariaLabel !== null || e.innerText !== ''")
            assert named or control.get_attribute("id") in ("seen", "below"), control.get_attribute("id")
        tab.keyboard.press("ArrowRight")
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")
