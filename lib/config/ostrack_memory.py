"""Experiments of OSTrack with a memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lib.config.experiment import TestConfig
from lib.config.ostrack import OSTrackConfig, OSTrackModelConfig, OSTrackTrainConfig
from lib.config.section import Conflicts, Extension, NonNegative, NonNegativeInt, PositiveInt, Section, Share


@dataclass(frozen=True)
class MemoryConfig(Section):
    """``MODEL.MEMORY``: the optional parts of the memory."""

    DYNAMIC_TEMPLATE: bool = True  # a second template, from a recent frame
    DYNAMIC_SIZE: PositiveInt = 64  # side of its central part that the model uses, in pixels of the template
    TOKEN: bool = True  # a token that is carried from frame to frame (ODTrack, Zheng et al., AAAI 2024)
    PRESENCE: bool = True  # an output: the probability that the search region shows the target


@dataclass(frozen=True)
class MemoryModelConfig(OSTrackModelConfig):
    """``MODEL``."""

    MEMORY: MemoryConfig = MemoryConfig()


@dataclass(frozen=True)
class MemoryTrainConfig(OSTrackTrainConfig):
    """``TRAIN``. ``PRESENCE_WEIGHT``: weight of the presence loss, a binary cross entropy."""

    PRESENCE_WEIGHT: NonNegative = 1.0


@dataclass(frozen=True)
class MemoryRules(Section):
    """``TEST.MEMORY``: when the tracker updates its template, and when a target is lost and found again.

    Thresholds are for presence, or for the score in a model without presence, which never loses the target.
    """

    UPDATE_INTERVAL: PositiveInt = 25  # frames between two dynamic templates (this and the next value of SUTrack)
    UPDATE_THRESHOLD: Share = 0.7  # least presence for an update
    LOST_THRESHOLD: Share = 0.3  # below this the target is lost
    FOUND_THRESHOLD: Share = 0.6  # at or above this a lost target is found, at its last box or elsewhere in the frame
    # Whether the box of a lost target stays. Otherwise it follows the best match near it, as without a memory, and the
    # target is found again there at LOST_THRESHOLD.
    HOLD: Extension[bool] = True
    LOOKS: NonNegativeInt = 2  # number of search regions elsewhere in the frame, in each frame without the target

    def conflicts(self) -> Conflicts:
        if self.LOST_THRESHOLD > self.FOUND_THRESHOLD:
            yield "LOST_THRESHOLD", f"be at most FOUND_THRESHOLD = {self.FOUND_THRESHOLD}"


@dataclass(frozen=True)
class MemoryTestConfig(TestConfig):
    """``TEST``."""

    MEMORY: MemoryRules = MemoryRules()


@dataclass(frozen=True)
class OSTrackMemoryConfig(OSTrackConfig):
    """An experiment of OSTrack with a memory."""

    family: ClassVar[str] = "ostrack_memory"

    MODEL: MemoryModelConfig = MemoryModelConfig()
    TRAIN: MemoryTrainConfig = MemoryTrainConfig()
    TEST: MemoryTestConfig = MemoryTestConfig()

    def conflicts(self) -> Conflicts:
        yield from super().conflicts()
        memory, template, step = self.MODEL.MEMORY, self.DATA.TEMPLATE, 2 * self.MODEL.BACKBONE.STRIDE
        if memory.DYNAMIC_TEMPLATE:
            if memory.DYNAMIC_SIZE > template.SIZE or (template.SIZE - memory.DYNAMIC_SIZE) % step:
                must = f"be DATA.TEMPLATE.SIZE = {template.SIZE}, or less by a multiple of {step}"
                yield "MODEL.MEMORY.DYNAMIC_SIZE", must
        if template.NUMBER != (wanted := 1 + memory.DYNAMIC_TEMPLATE):
            yield "DATA.TEMPLATE.NUMBER", f"be {wanted}, with MODEL.MEMORY.DYNAMIC_TEMPLATE {memory.DYNAMIC_TEMPLATE}"
