"""``--debug 1`` against a real visdom server: what its windows hold, the keys, the page, and a run without a server."""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.data.image_io import decode_image, read_image
from lib.test.evaluation.results import result_files
from lib.test.tracker import Tracker
from lib.test.tracker.inspected import InspectedTracker
from lib.utils.errors import DataError
from lib.vis.views import LeaveSequence, View
from tests.browser import CHROMIUM, Browser
from tests.factories import TINY, drawn_model, drawn_weights, run_command, write_clip
from tests.golden.fixtures import clip_frame

pytest.importorskip("visdom", reason="visdom is not installed: pip install '.[debug]'")

from lib.vis.visdom_client import ENVIRONMENT, Keys, NoVisdomError, visdom_screen  # noqa: E402
from tests.visdom_server import STATIC, free_port, running_server  # noqa: E402

HOST = "http://127.0.0.1"
FRAMES = 4


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("visdom") / "state"
    with running_server(folder) as number:
        yield number


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose weights are drawn."""
    return drawn_weights(tmp_path_factory.mktemp("weights") / "tiny.pth.tar")


@pytest.fixture
def command(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs ``tracking/test.py`` on two drawn sequences, with more options; returns its exit status."""
    for name in ("first", "second"):
        write_clip(tmp_path / "data" / name, FRAMES)

    def run(*options: str) -> int:
        arguments = ["ostrack", TINY, "--dataset", f"folder:{tmp_path / 'data'}", "--device", "cpu"]
        arguments += ["--checkpoint", weights, "--save_dir", tmp_path / "out", *options]
        return run_command(monkeypatch, "test", arguments)

    return run


def debug(port: int) -> list[str]:
    return ["--debug", "1", "--visdom_server", HOST, "--visdom_port", str(port)]


class Windows:
    """What the server holds, asked for by a client of its own; and keys, sent as a page sends them."""

    def __init__(self, port: int) -> None:
        from visdom import Visdom

        self.client = Visdom(server=HOST, port=port, env=ENVIRONMENT, raise_exceptions=True, use_incoming_socket=False)
        self.port = port

    def all(self) -> dict[str, dict]:
        return json.loads(self.client.get_window_data(win=None, env=ENVIRONMENT))

    def picture(self, name: str) -> np.ndarray:
        source = self.all()[name]["content"]["src"]
        return decode_image(base64.b64decode(source.partition(",")[2]), name)

    def press(self, key: str, window: str = "Tracking") -> None:
        import websocket

        page = websocket.create_connection(f"ws://127.0.0.1:{self.port}/socket")
        event = {"event_type": "KeyPress", "key": key, "key_code": 0, "target": window, "eid": ENVIRONMENT}
        page.send(json.dumps({"cmd": "forward_to_vis", "data": event}))
        page.close()


