"""The browser demo in a real browser: its boxes are the Python tracker's, and what a person does with it works."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import shutil
import sys
import threading
import time
import urllib.request
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch

from lib.config.ostrack import load_config
from lib.models.ostrack import build_ostrack
from lib.test import web
from lib.test.evaluation.environment import env_settings
from lib.test.tracker import build_tracker
from lib.utils.checkpoint import save_checkpoint
from lib.utils.crop import box_to_crop, crop_window, cut_window
from lib.utils.errors import OSTrackError
from lib.utils.image_io import write_image
from lib.utils.video_io import VideoFile
from tests.browser import CHROMIUM, Browser
from tests.conftest import load_script
from tests.golden.fixtures import clip_frame, fill_state_dict

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

TINY = "vitt_256_ce_images"
SMALL = ("DATA.SEARCH.SIZE=160", "DATA.TEMPLATE.SIZE=64", "TEST.SEARCH_SIZE=128", "TEST.TEMPLATE_SIZE=64",
         "MODEL.BACKBONE.DEPTH=3", "MODEL.BACKBONE.CE_LOC=[1]", "MODEL.BACKBONE.CE_KEEP_RATIO=[0.7]",
         "MODEL.HEAD.NUM_CHANNELS=16", "TEST.SIZE_SMOOTHING=0.5")  # fmt: skip
CLIP, BOX = web.PAGE / "sample/helicopter.mp4", (74, 244, 137, 92)  # of the helicopter in its first frame


@pytest.fixture(scope="module")
def runtime():
    """onnxruntime-web, where ``make web`` has put it; tests download nothing."""
    found = web.find_runtime(Path(env_settings().save_dir) / "web")
    if found is None:
        pytest.skip("onnxruntime-web is not there: python tracking/web.py --build_only brings it by npm")
    return found


@pytest.fixture(scope="module")
def window():
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with Browser(flags="--use-fake-device-for-media-stream") as browser:  # a camera that shows a test picture
        yield browser


@contextlib.contextmanager
def served(folder):
    """The address of a folder as ``make web`` serves it."""
    with web.open_server(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def build(script, folder, runtime, patch, *arguments):
    """Run ``tracking/web.py`` with an output folder of its own, in which the packages of npm are there already.

    Returns:
        The folder of the page, and what was printed.
    """
    (folder / "web").mkdir(parents=True)
    (folder / "web/node_modules").symlink_to(runtime.parents[1])
    patch.setattr(sys, "argv", ["web.py", "--save_dir", str(folder), *arguments])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        script.main()
    return folder / "web/site", printed.getvalue()


@pytest.fixture(scope="module")
def tiny(runtime, tmp_path_factory):
    """The page with a small network of drawn weights: its folder, and the Python tracker that runs the same file."""
    folder = tmp_path_factory.mktemp("tiny")
    model = build_ostrack(load_config(TINY, SMALL))
    save_checkpoint({"net": fill_state_dict(model.state_dict())}, folder / "weights.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web._Server, "serve_forever", Mock(side_effect=KeyboardInterrupt))  # Ctrl-C at once
        options = ["--config", TINY, "--checkpoint", str(folder / "weights.pth"), "--port", "0", *SMALL]
        site, printed = build(load_script("web"), folder, runtime, patch, *options)
    assert re.search(r"Open http://localhost:[0-9]{4,} in a browser; Ctrl-C ends this.\n\nended\n$", printed)
    tracker = build_tracker(
        TINY, folder / "weights.pth", backend="onnxruntime", precision="fp16", overrides=list(SMALL), save_dir=folder
    )
    assert len(list((folder / "exports").iterdir())) == 1  # of which the page has a copy
    return site, tracker


@pytest.fixture(scope="module")
def address(tiny):
    """Where the page with the small network is served."""
    with served(tiny[0]) as address:
        yield address


@pytest.fixture
def page(window, address):
    """The page, ready; at the end nothing went wrong in it, and nothing came from elsewhere."""
    window.errors.clear()
    window.requests.clear()
    if window.evaluate("location.href") != address:  # opening it is slow
        open_page(window, address)
    yield window
    assert window.errors == []
    assert all(request.removeprefix("blob:").startswith(address) for request in window.requests)


def open_page(browser, address):
    browser.open(address)
    browser.wait("document.documentElement.dataset.ready || !problem.hidden")


def choose(browser, action):
    """Do what gives the page new frames, and wait until the first is shown."""
    browser.evaluate("document.querySelector('#status').textContent = ''")
    action()
    browser.wait("document.querySelector('#status').textContent.startsWith('Drag')")


def frames_drawn(folder, count=6):
    """Frames of the drawn clip as PNG, and what they show."""
    images = [clip_frame(t)[0] for t in range(count)]
    for t, image in enumerate(images):
        write_image(folder / f"frame_{t}.png", image)
    return images, clip_frame(0)[1]


def set_box(browser, box):
    for i, value in enumerate(box, 1):
        field = f"#box label:nth-of-type({i}) input"
        browser.evaluate(f"document.querySelector('{field}').value = ''")
        browser.type(field, str(value))
        browser.press("Tab")


def saved_boxes(browser, folder):
    """What the button saves: a header, and rows of place, box and score."""
    browser.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.click("#save")
    deadline = time.monotonic() + 30
    while not (folder / "boxes.csv").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    header, *rows = (folder / "boxes.csv").read_text().splitlines()
    return header, np.array([[float(value) for value in row.split(",")] for row in rows])


def test_crops_have_the_bytes_of_opencv(window, runtime, tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 84, 3), np.uint8)
    boxes = [[*rng.uniform(-20, (84, 60)), *rng.uniform(2, 50, 2)] for _ in range(40)]
    boxes += [[10, 10, 16, 16], [2.5, 3.5, 8, 8], [200, 10, 9, 9], [0, 0, 84, 60], [60, 40, 24, 20], [-30, 5, 64, 16]]
    factors = [2.0, 3.5, 1.0, 4.0] * 12
    rgba = np.dstack((image, np.full(image.shape[:2], 255, np.uint8)))
    with served(web.PAGE) as address:
        window.open(address)
        found = window.evaluate(
            f"""(async () => {{
              const {{ cropWindow, cutCrop }} = await import("/crop.js");
              const bytes = Uint8Array.from(atob("{base64.b64encode(rgba).decode()}"), (c) => c.charCodeAt(0));
              const frame = {{ width: 84, height: 60, read: (x, y, w, h) => Uint8Array.from({{ length: 4 * w * h }},
                (_, i) => bytes[4 * ((y + Math.floor(i / 4 / w)) * 84 + x + (Math.floor(i / 4) % w)) + (i % 4)]) }};
              return {json.dumps(boxes)}.map((box, i) => {{
                const window = cropWindow(box, {json.dumps(factors)}[i]);
                return [window.x, window.y, window.side, ...cutCrop(frame, window, 32)];
              }});
            }})()"""
        )
    for box, factor, (x, y, side, *pixels) in zip(boxes, factors, found, strict=False):
        expected = crop_window(box, factor)
        assert (x, y, side) == (expected.x, expected.y, expected.side), box
        crop = cv2.resize(cut_window(image, expected)[0], (32, 32))
        np.testing.assert_array_equal(np.reshape(pixels, (32, 32, 3)), crop, err_msg=f"{box} {factor}")
    assert len(found) == len(boxes) and np.ptp([len(set(values)) for values in found]) > 50


def test_a_network_that_wants_the_box_gets_it_and_others_are_refused(window, runtime):
    box, size = [20.3, 11.6, 23.0, 31.5], 96
    side = crop_window(box, 2.0).side
    place = torch.tensor(box)
    description = {
        "record": {"template_size": str(size), "search_size": "192", "template_factor": "2.0", "search_factor": "3.5",
                   "stride": "16", "trained_search_size": "192", "size_smoothing": "0", "min_size": "10", "head": "CENTER"},
        "inputs": {"template": {}, "search": {}, "box": {}},
        "outputs": {"score_map": {}, "size_map": {}, "offset_map": {}},
    }  # fmt: skip
    with served(web.PAGE) as address:
        window.open(address)
        inputs, *refused = window.evaluate(
            f"""(async () => {{
              const {{ readSettings, Tracker }} = await import("/tracker.js");
              const description = {json.dumps(description)}, given = {{}};
              const tracker = new Tracker(readSettings(description), (inputs) => {{
                for (const [name, value] of Object.entries(inputs)) given[name] = [...value];
                return {{ score_map: new Float32Array(144).fill(NaN), size_map: new Float32Array(288),
                          offset_map: new Float32Array(288) }};
              }});
              const frame = {{ width: 80, height: 70, read: (x, y, w, h) => new Uint8Array(4 * w * h).fill(9) }};
              const said = (work) => Promise.resolve().then(work).then(() => "nothing", (error) => error.message);
              tracker.start(frame, {json.dumps(box)});
              const nan = await said(() => tracker.step(frame));
              const outside = await said(() => tracker.start(frame, [90, 5, 3, 3]));
              const input = await said(() => readSettings({{ ...description, inputs: {{ memory: {{}} }} }}));
              const output = await said(() => readSettings({{ ...description, outputs: {{}} }}));
              return [given, nan, outside, input, output];
            }})()"""
        )
    expected = box_to_crop(place, place, size / side, size)
    np.testing.assert_allclose(inputs["box"], expected.numpy(), atol=1e-7)
    assert len(inputs["template"]) == size * size * 3 and len(inputs["search"]) == 192 * 192 * 3
    assert refused == [
        "the network gave no numbers",
        "the box 90, 5, 3, 3 has no area inside the 80 x 70 frame",
        'the network has an input "memory", which this page cannot give it',
        'the network has no output "score_map", which its boxes are read from',
    ]


def test_pictures_are_tracked_as_in_python(page, tiny, tmp_path):
    images, box = frames_drawn(tmp_path)
    tracker = tiny[1]
    tracker.initialize(images[0], {"init_bbox": box})
    expected = [tracker.track(image) for image in images[1:]]
    assert np.ptp([found["target_bbox"] for found in expected], axis=0).max() > 1  # something moves

    assert "drop one here" in page.texts("#hint")[0] and page.evaluate("crossOriginIsolated")
    assert page.texts("#network")[0].startswith(f"{TINY}, fp16 (")
    choose(page, lambda: page.choose("#files", sorted(tmp_path.glob("*.png"), reverse=True)))
    assert page.evaluate("play.disabled && [view.width, view.height]") == [320, 240]
    set_box(page, box)
    page.click("#step")
    page.wait("frame.textContent === '1' && !play.disabled")
    page.click("#play")
    page.wait("document.querySelector('#status').textContent.startsWith('The end')")
    assert page.evaluate("play.disabled && step.disabled")
    last = expected[-1]["best_score"]
    assert page.texts("#score") == [f"{last:.2f}"] and abs(page.evaluate("meter.value") - last) < 1e-3
    assert "frames/s (network" in page.texts("#speed")[0]
    header, rows = saved_boxes(page, tmp_path)
    assert header == "frame,x,y,w,h,score"
    np.testing.assert_array_equal(rows[:, 0], range(len(images)))
    np.testing.assert_array_equal(rows[0, 1:5], box)
    np.testing.assert_allclose(rows[1:, 1:5], [found["target_bbox"] for found in expected], atol=0.01)
    np.testing.assert_allclose(rows[1:, 5], [found["best_score"] for found in expected], atol=1e-3)


def test_a_video_is_tracked_paused_stepped_and_started_again(page):
    choose(page, lambda: page.click("#sample"))
    assert page.evaluate("[view.width, view.height, document.activeElement.id]") == [640, 512, "view"]
    assert page.texts("#frame") == ["0.00 s"]
    x, y, w, h = BOX
    page.drag("#view", (x / 640, y / 512), ((x + w) / 640, (y + h) / 512))
    seconds = "parseFloat(document.querySelector('#frame').textContent)"
    page.wait(f"play.textContent === 'Pause' && {seconds} > 0.15")
    page.press(" ")
    page.wait("play.textContent === 'Track'")
    paused = page.evaluate(seconds)
    page.press("s")
    page.wait(f"{seconds} > {paused}")
    assert page.evaluate(seconds) < paused + 0.11  # a frame, or, where the machine is busy, a few
    page.press("r")
    page.wait(f"{seconds} === 0")
    assert page.evaluate("play.disabled && save.disabled")


def test_a_box_is_drawn_by_finger_and_by_keys(page, tmp_path):
    frames_drawn(tmp_path, 2)
    choose(page, lambda: page.choose("#files", sorted(tmp_path.glob("*.png"))))
    values = "[...document.querySelectorAll('#box input')].map((field) => field.valueAsNumber)"
    page.press("ArrowRight")  # the first gives a box in the middle
    page.wait("!play.disabled")
    assert page.evaluate(values) == [120, 90, 80, 60]
    page.press("ArrowRight")
    page.press("ArrowUp")
    page.press("ArrowLeft", shift=True)
    page.wait(f"{values}.join() === '123,87,77,60'")
    page.press("Enter")
    page.wait("frame.textContent === '1'")
    page.press("r")
    page.wait("frame.textContent === '0'")
    page.drag("#view", (0.8, 0.75), (0.6, 0.5), touch=True)  # from the lower right corner
    page.wait("frame.textContent === '1'")
    page.click("#save")
    labelled = "(e) => e.ariaLabel || e.labels?.length || e.textContent.trim()"
    controls = "[...document.querySelectorAll('button, input, canvas, meter')]"
    assert page.evaluate(f"{controls}.length >= 14 && {controls}.every({labelled})")


def test_a_camera_is_shown_and_tracked(page):
    permission = {"name": "camera"}
    page.send("Browser.setPermission", permission=permission, setting="denied")
    page.click("#camera")
    page.wait("!problem.hidden")
    assert page.texts("#problem")[0].startswith("no picture from the camera: this page may not use it")
    page.send("Browser.setPermission", permission=permission, setting="granted")
    choose(page, lambda: page.click("#camera"))
    assert page.evaluate("problem.hidden && document.querySelector('video').srcObject !== null")
    first = page.texts("#frame")
    page.wait(f"frame.textContent !== {json.dumps(first[0])}")  # it goes on without a box
    page.drag("#view", (0.3, 0.3), (0.6, 0.6))
    page.wait("play.textContent === 'Pause' && !save.disabled")
    page.click("#reset")
    page.wait("play.textContent === 'Track' && save.disabled")


def test_files_that_cannot_be_shown_are_named(page, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"no video")
    (tmp_path / "a.png").write_bytes(b"no picture")
    for files, message in ((["film.mp4"], "film.mp4 is no video that this browser can play"),
                           (["a.png"], "a.png is no picture that this browser can show"),
                           (["film.mp4", "a.png"], "choose one video, or the pictures of one sequence")):  # fmt: skip
        page.evaluate("problem.hidden = true")
        page.choose("#files", [tmp_path / name for name in files])
        page.wait("!problem.hidden")
        assert message in page.texts("#problem")[0]


def test_a_network_that_cannot_be_loaded_is_told(window, tiny, tmp_path):
    site = tmp_path / "site"
    shutil.copytree(tiny[0], site, copy_function=os.link)
    path = site / "models/fp16.onnx"
    damaged = path.read_bytes()[:-9]
    path.unlink()
    path.write_bytes(damaged)
    with served(site) as address:
        open_page(window, address)
        assert "/models/fp16.onnx is not of" in window.texts("#problem")[0]
    with served(web.PAGE) as address:  # where nothing was built
        open_page(window, address)
        assert 'no models/wasm.json (status 404): run "make web" again' in window.texts("#problem")[0]
        assert window.evaluate("play.disabled")
        choose(window, lambda: window.click("#sample"))  # which is there
        assert "could not be loaded" in window.texts("#problem")[0]  # still


@pytest.mark.slow
def test_the_shipped_network_tracks_the_clip_as_in_python(window, runtime, tmp_path):
    script = load_script("web")
    with pytest.MonkeyPatch.context() as patch:
        site, printed = build(script, tmp_path, runtime, patch, "--build_only")
    assert printed.endswith(f"The page is in {site}\n")
    tracker = build_tracker(script.CONFIG, backend="onnxruntime", precision="fp16", save_dir=tmp_path)
    expected = []
    for t, image in zip(range(8), VideoFile(CLIP), strict=False):
        write_image(tmp_path / f"{t}.png", image)
        if t == 0:
            tracker.initialize(image, {"init_bbox": BOX})
        else:
            expected.append(tracker.track(image)["target_bbox"])
    with served(site) as address:
        open_page(window, address)
        assert window.texts("#network")[0].startswith(f"{script.CONFIG}, fp16 (")
        choose(window, lambda: window.choose("#files", list(tmp_path.glob("*.png"))))
        set_box(window, BOX)
        window.click("#play")
        window.wait("document.querySelector('#status').textContent.startsWith('The end')")
        _, rows = saved_boxes(window, tmp_path)
    np.testing.assert_allclose(rows[1:, 1:5], expected, atol=1)


def test_the_server_sends_what_threads_need(tmp_path):
    (tmp_path / "a.mjs").touch()
    (tmp_path / "b.wasm").touch()
    with served(tmp_path) as address:
        for name, kind in (("a.mjs", "text/javascript"), ("b.wasm", "application/wasm")):
            headers = urllib.request.urlopen(address + name).headers
            assert headers["Content-Type"] == kind
            assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        port = int(address.split(":")[2].strip("/"))
        with pytest.raises(OSTrackError, match=f"port {port} cannot be had .*--port"):
            web.open_server(tmp_path, port)


def test_npm_brings_the_runtime_or_one_line_says_why_not(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(OSTrackError, match="npm was not found.*Node.js"):
        web.fetch_runtime(tmp_path / "web")
    npm = tmp_path / "bin/npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(OSTrackError, match=r"could not install onnxruntime-web \(npm error code ENOTFOUND\)"):
        web.fetch_runtime(tmp_path / "web")
    version = json.loads((web.PAGE / "package.json").read_text())["dependencies"]["onnxruntime-web"]
    lock = json.loads((web.PAGE / "package-lock.json").read_text())["packages"]["node_modules/onnxruntime-web"]
    assert lock["version"] == version and lock["integrity"].startswith("sha512-")
    package = tmp_path / "web/node_modules/onnxruntime-web/package.json"
    package.parent.mkdir(parents=True)
    for there, found in (("1.0.0", None), (version, package.parent / "dist")):
        package.write_text(json.dumps({"version": there}))
        assert web.find_runtime(tmp_path / "web") == found
    assert web.fetch_runtime(tmp_path / "web") == package.parent / "dist"  # without npm
