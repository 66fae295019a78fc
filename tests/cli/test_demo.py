"""The demo's server: who may ask, what is refused, and that a net learns behind it; asked by http.client."""

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from autoconv import functional as F
from autoconv.programs.demo import worker
from autoconv.programs.demo.curve import MOST, Curve
from autoconv.programs.demo.events import News
from autoconv.programs.demo.learning import Session
from autoconv.programs.demo.serving import LARGEST_BODY, PAGE, Demo

TINY = {"net": "tiny", "data": "digits", "epochs": 1, "optimizer": "adam", "learning_rate": 0.002}


class Client:
    """Asks a server that runs in threads of this process."""

    def __init__(self, server):
        self.server, self.port, self.token = server, server.port, server.token

    def ask(self, method, path, body=None, token=True, **headers):
        """The status, the headers and the body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        if token:
            path += ("&" if "?" in path else "?") + f"token={self.token}"
        body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers, content

    def get(self, path, **more):
        status, _, content = self.ask("GET", path, **more)
        assert status == 200, content
        return json.loads(content)

    def post(self, path, body=None):
        status, _, content = self.ask("POST", path, body if body is not None else {})
        assert status == 200, content
        return json.loads(content)

    def events(self):
        """The server's events `(name, data)`, as they come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", f"/api/events?token={self.token}")
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "text/event-stream"
        try:
            name = ""
            for line in answer:
                kind, _, text = line.decode().rstrip("\n").partition(": ")
                if kind == "event":
                    name = text
                elif kind == "data":
                    yield name, json.loads(text)
        finally:
            answer.close()
            connection.close()


@pytest.fixture(scope="module")
def client():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "PATIENCE", 280.0)  # kernels are compiled first, which the command does before
        session = Session(threads=1)
        session.build_net(TINY)
    server = Demo(session, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield Client(server)
    server.shutdown()
    thread.join()
    server.close()


def numbers(packed):
    """The bytes of an array that the server packed, in its shape."""
    return np.frombuffer(base64.b64decode(packed["data"]), np.uint8).reshape(packed["shape"])


# Who may ask.


@pytest.mark.parametrize("path", ["/", "/app.js", "/api/page", "/api/events", "/nothing", "//[", "/?" + "a=b&" * 50])
def test_without_the_token_everything_is_refused(client, path):
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        assert client.ask(method, path, token=False)[0] == 403, method
    assert client.ask("GET", f"{path}{'&' if '?' in path else '?'}token={client.token[:-1]}", token=False)[0] == 403


@pytest.mark.parametrize("headers", [
    {"Host": "evil.example"}, {"Host": "evil.example:8765"}, {"Host": "127.0.0.1:1"},
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
    {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"},
])
def test_another_host_or_origin_is_refused(client, headers):
    assert client.ask("GET", "/", **headers)[0] == 403
    assert client.ask("POST", "/api/pause", {}, **headers)[0] == 403


@pytest.mark.parametrize(("target", "headers", "status"), [
    ("/", ["Host: {host}"], 200), ("http://{host}/", ["Host: {host}"], 200),
    ("/", ["Host: {host}", "Host: evil.example"], 400), ("/", ["Host: {host}", "host: {host}"], 400),
    ("/", ["Host: evil.example", "Host: {host}"], 400), ("/", [], 403),
    ("/", ["Host: {host}", "Origin: http://{host}", "Origin: http://evil.example"], 400),
    ("/", ["Host: {host}", "Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"], 400),
    ("/", ["Host: {host}", "Host : evil.example"], 400), ("/", ["Host: {host}", "no header", "Origin: null"], 400),
    ("http://evil.example/", ["Host: {host}"], 403),
])
def test_a_request_names_one_host_and_has_each_header_once(client, target, headers, status):
    host = f"127.0.0.1:{client.port}"
    lines = [f"GET {target}?token={client.token} HTTP/1.1", *headers, "", ""]
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).format(host=host).encode())
        assert f" {status} ".encode() in connection.makefile("rb").readline()