@pytest.mark.end_to_end
def test_windows_hold_what_the_tracker_saw(command, port: int, weights: Path, tmp_path: Path) -> None:
    assert command(*debug(port), "--sequence", "first", "--vis_attention", "0,3") == 0
    windows = Windows(port)
    held = windows.all()
    cfg, model = drawn_model()
    watched = InspectedTracker(Tracker(cfg, model), None, (0, 3))
    frames = [read_image(tmp_path / f"data/first/img/{t}.png") for t in range(FRAMES)]
    target = watched.start(frames[0], clip_frame(0)[1])
    for image in frames[1:]:
        watched.step([image], [target])
    view = watched.view(FRAMES - 1, target, clip_frame(FRAMES - 1)[1])

    stages = [f"masked_search_{layer}" for layer in cfg.MODEL.BACKBONE.CE_LOC]
    assert stages == ["masked_search_3", "masked_search_6", "masked_search_9"]
    published = ["Tracking", "search_region", "template", "score_map", "score_map_hann"]
    assert sorted(held) == sorted([*published, *stages, "attention_0", "attention_3", "scores", "Help"])
    np.testing.assert_array_equal(windows.picture("search_region"), view.search)
    np.testing.assert_array_equal(windows.picture("template"), view.template)
    for name in ("score_map", "score_map_hann"):
        (plot,) = held[name]["content"]["data"]
        np.testing.assert_allclose(plot["z"], np.flipud(view.maps[name]), atol=1e-6)
        assert (plot["zmin"], plot["zmax"]) == (0, 1)
    assert held["score_map_hann"]["title"] == f"score map x Hann window, max {view.maps['score_map_hann'].max():.2f}"
    assert held["Tracking"]["title"] == f"first: frame {FRAMES} of {FRAMES}"
    assert held["scores"]["title"] == f"score {view.score:.2f}"
    left = 256
    for name in stages:
        left = -(-left * 7 // 10)
        assert held[name]["title"] == f"CE in layer {name[-1]}: {left} of 256 left"
        changed = (windows.picture(name) != view.search).any(axis=2).reshape(16, 16, 16, 16).any(axis=(1, 3))
        assert changed.sum() == 256 - left
    frame = windows.picture("Tracking").astype(int)
    x, y, w, h = (round(2 * value) for value in clip_frame(FRAMES - 1)[1])  # shown twice as large
    assert frame.shape == (480, 640, 3)
    for row, column in ((y - 2, x + w // 2), (y + h + 1, x + w // 2), (y + h // 2, x - 2), (y + h // 2, x + w + 1)):
        red, green, blue = frame[row, column]
        assert green > 150 and green > red + 60 and green > blue + 50, "the annotated box is green"
    (results,) = (tmp_path / "out/test/debug/tracking_results/ostrack" / TINY).glob("folder_*/first.txt")
    assert len(results.read_text().splitlines()) == FRAMES and not (tmp_path / "out/test/tracking_results").exists()


@pytest.mark.end_to_end
def test_a_new_sequence_leaves_nothing_of_the_one_before(port: int) -> None:
    first, windows = view_of(0), Windows(port)
    first = replace(first, score=np.nan, maps={"score_map": np.zeros((0, 0))})
    later = replace(view_of(1), search=first.image[:64, :64], maps={"score_map": np.full((4, 4), 0.5)})
    screen = visdom_screen(HOST, port)
    with screen("first", 2) as show:
        show(first)
        sizes = {name: (window["width"], window["height"]) for name, window in windows.all().items()}
        show(later)
        assert windows.all()["score_map"]["title"] == "score map, max 0.50"
        assert sizes == {name: (window["width"], window["height"]) for name, window in windows.all().items()}
    with screen("second", 0) as show:
        show(first)
        held = windows.all()
        assert held["Tracking"]["title"] == "second: frame 1" and held["scores"]["title"] == "start"
        for name in ("search_region", "score_map"):
            assert len(np.unique(windows.picture(name).reshape(-1, 3), axis=0)) == 1, "blank"


def wait_for(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def view_of(number: int) -> View:
    image, box = clip_frame(number)
    return View(number, image, box, 0.5, None, image[:64, :64])


@pytest.mark.end_to_end
def test_keys_pause_step_and_leave(port: int) -> None:
    """The views are shown from a thread, as the tracker would; the keys come over the server."""
    screen, windows = visdom_screen(HOST, port), Windows(port)
    shown, left = [], []

    def look_on() -> None:
        try:
            with screen("clip", 100) as show:
                for number in range(100):
                    screen.keys.paused |= number == 0  # from the first frame on
                    shown.append(number)
                    show(view_of(number))
        except LeaveSequence:
            left.append(shown[-1])

    thread = threading.Thread(target=look_on)
    thread.start()
    title = lambda: windows.all()["Tracking"]["title"]  # noqa: E731
    wait_for(lambda: "Tracking" in windows.all())
    time.sleep(0.3)
    assert shown == [0] and title() == "clip: frame 1 of 100"
    windows.press("x")
    windows.press("ArrowRight")
    wait_for(lambda: title() == "clip: frame 2 of 100")
    time.sleep(0.3)
    assert shown == [0, 1]
    windows.press("ArrowRight", window="template")
    wait_for(lambda: title() == "clip: frame 3 of 100")
    windows.press(" ")
    wait_for(lambda: len(shown) > 6)
    windows.press(" ")
    wait_for(lambda: screen.keys.paused)
    time.sleep(0.3)
    stopped = len(shown)
    time.sleep(0.3)
    assert len(shown) == stopped < 100
    windows.press("n")
    thread.join(20)
    assert left == [stopped - 1]


@pytest.mark.end_to_end
def test_next_sequence_leaves_no_result_and_is_told(command, port: int, capsys, monkeypatch, tmp_path: Path) -> None:
    pressed = []

    def press_n_once(self, seconds: float) -> bool:
        if not pressed:
            pressed.append(self.handle({"event_type": "KeyPress", "key": "n"}))
        return wait(self, seconds)

    wait = Keys.wait
    monkeypatch.setattr(Keys, "wait", press_n_once)
    assert command(*debug(port)) == 0
    assert "1 tracked, 0 already there, 0 failed, 1 left before their end" in capsys.readouterr().out
    folder = tmp_path / "out/test/debug/tracking_results/ostrack" / TINY
    assert len(result_files(folder)) == 1


def test_a_step_taken_early_does_not_outlive_the_pause() -> None:
    keys = Keys()
    keys.handle({"event_type": "KeyPress", "key": "ArrowRight"})  # not paused: means nothing
    assert keys.wait(0)
    keys.handle({"event_type": "Close", "key": " "})
    assert keys.wait(0)
    for key in (" ", "ArrowRight", "ArrowRight"):
        keys.handle({"event_type": "KeyPress", "key": key})
    assert [keys.wait(0) for _ in range(3)] == [True, True, False]


@pytest.mark.end_to_end
def test_a_server_that_dies_during_a_pause_is_an_error(tmp_path: Path) -> None:
    with running_server(tmp_path / "state") as port:
        screen = visdom_screen(HOST, port)
        with screen("clip", 2) as show:
            show(view_of(0))
            screen.keys.paused = True
            errors = []

            def look_on() -> None:
                try:
                    show(view_of(1))
                except DataError as error:
                    errors.append(str(error))

            thread = threading.Thread(target=look_on)
            thread.start()
            time.sleep(0.5)
            assert thread.is_alive()
    # the server is gone
    thread.join(20)
    assert errors == [f"the visdom server at {HOST}:{port} is gone"]
    screen.client.use_socket = False


def test_without_a_server_the_pictures_go_to_files(command, caplog, tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(NoVisdomError, match="python -m visdom.server"):
        visdom_screen(HOST, port)
    assert command(*debug(port)) == 0
    told = [record.getMessage() for record in caplog.records if "visdom" in record.getMessage()]
    assert told == [
        f"no visdom server at {HOST}:{port} (start one: python -m visdom.server); "
        f"the pictures go to {tmp_path / 'out/test/debug'}"
    ]
    for name in ("first", "second"):
        pictures = sorted((tmp_path / "out/test/debug" / name).iterdir())
        assert [path.name for path in pictures] == [f"{t + 1:08d}.jpg" for t in range(FRAMES)]
        assert len({read_image(path).shape for path in pictures}) == 1


@pytest.mark.end_to_end
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.skipif(not STATIC.is_dir(), reason="the page's scripts are missing: python -m tests.visdom_server --fetch")
def test_the_page_shows_the_windows_and_hears_the_keys(port: int, tmp_path: Path) -> None:
    screen = visdom_screen(HOST, port)
    with screen("clip", 9) as show, Browser(1280, 1000) as browser:
        show(view_of(0))
        browser.open(f"{HOST}:{port}/env/{ENVIRONMENT}")
        wait_for(lambda: "clip: frame 1 of 9" in " ".join(browser.texts(".bar")))
        assert not [request for request in browser.requests if not request.startswith(f"{HOST}:{port}")]
        size = browser.evaluate("(() => { const e = document.querySelector('.window img'); return e.naturalWidth })()")
        assert size > 0
        picture = read_image(browser.screenshot(tmp_path / "page.png"))
        assert picture.shape == (1000, 1280, 3)
        far = np.abs(picture.astype(int) - (255, 170, 0)).max(axis=2)
        assert (far < 40).sum() > 100, "the predicted box is to be seen"
        browser.click(".window img")
        browser.press("Space")
        wait_for(lambda: screen.keys.paused)
