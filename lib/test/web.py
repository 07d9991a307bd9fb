"""The browser demo: a static page that tracks by onnxruntime-web, put together from what ships, an export and npm."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lib.test.export.formats import required
from lib.utils.errors import DataError, OSTrackError
from lib.utils.paths import SHIPPED_DIR

PAGE = SHIPPED_DIR / "web"
BACKENDS = ("wasm", "webgpu")  # of the browser
_RUNTIME = "onnxruntime-web"
_PACKAGE_FILES = ("package.json", "package-lock.json")
# Of the package: what web/worker.js imports for each backend, and what that loads in turn.
_RUNTIME_FILES = (
    *("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    *("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
)


def find_runtime(folder: Path) -> Path | None:
    """Find the onnxruntime-web that :func:`fetch_runtime` has put below ``folder``, in the version of the page."""
    wanted = json.loads((PAGE / "package.json").read_text())["dependencies"][_RUNTIME]
    package = folder / "node_modules" / _RUNTIME
    manifest = package / "package.json"
    found = json.loads(manifest.read_text())["version"] if manifest.is_file() else None
    return package / "dist" if found == wanted else None


def fetch_runtime(folder: Path) -> Path:
    """Install onnxruntime-web below ``folder`` by npm, unless it is there; its version and hash are in ``web``.

    Raises OSTrackError: npm is missing or fails.
    """
    if found := find_runtime(folder):
        return found
    if shutil.which("npm") is None:
        raise OSTrackError("npm was not found, which brings onnxruntime-web: install Node.js, and run this again")
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PACKAGE_FILES:
        shutil.copy(PAGE / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    found = find_runtime(folder)
    if ended.returncode or found is None:
        said = next((line for line in ended.stderr.splitlines() if line.strip()), f"status {ended.returncode}")
        raise OSTrackError(f"npm could not install onnxruntime-web ({said}): is the registry reachable?")
    return found


def describe_network(path: Path) -> dict[str, Any]:
    """Describe an exported ONNX file for the page: its record, and its inputs and outputs.

    Raises DataError: the file is no exported tracker for one target.
    """
    onnx = required("onnx")
    try:
        model = onnx.load(path)
    except Exception as error:  # whatever protobuf and onnx raise on a file that is none
        raise DataError(f"{path} cannot be read as ONNX ({error}): tracking/export.py writes such files") from error

    def described(value: Any) -> dict[str, Any]:
        tensor = value.type.tensor_type
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        return {"type": kind, "shape": [size.dim_value for size in tensor.shape.dim]}

    record = {entry.key: entry.value for entry in model.metadata_props}
    if (batch := record.get("batch")) != "1":
        raise DataError(f"{path} is no tracker for one target (batch {batch}): export one with tracking/export.py")
    found: dict[str, Any] = {"file": f"{record['precision']}.onnx", "record": record}
    for name, values in (("inputs", model.graph.input), ("outputs", model.graph.output)):
        found[name] = {value.name: described(value) for value in values}
    return found | {"bytes": path.stat().st_size}


def write_site(folder: Path, networks: Mapping[str, Path], runtime: Path) -> None:
    """Put the page together in ``folder``, anew, from where any static server can serve it.

    ``networks`` are exported ONNX files by backend of the browser, see :data:`BACKENDS`; ``runtime`` is from
    :func:`fetch_runtime`. Raises DataError: as of :func:`describe_network`; nothing is written then.
    """
    descriptions = {backend: describe_network(path) for backend, path in networks.items()}
    shutil.rmtree(folder, ignore_errors=True)
    unused = shutil.ignore_patterns("node_modules", *_PACKAGE_FILES)
    shutil.copytree(PAGE, folder, ignore=unused)
    for part in ("ort", "models"):
        (folder / part).mkdir()
    for name in _RUNTIME_FILES:
        shutil.copy(runtime / name, folder / "ort")
    for backend, description in descriptions.items():
        shutil.copy(networks[backend], folder / "models" / description["file"])
        (folder / "models" / f"{backend}.json").write_text(json.dumps(description, indent=1))


class _Handler(SimpleHTTPRequestHandler):
    """Serves files with the headers that give a page threads, and lets browsers ask for new versions every time."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that is closed while it loads is no error; what else goes wrong is shown as usual."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def open_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of ``folder`` for this machine alone, on ``port``, or any free one for 0; it does not serve yet.

    Raises OSTrackError: the port is not available.
    """
    try:
        return _Server(("127.0.0.1", port), functools.partial(_Handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        raise OSTrackError(f"port {port} cannot be had ({error}): choose another with --port, or 0 for any") from error
