"""Measures how much the demo slows down the net that it trains: `python -m bench.demo [--rounds N]
[--browser]`.

In each round the lecture net trains for some seconds in four ways: by `fit` only; in a demo session
without clients; in a session whose events a process reads; and, with --browser (needs playwright
and Chromium), in a session whose page is open in a browser. Ratios are computed within each round,
so that a temporarily busy machine hardly affects them. The tables also show the processor time of
this process, which other programs affect less. Processor time is meaningful only with --threads 1,
because threads that wait for each other use processor time too. At the end, the command measures
the time from the request to classify a drawing to the answer.
"""

import argparse
import http.client
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from autoconv.callbacks import LambdaCallback
from autoconv.engine.costs import stats
from autoconv.programs.demo import choices
from autoconv.programs.demo.learning import Session
from autoconv.programs.demo.serving import Demo

WARM = 30  # number of steps before the measurement starts
SETTINGS = {"net": "lecture", "epochs": 1000}
READER = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.request("GET", "/api/events?token=" + sys.argv[2])
for line in connection.getresponse():
    pass
"""
BROWSER = """
import sys
from playwright.sync_api import sync_playwright
with sync_playwright() as play:
    browser = play.chromium.launch(executable_path=sys.argv[2], args=["--no-sandbox", "--disable-gpu"])
    tab = browser.new_page(viewport={"width": 1200, "height": 850})
    tab.goto(sys.argv[1])
    tab.wait_for_selector("#learn-layers canvas")
    print("ready", flush=True)
    sys.stdin.read()
"""


class Cost(NamedTuple):
    """Elapsed seconds, and seconds of processor time that this process used."""

    time: float
    processor: float


def now() -> Cost:
    return Cost(time.perf_counter(), time.process_time())


def compute_step_cost(start: Cost, end: Cost, steps: int) -> Cost:
    return Cost((end.time - start.time) / steps, (end.processor - start.processor) / steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=4.0, help="measuring time of each way per round")
    parser.add_argument("--threads", type=int, help="number of threads; default: all processors")
    parser.add_argument("--browser", action="store_true")
    options = parser.parse_args()
    server = Demo(Session(threads=options.threads), 0)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    ways: dict[str, Callable[[], Cost]] = {
        "fit alone": lambda: server.session.do(lambda: fit_alone(options.seconds)),
        "in a session": lambda: run_session(server.session, options.seconds),
        "and a client reads the events": lambda: run_with_client(server, options.seconds, reader),
    }
    if options.browser:
        ways["and a browser shows the page"] = lambda: run_with_client(server, options.seconds, browser)
    measurements: dict[str, list[Cost]] = {name: [] for name in ways}
    try:
        for i in range(options.rounds):
            for name in list(ways)[:: 1 if i % 2 else -1]:
                measurements[name].append(ways[name]())
        report(measurements)
        server.session.start(SETTINGS)
        print(f"a drawing, while it learns: {drawing(server)}")
        server.session.pause()
        print(f"a drawing, while it is paused: {drawing(server)}")
    finally:
        server.shutdown()
        serving.join()
        server.close()


def fit_alone(seconds: float) -> Cost:
    """Returns the cost of a step of `fit` with a callback that takes almost no time. Must be called
    in the session's thread, like the other ways of training.
    """
    settings = choices.parse_settings(SETTINGS)
    data, model = choices.load(settings.data), choices.build(settings)
    times: list[Cost] = []

    def begin(batch: int, logs: dict) -> None:
        times.append(now())
        # assigned only to stop, because every assignment counts as a change
        if len(times) > WARM and times[-1].time - times[WARM].time > seconds:
            model.stop_training = True

    model.fit(data.x_train, data.y_train, settings.batch_size, settings.epochs, verbose=0,
              callbacks=LambdaCallback(on_train_batch_begin=begin))
    return compute_step_cost(times[WARM], times[-1], len(times) - 1 - WARM)


def run_session(session: Session, seconds: float) -> Cost:
    """Returns the cost of a training step in a session, from the number of steps that it counts."""
    session.start(SETTINGS)
    while session.steps < WARM:
        time.sleep(0.05)
    start, before = now(), session.steps
    time.sleep(seconds)
    cost = compute_step_cost(start, now(), session.steps - before)
    session.build_net(SETTINGS)
    return cost


def run_with_client(server: Demo, seconds: float, client: Callable) -> Cost:
    with client(server):
        return run_session(server.session, seconds)


@contextmanager
def reader(server: Demo) -> Iterator[None]:
    """Runs a process during the `with` block that reads the session's events and discards them."""
    process = subprocess.Popen([sys.executable, "-c", READER, str(server.port), server.token])
    try:
        while not server.session.watchers:
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def browser(server: Demo) -> Iterator[None]:
    """Shows the page in Chromium during the `with` block."""
    program = shutil.which("chromium") or shutil.which("google-chrome") or ""
    process = subprocess.Popen([sys.executable, "-c", BROWSER, server.url, program], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout.readline() != "ready\n":  # type: ignore[union-attr]
            raise RuntimeError("The browser did not start.")
        yield
    finally:
        process.communicate("")


def report(measurements: dict[str, list[Cost]]) -> None:
    base, *_ = measurements
    size = choices.parse_settings(SETTINGS).batch_size
    print(f"time and processor time of a step, relative to {base}:")
    for name, costs in measurements.items():
        ratios = [stats.ratio([c[i] for c in costs], [c[i] for c in measurements[base]]) for i in range(2)]
        texts = [f"{r['median']:.3f} ({r['low']:.3f} to {r['high']:.3f})" for r in ratios]
        print(f"{name:<32} {size / np.median([c.time for c in costs]):>8,.0f} images/s   {texts[0]}   {texts[1]}")


def drawing(server: Demo) -> str:
    """Returns a text with the milliseconds from the request to classify a drawing to the answer."""
    paper = np.full((140, 140), 255, np.uint8)
    paper[30:40, 40:100] = paper[40:110, 70:80] = 0
    times = []
    for _ in range(60):
        start = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("POST", f"/api/draw?width=140&height=140&token={server.token}", paper.tobytes())
        connection.getresponse().read()
        connection.close()
        times.append(1e3 * (time.perf_counter() - start))
        time.sleep(0.03)
    low, median, high = np.percentile(times[10:], (0, 50, 95))
    return f"{median:.1f} ms (at best {low:.1f}, 95% within {high:.1f})"


if __name__ == "__main__":
    main()