def test_the_page_comes_with_a_policy_and_a_cookie_that_opens_the_rest(client):
    status, headers, content = client.ask("GET", "/", Origin=f"http://127.0.0.1:{client.port}")
    assert status == 200
    assert b"<!doctype html>" in content
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    for name in PAGE:
        status, headers, content = client.ask("GET", f"/{name}", token=False, Cookie=cookie.split(";")[0])
        assert status == 200
        assert content
    wrong = cookie.split(";")[0][:-1]
    assert client.ask("GET", "/app.js", token=False, Cookie=wrong)[0] == 403


def test_the_page_takes_nothing_from_elsewhere():
    folder = Path(sys.modules["autoconv.programs.demo"].__path__[0]) / "page"
    assert sorted(f.name for f in folder.iterdir()) == sorted(PAGE)
    for file in folder.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, file.name
        assert "https://" not in text, file.name
        assert "innerHTML" not in text, file.name


@pytest.mark.parametrize("name", [
    "/../serving.py", "/%2e%2e/serving.py", "/..%2fserving.py", "/page/index.html", "/etc/passwd", "//etc/passwd",
    "/app.js/../../serving.py", "/app.js%00.html", "/C:\\Windows", "/index.html.", "/APP.JS",
])
def test_a_hostile_name_is_never_a_path(client, name):
    status, _, content = client.ask("GET", name)
    assert status == 404
    assert json.loads(content) == {"error": "This address does not exist."}


@pytest.mark.parametrize("claimed", [LARGEST_BODY + 1, 100 * 2**20, 10**30])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(client, claimed):
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
        connection.sendall(f"POST /api/draw?token={client.token} HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n"
                           f"Content-Length: {claimed}\r\n\r\n".encode())  # and nothing of the body
        assert b" 413 " in connection.makefile("rb").readline()


@pytest.mark.parametrize(("path", "body", "says"), [
    ("/api/start", {"net": "lectrue"}, "lecture"), ("/api/start", {"data": "cifar10"}, "Unknown data set"),
    ("/api/start", {"layers": 3}, "no setting 'layers'"), ("/api/start", {"learning_rate": 1e9}, "learning_rate"),
    ("/api/start", {"learning_rate": True}, "learning_rate"), ("/api/start", {"batch_size": 10**9}, "batch_size"),
    ("/api/start", {"epochs": 0}, "epochs"), ("/api/start", [1], "JSON object"),
    ("/api/start", b"\xff{", "JSON object"),
    ("/api/start", b"[" * 100_000, "JSON object"), ("/api/start", {"net": {"a": 1}}, "Unknown net"),
    ("/api/optimizer", {"optimizer": "lamb", "learning_rate": 0.1}, "Unknown optimizer"),
    ("/api/optimizer", {"optimizer": "adam"}, "must contain the field 'learning_rate'"),
    ("/api/rate", {"learning_rate": "1"}, "Received: '1'"), ("/api/start", {"epochs": "many"}, "Received: 'many'"),
    ("/api/rate", b'{"learning_rate": NaN}', "learning_rate"), ("/api/image", {"image": -1}, "test image must"),
    ("/api/image", {"image": 1.5}, "test image must"), ("/api/look", {"image": 10**9}, "test image must"),
    ("/api/look", {"picture": "AAAA"}, "28 x 28"), ("/api/look", {"picture": 7}, "28 x 28"),
    ("/api/draw?width=28&height=28", b"too short", "one byte per pixel"), ("/api/draw?width=0&height=0", b"", "width"),
    ("/api/draw?width=9999&height=1", b"", "width"), ("/api/draw?width=-1&height=1", b"", "width"),
])
def test_bad_values_are_named(client, path, body, says):
    status, _, content = client.ask("POST", path, body)
    assert status == 400
    assert says in json.loads(content)["error"]


def test_a_body_without_a_length_and_unknown_methods_are_refused(client):
    assert client.ask("POST", "/api/pause", iter([b"{}"]))[0] == 411  # http.client sends it in chunks
    assert client.ask("PUT", "/app.js", b"x")[0] == 405
    assert client.ask("POST", "/app.js", b"{}")[0] == 404


