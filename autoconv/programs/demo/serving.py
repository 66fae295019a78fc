"""`Demo`: the demo's HTTP server. It accepts only local connections and requests with its token."""

import contextlib
import errno
import hmac
import json
import os
import secrets
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ... import __version__
from ...files.json_text import JsonObject
from . import PORT
from .choices import SettingError
from .events import stream
from .learning import Session
from .routes import Routes

HOST = "127.0.0.1"
TRIES = 20  # number of consecutive ports to try
LARGEST_BODY = 1 << 19  # maximum bytes of a request's body
LINGER = 0.5  # maximum seconds to wait for the rest of a refused request
SILENCE = 10.0  # seconds after which an idle connection is closed

ONCE = ("Host", "Origin", "Cookie", "Sec-Fetch-Site", "Content-Length", "Transfer-Encoding")
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
PAGE = ("index.html", "style.css", "app.js", "server.js", "notes.js", "dom.js", "maps.js", "chart.js", "scores.js",
        "images.js", "learn.js", "draw.js", "look.js", "sums.js", "kernels.js", "photo.js")
HEADERS = {"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
           "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
           "frame-ancestors 'none'", "X-Content-Type-Options": "nosniff",
           "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
           "Cross-Origin-Opener-Policy": "same-origin",
           "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store"}


class RefusedError(Exception):
    """Raised to refuse a request. The answer is the HTTP status and the reason."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Demo(ThreadingHTTPServer):
    """The server of one session. `url` is the page's address; `self.port` may differ from `port`.

    Raises OSError if no port is free. `serve_forever` serves until `shutdown`; `close` ends all
    threads.
    """

    daemon_threads = False  # makes `server_close` wait for the answering threads
    allow_reuse_address = os.name != "nt"  # on Windows, True would let two servers share one port

    def __init__(self, session: Session, port: int = PORT) -> None:
        self.session = session
        self.routes = Routes(session)
        self.token = secrets.token_urlsafe(24)
        folder = files(__package__).joinpath("page")
        self.page = {f"/{name}": folder.joinpath(name).read_bytes() for name in PAGE}
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._bind(port)

    def _bind(self, port: int) -> None:
        """Binds the server to the port or the next free one; for 0, to any free port."""
        for candidate in range(port, min(port + TRIES, 65536)) if port else (0,):
            try:
                super().__init__((HOST, candidate), Handler)
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        else:
            raise OSError(f"The ports {port} to {candidate} are in use. Choose another port with --port N.")
        self.port = int(self.server_address[1])
        self.hosts = {f"{name}:{self.port}" for name in (HOST, "localhost")}
        self.cookie = f"autoconv-demo-{self.port}"  # browsers share cookies between all ports

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/?token={self.token}"

    def close(self) -> None:
        """Ends the session, all connections and all threads. Call it after `serve_forever`."""
        self.session.close()
        with self._guard:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def finish_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._connections.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            with self._guard:
                self._connections.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores errors of closed connections. `_answer` has handled all other errors."""


