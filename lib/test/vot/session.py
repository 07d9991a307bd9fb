"""A tracker's side of a TraX conversation (version 4, which knows of several targets)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lib.data.image_io import SequenceDecoder
from lib.test.evaluation.protocol import BatchTracker
from lib.test.vot.regions import box_region, is_mask, load_image, region_box
from lib.test.vot.trax import Connection, Message, TraxError
from lib.utils.errors import OSTrackError


@dataclass
class _Target:
    known: Any  # what the tracker knows of it
    as_mask: bool

    def state(self, box: Sequence[float], confidence: float) -> Message:
        return Message("state", (box_region(box, self.as_mask),), {"confidence": f"{confidence:.6f}"})


def serve(connection: Connection, tracker: BatchTracker, name: str) -> None:
    """Introduce the tracker, then track what is asked for until the other side says quit.

    A target that is given as a mask is answered by masks, full rectangles; any other by rectangles. Before an exception
    leaves this function, its reason is sent to the other side.

    Args:
        connection: to the toolkit.
        tracker: follows all targets of a frame in one step.
        name: what the tracker is called.

    Raises:
        TraxError: the other side broke the protocol, or has gone.
        DataError: an image is missing or damaged, or a target lies outside of it.
    """
    capabilities = {
        "trax.version": "4",
        "trax.name": name,
        "trax.family": name.partition(" ")[0],
        "trax.image": "path;memory;buffer;",
        "trax.region": "rectangle;polygon;mask;",
        "trax.channels": "color;",
        "trax.multiobject": "1",
    }
    connection.send(Message("hello", properties=capabilities))
    try:
        _converse(connection, tracker)
    except Exception as error:
        reason = str(error) if isinstance(error, OSTrackError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(TraxError):
            connection.send(Message("quit", properties={"trax.reason": reason}))
        raise


def _converse(connection: Connection, tracker: BatchTracker) -> None:
    """Answer messages until ``quit``.

    ``initialize`` announces a target of the frame that follows or, without a region, ends all targets. A ``frame`` is
    answered by one state for each target, in the order in which they were announced.
    """
    targets: list[_Target] = []
    decode = SequenceDecoder()
    announced: list[str] = []
    while (message := connection.receive()).kind != "quit":
        count = len(message.arguments)
        if message.kind == "initialize" and count == 0:
            targets, announced, decode = [], [], SequenceDecoder()
        elif message.kind == "initialize" and count == 1:
            announced.append(message.arguments[0])
        elif message.kind == "frame" and count == 1 and (targets or announced):
            image, states = load_image(message.arguments[0], decode), []
            if targets:
                step = tracker.step([image] * len(targets), [target.known for target in targets])
                each = zip(targets, step.boxes, step.confidence, strict=True)
                states = [target.state(box, score) for target, box, score in each]
            for region in announced:
                box = region_box(region)
                targets.append(_Target(tracker.start(image, box), is_mask(region)))
                states.append(targets[-1].state(box, 1.0))
            announced = []
            for state in states:
                connection.send(state)
        else:
            raise TraxError(f"TraX message {message.kind!r} with {count} arguments has no meaning here")