# What it shows.


def test_a_net_learns_pauses_steps_and_goes_on(client):
    client.post("/api/start", TINY | {"epochs": 5})
    events, curve, seen = client.events(), [], set()
    for name, data in events:
        seen.add(name)
        if name == "points":
            curve[data["learned"]["begin"]:] = data["learned"]["points"]
        if name == "view":
            view = data
        if curve and curve[-1][2] > 0.8 and "view" in seen:
            break
    assert seen == {"state", "points", "view"}
    assert [step for step, *_ in curve] == sorted({step for step, *_ in curve})
    assert curve[0][1] > curve[-1][1]  # the loss
    assert numbers(view["filters"]).shape == (5, 5, 6)
    assert [layer["maps"]["shape"] for layer in view["layers"]] == [
        [24, 24, 6], [12, 12, 6], [10, 10, 12], [5, 5, 12], [300], [10]]
    assert sum(view["scores"]) == pytest.approx(1, abs=1e-4)

    def now(phase):
        return next(data for name, data in events if name == "state" and data["phase"] == phase)

    client.post("/api/pause")
    paused = client.server.session
    steps = paused.do(lambda: paused.steps)
    client.post("/api/step")
    for name, data in events:
        if name == "state" and data["step"] == steps + 1:
            break
    assert paused.do(lambda: paused.steps) == steps + 1
    assert client.post("/api/rate", {"learning_rate": 0.0005})["learning_rate"] == 0.0005
    assert client.post("/api/optimizer", {"optimizer": "sgd", "learning_rate": 0.01})["optimizer"] == "sgd"
    assert paused.do(lambda: paused.steps) == steps + 1  # still paused, with the same weights
    client.post("/api/resume")
    finished = now("finished")
    assert finished["step"] == finished["steps"] == 5 * finished["steps_per_epoch"]
    assert finished["test_accuracy"] > 0.8
    events.close()


def test_the_drawing_is_read_as_the_net_sees_it(client):
    paper = np.full((60, 50), 255, np.uint8)
    paper[10:50, 22:28] = 0
    status, _, content = client.ask("POST", "/api/draw?width=50&height=60", paper.tobytes())
    seen = json.loads(content)
    assert status == 200
    assert seen["ink"]
    picture = numbers(seen["picture"])
    assert picture.shape == (28, 28)
    rows = np.flatnonzero(picture.any(1))
    assert (rows[0], rows[-1]) == (4, 23)  # in a box of 20 x 20, bright on dark
    assert len(seen["scores"]) == 10
    blank = client.ask("POST", "/api/draw?width=8&height=8", bytes(64))
    assert json.loads(blank[2])["ink"] is False


