"""The TraX protocol: messages, regions, images, the conversation and its connection."""

import base64
import io
import os
import socket
import threading

import cv2
import numpy as np
import pytest

from lib.data.image_io import SequenceDecoder
from lib.test.vot import trax
from lib.test.vot.session import box_region, load_image, region_box, serve
from lib.test.vot.trax import Connection, Message, TraxError, connect, format_message, parse_message
from lib.utils.errors import DataError
from tests.evaluation_fakes import FakeBatchTracker

# ---------------------------------------------------------------------------------------------------------- messages
# Lines as libtrax 4.0.2 writes them.
LINES = {
    b'@@TRAX:initialize "mask:80,60,60,50,1,2999" \n': Message("initialize", ("mask:80,60,60,50,1,2999",)),
    b"@@TRAX:initialize \n": Message("initialize"),
    b'@@TRAX:frame "file:///d/odd \\"na=me\\" \\\\\xc3\xa9/1.png" "x=y z" \n': Message(
        "frame", ('file:///d/odd "na=me" \\\u00e9/1.png',), {"x": "y z"}
    ),
    b'@@TRAX:state "1.0000,2.0000,3.0000,4.0000" "confidence=0.5" \n': Message(
        "state", ("1.0000,2.0000,3.0000,4.0000",), {"confidence": "0.5"}
    ),
    b'@@TRAX:quit "trax.reason=bye" \n': Message("quit", (), {"trax.reason": "bye"}),
}


@pytest.mark.parametrize(("line", "message"), LINES.items(), ids=[m.kind for m in LINES.values()])
def test_messages_of_the_reference_implementation_are_read(line, message):
    assert parse_message(line) == message
    assert parse_message(format_message(message)) == message


def test_messages_are_written_so():
    message = Message("state", ('a "b" \\c\nd',), {"confidence": "0.25"})
    assert format_message(message) == b'@@TRAX:state "a \\"b\\" \\\\c\\nd" "confidence=0.25"\n'
    assert parse_message(format_message(message)) == message


def test_unquoted_padded_and_undecodable_arguments_are_read():
    message = parse_message(b"@@TRAX:FRAME image:1;1;rgb;AAEC== file:///\xff.jpg trax.x=1=2\r\n")
    assert message.kind == "frame" and message.properties == {"trax.x": "1=2"}
    assert message.arguments == ("image:1;1;rgb;AAEC==", os.fsdecode(b"file:///\xff.jpg"))
    assert os.fsencode(message.arguments[1]) == b"file:///\xff.jpg"


@pytest.mark.parametrize("line", [b'@@TRAX:frame "open', b'@@TRAX:frame "a"b', b"@@TRAX:", b'@@TRAX:"frame"'])
def test_what_is_no_message_is_refused(line):
    with pytest.raises(TraxError, match="no TraX message"):
        parse_message(line)


# ---------------------------------------------------------------------------------------------- regions and images


@pytest.mark.parametrize(
    ("region", "box"),
    [
        ("10.5,20,30,40.25", [10.5, 20, 30, 40.25]),
        ("5,1,9,3,7,8", [5, 1, 4, 7]),
        ("mask:2,3,4,3,5,2,2,2,1", [3, 4, 2, 2]),  # rows 0110 of a 4 x 3 picture, in its middle row and the next
        ("mask:2,3,4,3,5,1", [3, 4, 1, 1]),  # zeros at the end left out
        ("mask:0,0,2,2,0,4", [0, 0, 2, 2]),
    ],
)
def test_regions_become_boxes(region, box):
    assert region_box(region) == box


NO_BOXES = "0 1,2,nan,4 1,2,3,4,5 1,2,3,4,5,6,7 a,b,c,d mask:1,2 mask:0,0,2,2,4 mask:0,0,2,2,0,5 mask:0,0,-2,-2,0,4"


