"""`autoconv demo`: serves a local page on which a net can be watched while it learns."""

import os
import sys
import threading
import webbrowser

import click

from ..demo import PORT
from . import options
from .lines import echo


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", default=PORT,
              help="Port of the page. If it is in use, the next free port is used; 0 means any free port.")
@click.option("--browser/--no-browser", default=True, help="Open the page in a browser.")
@options.device_options
def demo(port: int, browser: bool, device: str, threads: int | None) -> None:
    """Serve a page on which a net learns, reads what you draw, and explains each of its numbers.

    The printed address works only on this machine, and only with its token. Ctrl-C stops the server.
    """
    from ...train.progress import Progress
    from ..demo import serving
    from ..demo.learning import Session

    target = options.use_device(device, threads)
    kernels = target.all_kernels(["float32"])
    target.prepare([(k, dtype) for k, dtype in kernels if not k.is_compiled(dtype)], Progress(0, 1).compiling)
    server = serving.Demo(Session(target.name, threads), port)
    try:
        if port not in (0, server.port):
            echo(f"note: port {port} is in use, so the page is at {server.port}", err=True)
        echo(f"{server.url}\nThe page is available until you press Ctrl-C.")
        has_window = sys.platform in ("darwin", "win32") or any(
            os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
        if browser and has_window:  # a text browser in the terminal cannot show the page
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        server.serve_forever()
    except KeyboardInterrupt:
        echo("\n" * sys.stdout.isatty() + "Stopped.")
    finally:
        server.close()