def test_the_sum_of_a_pixel_is_that_of_conv2d(client):
    session, random = client.server.session, np.random.default_rng(0)
    client.post("/api/anew", TINY)
    session.model.set_weights([w + random.normal(0, 0.05, w.shape).astype(np.float32)  # biases, too
                               for w in session.model.get_weights()])
    look = client.post("/api/look", {"image": 3})
    net, image = session.model, session.data.x_test[3:4].astype(np.float32)
    x, values = image, {}
    for layer in net.layers:
        values[layer.name] = (x, layer)
        x = layer(x).numpy()
    for shown, place in zip(look["layers"], [(3, 7, 2), (5, 4, 1), (2, 9, 11), (4, 0, 8), (17,), (6,)]):
        found = client.get(f"/api/explain?look={look['look']}&layer={shown['name']}&place={','.join(map(str, place))}")
        x, layer = values[shown["name"]]
        result = layer(x).numpy()[0]
        assert found["value"] == pytest.approx(float(result[place]), rel=1e-5, abs=1e-6)
        if found["kind"] == "Conv2D":
            before = F.conv2d(x, layer.kernel, layer.bias).numpy()[0]
            assert found["sum"] == pytest.approx(float(before[place]), rel=1e-4, abs=1e-5)
            window, weights = np.array(found["window"]), np.array(found["weights"])
            np.testing.assert_allclose(window * weights, found["products"], rtol=1e-6)
            np.testing.assert_allclose(np.array(found["products"]).sum((0, 1)), found["sums"], rtol=1e-5, atol=1e-6)
            assert sum(found["sums"]) + found["bias"] == pytest.approx(found["sum"], rel=1e-5, abs=1e-6)
            assert found["value"] == pytest.approx(max(found["sum"], 0), rel=1e-4, abs=1e-5)
            rows, columns = found["rows"], found["columns"]
            np.testing.assert_array_equal(window.astype(np.float32), x[0][rows[0]:rows[-1] + 1,
                                                                          columns[0]:columns[-1] + 1])
        elif found["kind"] == "MaxPooling2D":
            i, j = found["winner"]
            assert found["window"][i][j][0] == found["value"] == np.max(found["window"])
            assert x[0][found["rows"][i], found["columns"][j], place[2]] == np.float32(found["value"])
        elif found["kind"] == "Flatten":
            assert x[0][tuple(found["from"])] == np.float32(found["value"])
        else:
            assert found["powers"][place[0]] / sum(found["powers"]) == pytest.approx(found["value"], rel=1e-4)
            listed = sum(product for *_, product in found["listed"])
            assert listed + found["others"] + found["bias"] == pytest.approx(found["sum"], abs=1e-6)


@pytest.mark.parametrize("query", ["layer=nothing&place=0,0,0", "layer=flatten&place=0,0", "place=99,0,0", "place=x",
                                   "place=-1,0,0", "place=", "look=12345"])
def test_what_is_not_there_cannot_be_explained(client, query):
    look = client.post("/api/look", {"image": 0})
    first = look["layers"][0]["name"]
    path = f"/api/explain?look={look['look']}&layer={first}&place=0,0,0&{query}"
    parts = dict(pair.split("=") for pair in path.partition("?")[2].split("&"))
    status, _, content = client.ask("GET", "/api/explain?" + "&".join(f"{k}={v}" for k, v in parts.items()))
    assert status == 400
    assert json.loads(content)["error"]


def test_a_look_stays_as_it_was_while_the_net_goes_on(client):
    look = client.post("/api/look", {"image": 0})
    ask = f"/api/explain?look={look['look']}&layer={look['layers'][0]['name']}&place=5,5,0"
    before = client.get(ask)
    client.post("/api/start", TINY)
    assert client.get(ask) == before
    for _ in range(20):
        client.post("/api/look", {"image": 0})
    assert client.ask("GET", ask)[0] == 400  # too old


@pytest.mark.filterwarnings("ignore:After epoch")
def test_a_net_whose_loss_does_not_change_is_not_said_to_learn(client):
    client.post("/api/anew", TINY | {"epochs": 100})
    first = next(layer for layer in client.server.session.model.layers if hasattr(layer, "kernel"))
    first.bias.assign(np.full(first.bias.shape, -1000.0, np.float32))  # its ReLU returns only 0
    events = client.events()
    client.post("/api/resume")
    found = next(data for name, data in events if name == "state" and (data["stuck"] or data["phase"] == "finished"))
    assert (found["stuck"], found["phase"]) == (True, "learning")
    client.post("/api/start", TINY | {"epochs": 5})
    ended = next(data for name, data in events if name == "state" and data["phase"] == "finished")
    events.close()
    assert not ended["stuck"]


@pytest.mark.filterwarnings("ignore:The loss became")
def test_a_loss_that_is_no_number_stops_the_net_and_says_why(client):
    client.post("/api/anew", TINY)
    client.server.session.model.layers[-1].bias.assign(np.full(10, np.nan, np.float32))
    events = client.events()
    client.post("/api/resume")
    ended = next(data for name, data in events if name == "state" and data["phase"] in ("failed", "finished"))
    events.close()
    assert ended["phase"] == "failed"
    assert "learning rate is too high" in ended["message"]
    assert sum(client.post("/api/look", {"image": 0})["scores"]) == 0  # JSON has no NaN
    assert client.post("/api/anew", TINY)["phase"] == "new"