@pytest.mark.parametrize("region", ["", *NO_BOXES.split()])
def test_regions_that_hold_nothing_are_refused(region):
    with pytest.raises(TraxError, match="cannot be tracked"):
        region_box(region)


def test_boxes_become_regions():
    assert box_region([1.25, 2, 30.5, 4], as_mask=False) == "1.2500,2.0000,30.5000,4.0000"
    assert box_region([1.4, 2.6, 10.2, 4], as_mask=True) == "mask:1,3,11,4,0,44"
    assert box_region([5, 5, 0.1, 0.1], as_mask=True) == "mask:5,5,1,1,0,1"
    assert region_box(box_region([7, 8, 9, 10], as_mask=True)) == [7, 8, 9, 10]


def test_images_come_as_files_data_and_pixels(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    path = tmp_path / "odd %20name.png"
    cv2.imwrite(str(path), image[..., ::-1])
    data, pixels = (base64.b64encode(raw).decode() for raw in (path.read_bytes(), image.tobytes()))
    uris = [f"data:image/png;{data}", f"data:image/png;base64,{data}", f"image:7;5;rgb;{pixels}"]
    uris += [f"file://{path}", str(path)]
    for uri in uris:
        np.testing.assert_array_equal(load_image(uri, SequenceDecoder()), image)
    gray = base64.b64encode(image[..., 0].tobytes()).decode().rstrip("=")
    np.testing.assert_array_equal(load_image(f"image:7;5;gray8;{gray}", SequenceDecoder()), image[..., :1].repeat(3, 2))


@pytest.mark.parametrize(
    ("uri", "error", "match"),
    [
        ("file:///nowhere/1.jpg", DataError, "/nowhere/1.jpg"),
        ("http://host/1.jpg", TraxError, "not supported"),
        ("image:7;5;rgb;AAAA", TraxError, "7;5;rgb"),
        ("image:1;1;gray16;AAA", TraxError, "gray16"),
        ("data:image/png;a!", TraxError, "damaged"),
        ("data:image/png;AAAA", DataError, "cannot be decoded"),
    ],
)
def test_images_that_cannot_be_had_are_named(uri, error, match):
    with pytest.raises(error, match=match):
        load_image(uri, SequenceDecoder())


# -------------------------------------------------------------------------------------------------- conversation


def converse(tmp_path, *lines, trouble=None):
    """Play the toolkit: send ``lines`` to a tracker that moves boxes right by 1 per frame; returns its answers."""
    cv2.imwrite(str(tmp_path / "7.png"), np.full((10, 16, 3), 7, np.uint8))  # of brightness 7: one pixel
    frame = f'frame "file://{tmp_path / "7.png"}"'
    text = "noise\n\n" + "".join(f"@@TRAX:{frame if line == 'frame' else line}\n" for line in lines)
    tracker, answers = FakeBatchTracker("cpu", tmp_path, trouble), io.BytesIO()
    try:
        serve(Connection(io.BytesIO(text.encode()), answers), tracker, "Fake")
        error = None
    except Exception as raised:
        error = raised
    return [parse_message(line) for line in answers.getvalue().splitlines(keepends=True)], error, tracker


def test_a_conversation_about_targets_that_come_and_go(tmp_path):
    hello, *answers = converse(
        tmp_path,
        'initialize "1,2,3,4"',
        "frame",
        "frame",
        'initialize "mask:2,2,4,3,0,12"',
        'initialize "1,1,5,1,5,3"',
        "frame",
        "frame",
        "initialize",
        'initialize "9,9,2,2"',
        "frame",
        "quit",
        "frame",
    )[0]
    assert hello.kind == "hello" and hello.arguments == ()
    assert hello.properties["trax.version"] == "4" and hello.properties["trax.multiobject"] == "1"
    assert hello.properties["trax.region"] == "rectangle;polygon;mask;"
    assert {answer.kind for answer in answers} == {"state"}
    assert [answer.arguments[0].replace(".0000", "") for answer in answers] == [
        "1,2,3,4",  # the first frame shows what was asked for
        "2,2,3,4",
        *("3,2,3,4", "mask:2,2,4,3,0,12", "1,1,4,2"),
        *("4,2,3,4", "mask:3,2,4,3,0,12", "2,1,4,2"),
        "9,9,2,2",
    ]
    assert answers[0].properties == {"confidence": "1.000000"}


def test_all_targets_of_a_frame_are_one_step(tmp_path):
    answers, error, tracker = converse(tmp_path, *['initialize "1,2,3,4"'] * 3, "frame", "frame", "quit")
    assert error is None and len(answers) == 1 + 2 * 3 and tracker.batches == [3]


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["frame"], "'frame' with 1 arguments has no meaning"),
        (["hello"], "'hello'"),
        (['initialize "1,2,3,4" "5,6,7,8"'], "'initialize' with 2"),
        (['initialize "1,2,0"', "frame"], "1,2,0"),
        (['initialize "1,2,3,4"', 'frame "/nowhere.jpg"'], "/nowhere.jpg"),
        (['initialize "1,2,3,4"', "frame"], "closed the TraX connection"),
        (['frame "'], "no TraX message"),
    ],
)
def test_errors_are_told_to_both_sides(tmp_path, lines, match):
    answers, error, _ = converse(tmp_path, *lines)
    assert match in str(error) and isinstance(error, DataError | TraxError)
    assert answers[-1] == Message("quit", (), {"trax.reason": str(error)})