class Handler(BaseHTTPRequestHandler):
    """Handles one request, then closes the connection."""

    server: Demo
    server_version = f"autoconv/{__version__}"
    sys_version = ""
    timeout = SILENCE

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        def answer() -> None:
            route = self.server.routes.post.get(self.address)
            if route is None:
                raise RefusedError(HTTPStatus.NOT_FOUND, "This address does not exist.")
            self._send(HTTPStatus.OK, route(self.arguments, self._body()))

        self._answer(answer)

    def do_HEAD(self) -> None:
        def refuse() -> None:
            raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "This server supports only GET and POST.")

        self._answer(refuse)

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = do_HEAD  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing, so that the address stays visible on the terminal."""

    def _answer(self, find: Callable[[], None]) -> None:
        try:
            self._check_sender()
            find()
        except RefusedError as refused:
            self._send(refused.status, {"error": str(refused)})
            self._let_read()
        except (ValueError, TypeError) as error:
            setting = {"setting": error.setting} if isinstance(error, SettingError) else {}
            self._send(HTTPStatus.BAD_REQUEST, {"error": str(error), **setting})
        except TimeoutError as error:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)})
        except OSError:
            pass  # the client has disconnected
        except Exception as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"{type(error).__name__}: {error}"})

    def _check_sender(self) -> None:
        """Raises RefusedError unless the request comes from this server's page with its token."""
        self.address = ""
        self.arguments = {}
        hosts = self.headers.get_all("Host", [])
        with contextlib.suppress(ValueError):  # an invalid URL has no token and is refused below
            parts = urlsplit(self.path)
            self.address = parts.path
            self.arguments = dict(parse_qsl(parts.query, max_num_fields=20))
            hosts += [parts.netloc] * bool(parts.netloc)
        origin = self.headers.get("Origin")
        if self.headers.defects or any(len(self.headers.get_all(name, ())) > 1 for name in ONCE):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "The request has an invalid header, or repeats a header that "
                                                       "is allowed only once.")
        if not hosts or set(hosts) - self.server.hosts:
            raise RefusedError(HTTPStatus.FORBIDDEN, "This server accepts requests only at the "
                                                     "address that autoconv demo printed.")
        if origin is not None and origin not in {f"http://{host}" for host in self.server.hosts}:
            raise RefusedError(HTTPStatus.FORBIDDEN, "This server accepts requests only from its own page.")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise RefusedError(HTTPStatus.FORBIDDEN, "This server accepts requests only from its own page.")
        cookie = None
        with contextlib.suppress(CookieError):
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(self.server.cookie)
        given = self.arguments.pop("token", None) or (cookie.value if cookie else "")
        if not hmac.compare_digest(given.encode(errors="replace"), self.server.token.encode()):
            raise RefusedError(HTTPStatus.FORBIDDEN, "The token is missing or wrong. Open the "
                               "address that autoconv demo printed when it started.")

    def _get(self) -> None:
        page = self.server.page
        routes = self.server.routes
        name = "/index.html" if self.address == "/" else self.address
        if name in page:
            self._send_bytes(HTTPStatus.OK, f"{KINDS[name.rpartition('.')[2]]}; charset=utf-8", page[name])
        elif self.address == "/api/events":
            stream(self, self.server.session)
        elif self.address in routes.get:
            self._send(HTTPStatus.OK, routes.get[self.address](self.arguments))
        else:
            raise RefusedError(HTTPStatus.NOT_FOUND, "This address does not exist.")

    def _body(self) -> bytes:
        """Returns the request's body. Raises RefusedError if its declared size is too large."""
        size = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (size.isascii() and size.isdigit()):
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "A request body needs a Content-Length header with a "
                                                           "number of bytes, and no Transfer-Encoding header.")
        if len(size) > 12 or int(size) > LARGEST_BODY:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "A request body must have at "
                                                                    f"most {LARGEST_BODY:,} bytes.")
        body = self.rfile.read(int(size))
        if len(body) != int(size):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "The request body is shorter than its Content-Length.")
        return body

    def _let_read(self) -> None:
        """Reads the rest of a refused request, because otherwise the client may miss the answer."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER)
            left = LARGEST_BODY
            while left > 0 and (sent := len(self.connection.recv(1 << 16))):
                left -= sent

    def _send(self, status: HTTPStatus, answer: JsonObject) -> None:
        text = json.dumps(answer, separators=(",", ":"))
        self._send_bytes(status, "application/json", text.encode())

    def _send_bytes(self, status: HTTPStatus, kind: str, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the client has disconnected
            self.begin(status, kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def begin(self, status: HTTPStatus, kind: str) -> None:
        """Sends the status and the common headers; with the page, also the token as a cookie."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if status == HTTPStatus.OK and self.address == "/":
            self.send_header("Set-Cookie", f"{self.server.cookie}={self.server.token}; Path=/; "
                             "HttpOnly; SameSite=Strict")