def test_curves_stay_short_and_keep_their_means():
    curve, count = Curve(), 5 * MOST - 10
    for i in range(count):
        curve.add(i + 1, 1.0, float(i))
    begin, points, mark = curve.read_points()
    assert begin == 0
    assert MOST / 2 <= len(points) <= MOST
    assert points[-1][0] == count
    steps = np.diff([0, *(step for step, _ in points)])
    assert np.average([value for _, value in points], weights=steps) == pytest.approx((count - 1) / 2)
    assert curve.read_points(mark) == (len(points), [], mark)
    curve.add(count + 1, 1.0, 7.0)
    assert curve.read_points(mark)[:2] == (len(points), [[count + 1, 7.0]])
    assert Curve().read_points(mark)[:2] == (0, [])


def test_a_curve_is_read_whole_while_another_thread_adds_to_it():
    """Points are added, and joined, in the middle of the reading: they count as added before it or after it."""
    class Slow(int):
        """Is compared after the other thread had its chance."""

        def __eq__(self, other):
            adding.start()
            adding.join(0.1)
            return int(self) == other

        __hash__ = int.__hash__

    curve = Curve()
    for i in range(MOST):
        curve.add(i + 1, 1.0, float(i))
    adding = threading.Thread(target=curve.add, args=(MOST + 1, 1.0, 7.0))  # one too many
    _, followed, mark = curve.read_points()
    for known in (mark._replace(generation=Slow(mark.generation)), None):
        begin, points, mark = curve.read_points(known or mark)
        followed[begin:] = points
        adding.join()
    assert followed == curve.read_points()[1]
    assert len(followed) == MOST // 2 + 1


def test_a_new_net_has_curves_of_its_own(client):
    """Also for who looks at the moment at which it is made: points are not taken for those of the net before."""
    client.post("/api/start", TINY)
    news = News(client.server.session)
    while "event: points" not in (text := news.text()) or '"points":[[' not in text:
        time.sleep(0.02)
    client.post("/api/anew", TINY)
    assert '{"learned":{"begin":0,"points":[]},"tests":{"begin":0,"points":[]}}' in news.text()


# The process.


def start(*arguments):
    process = subprocess.Popen([sys.executable, "-m", "autoconv", "demo", "--no-browser", "--threads", "1", *arguments],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return process, next(line.strip() for line in process.stdout if line.startswith("http"))


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_ends_it_while_it_learns_and_a_port_in_use_is_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process, address = start("--port", str(port))
    try:
        found = address.removeprefix("http://127.0.0.1:").partition("/?token=")
        assert port < int(found[0]) < port + 20
        connection = http.client.HTTPConnection("127.0.0.1", int(found[0]), timeout=30)
        connection.request("POST", f"/api/start?token={found[2]}", json.dumps(TINY | {"epochs": 1000}))
        assert connection.getresponse().read()
        connection.close()
        watching = http.client.HTTPConnection("127.0.0.1", int(found[0]), timeout=30)
        watching.request("GET", f"/api/events?token={found[2]}")
        events = watching.getresponse()
        assert events.readline() == b"event: state\n"
    finally:
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=20)
    events.close()
    watching.close()
    assert process.returncode == 0
    assert out.endswith("Stopped.\n")
    assert error == f"note: port {port} is in use, so the page is at {found[0]}\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(found[0])), timeout=5)


def test_closing_leaves_no_thread():
    before = set(threading.enumerate())
    session = Session(threads=1)
    server = Demo(session, 0)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    serving.start()
    client = Client(server)
    client.post("/api/start", TINY | {"epochs": 1000})
    watching = client.events()
    next(watching)
    idle = socket.create_connection(("127.0.0.1", server.port))  # says nothing
    server.shutdown()
    serving.join()
    server.close()
    idle.close()
    watching.close()
    assert set(threading.enumerate()) <= before