def test_a_fault_of_the_tracker_is_told_and_keeps_its_traceback(tmp_path):
    answers, error, _ = converse(tmp_path, 'initialize "1,2,3,4"', *["frame"] * 3, trouble={10: "raise"})
    assert isinstance(error, RuntimeError) and len(answers) == 4
    assert answers[-1].properties == {"trax.reason": "RuntimeError: the sky fell"}


def test_a_box_that_is_none_is_an_error_not_an_absent_target(tmp_path):
    answers, error, _ = converse(tmp_path, 'initialize "1,2,3,4"', *["frame"] * 3, trouble={10: "nan"})
    assert isinstance(error, TraxError) and len(answers) == 4
    assert "[nan, nan, nan, nan]" in answers[-1].properties["trax.reason"]


def test_a_toolkit_that_has_gone_is_an_error():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as gone, pytest.raises(TraxError, match="closed the TraX connection"):
        serve(Connection(io.BytesIO(b""), gone), None, "Fake")


# ------------------------------------------------------------------------------------------------ the connection


def test_the_socket_is_used_where_there_is_one(monkeypatch):
    received = []

    def toolkit(server):
        client, _ = server.accept()
        with client, client.makefile("rwb") as stream:
            received.append(stream.readline())
            stream.write(b'chatter\n@@TRAX:frame "a"\n')

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("TRAX_SOCKET", str(server.getsockname()[1]))
        thread = threading.Thread(target=toolkit, args=[server])
        thread.start()
        connection = connect()
        connection.send(Message("hello"))
        assert connection.receive() == Message("frame", ("a",))
        thread.join()
        with pytest.raises(TraxError, match="without saying quit"):
            connection.receive()
    assert received == [b"@@TRAX:hello\n"]


@pytest.mark.parametrize("port", ["nowhere", "99999", "1"])
def test_a_socket_that_nobody_listens_at_is_named(monkeypatch, port):
    monkeypatch.setenv("TRAX_SOCKET", port)
    with pytest.raises(TraxError, match=f"TRAX_SOCKET={port}"):
        connect()


def test_people_are_told_how_to_run_it(monkeypatch):
    monkeypatch.delenv("TRAX_SOCKET", raising=False)
    monkeypatch.setattr(trax.sys.stdin, "isatty", lambda: True, raising=False)
    with pytest.raises(TraxError, match="docs/vot.md"):
        connect()
