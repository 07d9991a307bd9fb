"""The browser demo in a real browser: its boxes are the Python tracker's, and what a person does with it works."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import os
import re
import shutil
import sys
import urllib.request
import wave
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch

from lib.data.image_io import write_image
from lib.data.video_io import VideoFile
from lib.models.layers.candidate_elimination import box_mask
from lib.test import export, web
from lib.test.evaluation.environment import env_settings
from lib.test.tracker import Tracker, build_tracker
from lib.utils.crop import box_to_crop, crop_window, cut_window
from lib.utils.errors import OSTrackError
from tests.browser import CHROMIUM, Browser
from tests.conftest import load_script
from tests.factories import SMALL, TINY, drawn_model, drawn_weights
from tests.golden.fixtures import clip_frame
from tests.web_page import BOX, CLIP, FLAGS, SECONDS, choose, draw_box, open_page, saved_boxes, served, set_box

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

NARROWED = (*SMALL, "DATA.SEARCH.SIZE=160", "TEST.SIZE_SMOOTHING=0.5")
OTHER = ("DATA.SEARCH.SIZE=128", "MODEL.BACKBONE.TOKEN_TYPES=true", "MODEL.BACKBONE.CE_TEMPLATE_RANGE=GT_BOX",
         "MODEL.HEAD.TYPE=CORNER")  # fmt: skip


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
    with Browser(flags=FLAGS) as browser:
        yield browser


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
    folder, settings = tmp_path_factory.mktemp("tiny"), (*NARROWED, "TEST.DISTRACTOR_WEIGHT=0.1")
    drawn_weights(folder / "weights.pth", TINY, settings, spread=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web._Server, "serve_forever", Mock(side_effect=KeyboardInterrupt))  # Ctrl-C at once
        options = ["--config", TINY, "--checkpoint", str(folder / "weights.pth"), "--port", "0", *settings]
        site, printed = build(load_script("web"), folder, runtime, patch, *options)
    assert re.search(r"Open http://localhost:[0-9]{4,} in a browser; Ctrl-C ends this.\n\nended\n$", printed)
    tracker = build_tracker(
        TINY, folder / "weights.pth", backend="onnxruntime", precision="fp16", overrides=settings, save_dir=folder
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
    stays = window.evaluate("location.href") == address  # opening it is slow
    if not stays:
        window.open("about:blank")  # what another page asked for may be told late
    window.errors.clear()
    window.requests.clear()
    if not stays:
        open_page(window, address)
    yield window
    assert window.errors == []
    assert [url for url in window.requests if not url.removeprefix("blob:").startswith(address)] == []


def frames_drawn(folder, count=6):
    """Frames of the drawn clip as PNG, and what they show."""
    images = [clip_frame(t)[0] for t in range(count)]
    for t, image in enumerate(images):
        write_image(folder / f"frame_{t}.png", image)
    return images, clip_frame(0)[1]


@pytest.mark.end_to_end
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


@pytest.mark.end_to_end
def test_a_network_gets_the_state_that_it_wants_and_others_are_refused(window):
    boxes = [[20.3, 11.6, 23.0, 31.5], [3, 4, 60, 5.5], [0, 0, 79, 70], [30, 30, 0.4, 0.3], [12.5, 9, 7, 41]]
    description = {
        "record": {"template_size": "96", "search_size": "192", "template_factor": "2.0", "search_factor": "3.5",
                   "stride": "16", "trained_search_size": "192", "size_smoothing": "0", "min_size": "10",
                   "distractor_weight": "1", "head": "CENTER", "state": "template"},
        "inputs": {"template": {}, "search": {}, "box": {}, "mask": {}},
        "outputs": {"score_map": {}, "size_map": {}, "offset_map": {}, "next_template": {}},
    }  # fmt: skip
    with served(web.PAGE) as address:
        window.open(address)
        runs, *refused = window.evaluate(
            f"""(async () => {{
              const {{ readSettings, Tracker }} = await import("/tracker.js");
              const description = {json.dumps(description)}, record = description.record, runs = [];
              let score = 0.5;
              const tracker = new Tracker(readSettings(description), (inputs) => {{
                runs.push(Object.fromEntries(Object.entries(inputs).map(([name, data]) => [name, [...data]])));
                return {{ score_map: new Float32Array(144).fill(score), size_map: new Float32Array(288).fill(0.2),
                          offset_map: new Float32Array(288), next_template: Uint8Array.of(7) }};
              }});
              const frame = {{ width: 80, height: 70, read: (x, y, w, h) => new Uint8Array(4 * w * h).fill(9) }};
              const said = (work) => Promise.resolve().then(work).then(() => "nothing", (error) => error.message);
              for (const box of {json.dumps(boxes)}) {{
                tracker.start(frame, box);
                await tracker.step(frame);
              }}
              await tracker.step(frame);
              score = NaN;
              return [runs, await said(() => tracker.step(frame)),
                await said(() => tracker.start(frame, [90, 5, 3, 3])),
                await said(() => readSettings({{ ...description, inputs: {{ memory: {{}} }} }})),
                await said(() => readSettings({{ ...description, outputs: {{}} }})),
                await said(() => readSettings({{ ...description, record: {{ ...record, head: "MASK" }} }})),
                await said(() => readSettings({{ ...description, record: {{ head: "CENTER" }} }}))];
            }})()"""
        )
    for box, inputs in zip(boxes, runs, strict=False):
        place = torch.tensor(box)
        inside = box_to_crop(place, place, 96 / crop_window(box, 2.0).side, 96)
        np.testing.assert_allclose(inputs["box"], inside.numpy(), atol=1e-6)
        assert inputs["mask"] == box_mask(inside[None], 96, 6)[0].tolist(), box
        assert len(inputs["template"]) == 96 * 96 * 3 and len(inputs["search"]) == 192 * 192 * 3
    assert len({sum(inputs["mask"]) for inputs in runs}) > 2
    assert runs[len(boxes)]["template"] == [7]  # what the run before gave
    assert refused == [
        "the network gave no numbers",
        "the box 90, 5, 3, 3 has no area inside the 80 x 70 frame",
        'the network has an input "memory", which this page cannot give it',
        'the network has no output "score_map", which its boxes are read from',
        "the network has a head MASK, which this page cannot read boxes from",
        'the network\'s record has no number "template_size": export it again',
    ]


def tracked(tracker, images, box):
    """Boxes and scores of the Python tracker in the frames after the first."""
    tracker.initialize(images[0], {"init_bbox": box})
    found = [tracker.track(image) for image in images[1:]]
    return [one["target_bbox"] for one in found], [one["best_score"] for one in found]


def tracked_pictures(browser, folder, box):
    """Rows of what the page tracks in the pictures in a folder."""
    choose(browser, lambda: browser.choose("#files", sorted(folder.glob("*.png"), reverse=True)))
    set_box(browser, box)
    browser.click("#play")
    browser.wait("document.querySelector('#status').textContent.startsWith('The end')")
    return saved_boxes(browser, folder)[1]


@pytest.mark.end_to_end
def test_pictures_are_tracked_as_in_python(page, tiny, tmp_path):
    images, box = frames_drawn(tmp_path)
    boxes, scores = tracked(tiny[1], images, box)
    assert np.ptp(boxes, axis=0).max() > 1  # something moves

    assert page.evaluate("[view.width, play.disabled, crossOriginIsolated]") == [640, True, True]  # the sample clip
    assert page.texts("#network")[0].startswith(f"{TINY}, fp16 (")
    choose(page, lambda: page.choose("#files", sorted(tmp_path.glob("*.png"), reverse=True)))
    assert page.evaluate("play.disabled && [view.width, view.height]") == [320, 240]
    set_box(page, box)
    page.click("#step")
    page.wait("frame.textContent === '1' && !play.disabled")
    page.click("#play")
    page.wait("document.querySelector('#status').textContent.startsWith('The end')")
    assert page.evaluate("play.disabled && step.disabled")
    last = scores[-1]
    assert page.texts("#score") == [f"{last:.2f}"] and abs(page.evaluate("meter.value") - last) < 1e-3
    assert "frames/s (network" in page.texts("#speed")[0]
    header, rows = saved_boxes(page, tmp_path)
    assert header == "frame,x,y,w,h,score"
    np.testing.assert_array_equal(rows[:, 0], range(len(images)))
    np.testing.assert_array_equal(rows[0, 1:5], box)
    np.testing.assert_allclose(rows[1:, 1:5], boxes, atol=0.01)
    np.testing.assert_allclose(rows[1:, 5], scores, atol=1e-3)


@pytest.mark.end_to_end
def test_a_gpu_gives_the_same_boxes(window, address, tiny, tmp_path):
    images, box = frames_drawn(tmp_path, 3)
    window.open(f"{address}style.css")
    if not window.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
        pytest.skip("this Chromium has no WebGPU, not even that of SwiftShader")
    open_page(window, f"{address}?backend=webgpu")
    assert window.texts("#network")[0].endswith(" MB), WebGPU") and window.evaluate("problem.hidden")
    rows = tracked_pictures(window, tmp_path, box)
    np.testing.assert_allclose(rows[1:, 1:5], tracked(tiny[1], images, box)[0], atol=0.01)
    open_page(window, address)  # which does not choose a GPU that the CPU plays
    assert "WebAssembly" in window.texts("#network")[0]


@pytest.mark.end_to_end
def test_any_exported_tracker_is_tracked_with(window, runtime, tmp_path):
    cfg, model = drawn_model(TINY, [*NARROWED, *OTHER])
    path = tmp_path / "network.onnx"
    export.export_network(cfg, model, "onnx", path)
    images, box = frames_drawn(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        arguments = ("--network", str(path), "--build_only")
        site, _ = build(load_script("web"), tmp_path / "output", runtime, patch, *arguments)
        with pytest.raises(OSTrackError, match="--network is a whole tracker: leave out --config"):
            build(load_script("web"), tmp_path / "other", runtime, patch, "--config", TINY, *arguments)
        path.write_bytes(b"no network")
        with pytest.raises(OSTrackError, match=r"network\.onnx cannot be read as ONNX"):
            build(load_script("web"), tmp_path / "damaged", runtime, patch, *arguments)
    described = json.loads((site / "models/wasm.json").read_text())
    assert sorted(described["inputs"]) == ["box", "mask", "search", "template"]
    with served(site) as address:
        open_page(window, address)
        rows = tracked_pictures(window, tmp_path, box)
    boxes, scores = tracked(Tracker(cfg, model), images, box)
    np.testing.assert_allclose(rows[1:, 1:5], boxes, atol=0.05)
    np.testing.assert_allclose(rows[1:, 5], scores, atol=1e-3)


@pytest.mark.end_to_end
def test_a_video_is_tracked_paused_stepped_and_started_again(page):
    choose(page, lambda: page.click("#sample"))
    assert page.evaluate("[view.width, view.height, document.activeElement.id]") == [640, 512, "view"]
    assert page.texts("#frame") == ["0.00 s"]
    draw_box(page)
    page.wait(f"play.textContent === 'Pause' && {SECONDS} > 0.15")
    page.press("Space")
    page.wait("play.textContent === 'Track'")
    paused = page.evaluate(SECONDS)
    page.press("s")
    page.wait(f"{SECONDS} > {paused}")
    assert page.evaluate(SECONDS) < paused + 0.11  # a frame, or, where the machine is busy, a few
    page.press("r")
    page.wait(f"{SECONDS} === 0")
    assert page.evaluate("play.disabled && save.disabled")


@pytest.mark.end_to_end
def test_a_box_is_drawn_by_finger_and_by_keys(page, tmp_path):
    frames_drawn(tmp_path, 2)
    choose(page, lambda: page.choose("#files", sorted(tmp_path.glob("*.png"))))
    values = "[...document.querySelectorAll('#box input')].map((field) => field.valueAsNumber)"
    page.press("ArrowRight")  # the first gives a box in the middle
    page.wait("!play.disabled")
    assert page.evaluate(values) == [120, 90, 80, 60]
    page.press("ArrowRight")
    page.press("ArrowUp")
    page.press("Shift+ArrowLeft")
    page.wait(f"{values}.join() === '123,87,77,60'")
    page.press("Enter")
    page.wait("frame.textContent === '1'")
    page.press("r")
    page.wait("frame.textContent === '0'")
    page.drag("#view", (0.8, 0.75), (0.6, 0.5), touch=True)  # from the lower right corner
    page.wait("frame.textContent === '1'")
    page.click("#save")
    labeled = "(e) => e.ariaLabel || e.labels?.length || e.textContent.trim()"
    controls = "[...document.querySelectorAll('button, input, canvas, meter')]"
    assert page.evaluate(f"{controls}.length >= 14 && {controls}.every({labeled})")
    page.wait("!step.disabled || play.disabled")  # it has stopped
    width = "#box label:nth-of-type(3) input"
    page.evaluate(f"document.querySelector('{width}').value = ''")
    page.type(width, "5000")
    page.press("Enter")
    page.wait(f"{values}[0] === 0 && {values}[2] === 320")  # as it was taken, also while the cursor is there


@pytest.mark.end_to_end
def test_a_camera_is_shown_and_tracked(page):
    permissions = page.page.context
    permissions.grant_permissions([])  # and no others
    page.click("#camera")
    page.wait("!problem.hidden")
    assert page.texts("#problem")[0].startswith("no picture from the camera: this page may not use it")
    permissions.grant_permissions(["camera"])
    choose(page, lambda: page.click("#camera"))
    assert page.evaluate("problem.hidden && document.querySelector('video').srcObject !== null")
    first = page.texts("#frame")
    page.wait(f"frame.textContent !== {json.dumps(first[0])}")  # it goes on without a box
    page.drag("#view", (0.3, 0.3), (0.6, 0.6))
    page.wait("play.textContent === 'Pause' && !save.disabled")
    page.click("#reset")
    page.wait("play.textContent === 'Track' && save.disabled")


@pytest.mark.end_to_end
def test_the_benchmark_tells_speed_and_takes_a_picture(page, tiny, tmp_path, monkeypatch, capsys):
    script = load_script("bench_web", "benchmarks")
    monkeypatch.setattr(script, "Browser", lambda **_: contextlib.nullcontext(page))
    picture = tmp_path / "page.webp"
    options = ["--save_dir", str(tiny[0].parents[1]), "--seconds", "0.3", "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", ["bench_web.py", *options])
    with monkeypatch.context() as served_elsewhere:  # the page is there already
        served_elsewhere.setattr(script, "served", lambda _: contextlib.nullcontext(page.evaluate("location.href")))
        script.main()
    printed = capsys.readouterr().out
    assert re.search(
        r"WebAssembly, 1 thread: [0-9.]+ frames/s .*\nCPU time of a frame.*: [0-9]+ ms$", printed, re.MULTILINE
    )
    assert cv2.imread(str(picture)).std() > 20
    monkeypatch.setattr(sys, "argv", ["bench_web.py", "--save_dir", str(tmp_path)])
    with pytest.raises(OSTrackError, match="there is no page .*--build_only"):
        script.main()


@pytest.mark.end_to_end
def test_a_clip_whose_first_picture_comes_late_is_shown(page):
    late = "throw new DOMException('The image source is not usable.', 'InvalidStateError')"
    page.evaluate("(window.tries = 0, window.whole = createImageBitmap, 0)")
    page.evaluate(
        f"(window.createImageBitmap = async (...all) => {{ if (++tries <= 3) {late}; return whole(...all); }}, 0)"
    )
    try:
        page.click("#sample")
        page.wait("tries > 3 && hint.textContent.startsWith('Drag')")
        assert page.evaluate("problem.hidden")
    finally:
        page.evaluate("(window.createImageBitmap = whole, 0)")


@pytest.mark.end_to_end
def test_files_that_cannot_be_shown_are_named_and_leave_what_is_there(page, tmp_path):
    frames_drawn(tmp_path, 2)
    choose(page, lambda: page.choose("#files", sorted(tmp_path.glob("*.png"))))
    set_box(page, (90, 60, 70, 50))
    page.wait("!play.disabled")
    (tmp_path / "film.mp4").write_bytes(b"no video")
    (tmp_path / "a.png").write_bytes(b"no picture")
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    for files, message in ((["film.mp4"], "film.mp4 is no video that this browser can play"),
                           (["sound.wav"], "sound.wav is no video that this browser can play"),
                           (["a.png"], "a.png is no picture that this browser can show"),
                           (["film.mp4", "a.png"], "choose one video, or the pictures of one sequence")):  # fmt: skip
        page.evaluate("problem.hidden = true")
        page.choose("#files", [tmp_path / name for name in files])
        page.wait("!problem.hidden")
        assert message in page.texts("#problem")[0]
        assert page.evaluate("[view.width, view.height, play.disabled]") == [320, 240, False]
    page.click("#step")
    page.wait("frame.textContent === '1'")  # of the pictures from before
    page.choose("#files", [tmp_path / "film.mp4"])
    page.wait("!problem.hidden")
    page.click("#reset")
    page.wait("frame.textContent === '0' && problem.hidden")


@pytest.mark.end_to_end
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


@pytest.mark.end_to_end
def test_the_shipped_network_tracks_the_clip_as_in_python(window, runtime, tmp_path):
    script = load_script("web")
    with pytest.MonkeyPatch.context() as patch:
        site, printed = build(script, tmp_path, runtime, patch, "--build_only")
    assert f"The page is in {site}\n" in printed
    images = list(itertools.islice(VideoFile(CLIP), 12))
    for t, image in enumerate(images):
        write_image(tmp_path / f"{t}.png", image)
    with served(site) as address:
        open_page(window, address)
        assert window.texts("#network")[0].startswith(f"{script.CONFIG}, fp16 (")
        rows = tracked_pictures(window, tmp_path, BOX)
    tracker = build_tracker(script.CONFIG, backend="onnxruntime", precision="fp16", save_dir=tmp_path)
    np.testing.assert_allclose(rows[1:, 1:5], tracked(tracker, images, BOX)[0], atol=0.1)


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
