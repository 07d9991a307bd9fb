"""A visdom server for tests, and the scripts that its page needs.

``python -m tests.visdom_server PORT FOLDER`` serves until it is stopped; nothing is downloaded. Tracking, windows and
keys need no page. To look at the page, ``python -m tests.visdom_server --fetch`` brings its scripts by npm once, into
the environment that Python runs in, and leaves visdom itself as it was installed.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import visdom
from visdom.server import app, run_server

from tests.conftest import REPOSITORY

STATIC = Path(sys.prefix) / "visdom_static"
# Packages of npm, at the versions that visdom's own downloader names, and the files of each by their name on the page.
PACKAGES = {
    "jquery@3.1.1": {"dist/jquery.min.js": "js/jquery.min.js"},
    "bootstrap@3.3.7": {
        "dist/js/bootstrap.min.js": "js/bootstrap.min.js",
        "dist/css/bootstrap.min.css": "css/bootstrap.min.css",
        "dist/fonts": "fonts",
    },
    "react@16.2.0": {"umd/react.production.min.js": "js/react-react.min.js"},
    "react-dom@16.2.0": {"umd/react-dom.production.min.js": "js/react-dom.min.js"},
    "react-resizable@1.4.6": {"css/styles.css": "css/react-resizable-styles.css"},
    "react-grid-layout@0.16.3": {"css/styles.css": "css/react-grid-layout-styles.css"},
    "layout-bin-packer@1.4.0": {"dist/layout-bin-packer.js": "js/layout_bin_packer.js"},
    "plotly.js-dist-min@2.11.1": {"plotly.min.js": "js/plotly-plotly.min.js"},
    "d3@3.5.17": {"d3.min.js": "js/d3.v3.min.js"},
    "d3-selection-multi@1.0.1": {"build/d3-selection-multi.min.js": "js/d3-selection-multi.v1.js"},
    "save-svg-as-png@1.4.17": {"lib/saveSvgAsPng.js": "js/saveSvgAsPng.js"},
    "mathjax@2.7.5": {name: f"js/mathjax/2.7.5/{name}" for name in ("MathJax.js", "config", "extensions", "jax")},
}


def fetch() -> None:
    """Put visdom's own static files and those packages into ``STATIC``."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "install", "--prefix", folder, "--ignore-scripts", "--legacy-peer-deps", "--no-audit"]
        subprocess.run([*command, *PACKAGES], check=True)
        shutil.copytree(Path(visdom.__file__).parent / "static", STATIC, dirs_exist_ok=True)
        for package, files in PACKAGES.items():
            for source, name in files.items():
                found, wanted = Path(folder, "node_modules", package.split("@")[0], source), STATIC / name
                wanted.parent.mkdir(parents=True, exist_ok=True)
                if found.is_dir():
                    shutil.copytree(found, wanted, dirs_exist_ok=True)
                else:
                    shutil.copy(found, wanted)
        # Recent tornado refuses, with 403 for the whole page, to make an address outside of the static folder.
        page = STATIC / "index.html"
        page.write_text(page.read_text().replace('{{ static_url("../user/style.css") }}', '"/user/style.css"'))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def running_server(folder: Path) -> Iterator[int]:
    """A server in a process of its own that keeps its state in ``folder``; gives its port."""
    port = free_port()
    command = [sys.executable, "-m", "tests.visdom_server", str(port), str(folder)]
    with open(folder.with_suffix(".log"), "w") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(folder.with_suffix(".log").read_text()) from None
                time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


def serve(port: int, folder: str) -> None:
    """Serve this machine alone, with the fetched scripts where there are any."""
    app.tornado_settings["autoreload"] = False  # or it starts anew, empty, when a file of ours changes
    if STATIC.is_dir():
        app.tornado_settings["static_path"] = app.tornado_settings["template_path"] = str(STATIC)
    run_server.start_server(port=port, base_url="", env_path=folder, bind_local=True)


if __name__ == "__main__":
    if sys.argv[1] == "--fetch":
        fetch()
    else:
        serve(int(sys.argv[1]), sys.argv[2])
