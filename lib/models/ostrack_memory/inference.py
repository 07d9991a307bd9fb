"""OSTrack with a memory for inference: a plain form with the arithmetic of training, and a faster one."""

from __future__ import annotations

import copy

from torch import Tensor

from lib.config.ostrack_memory import OSTrackMemoryConfig
from lib.models.layers.block import DIRECT, Execution
from lib.models.ostrack import inference as ostrack
from lib.models.ostrack.plain import PlainModel
from lib.models.ostrack_memory.model import OSTrackMemory, first_memory
from lib.models.state import State


def initial_state(cfg: OSTrackMemoryConfig, crops: Tensor, boxes: Tensor) -> State:
    """Return the state of :func:`lib.models.ostrack.inference.initial_state` plus the memory of the experiment.

    The memory is ``dynamic`` and ``dynamic_box``, initially those of the template; ``token`` (B, 1, C); ``presence``
    (B, 1).
    """
    state = ostrack.initial_state(cfg, crops, boxes)
    if cfg.MODEL.MEMORY.DYNAMIC_TEMPLATE:
        state["dynamic"] = crops
        if "box" in state:
            state["dynamic_box"] = boxes
    return state | first_memory(cfg, len(crops), crops.device)


class PlainMemoryModel(PlainModel):
    """See :class:`PlainModel`; its state is that of :func:`initial_state`."""

    model: OSTrackMemory

    def prepare(self, state: State) -> State:
        """Normalize the templates."""
        prepared = super().prepare(state)
        return prepared | ({"dynamic": self._normalized(state["dynamic"])} if "dynamic" in state else {})

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        """See :class:`TrackingModel`."""
        outputs = self.model(
            state["template"],
            self._normalized(crops),
            state.get("dynamic"),
            state,
            self._ranking(state),
            attention_layers=self.attention_layers,
            boxes=(state.get("box"), state.get("dynamic_box")),
        )
        return outputs, changed_entries(outputs.get("token"), outputs.get("presence_logit"))


def changed_entries(token: Tensor | None, logit: Tensor | None) -> State:
    """Return the entries of the state that a frame changes, from the outputs of :meth:`Memory.read`."""
    changed = {} if token is None else {"token": token}
    return changed if logit is None else changed | {"presence": logit.sigmoid()}


class MemoryInferenceModel(ostrack.InferenceModel):
    """See :class:`lib.models.ostrack.inference.InferenceModel`. The dynamic template is prepared as tokens too."""

    def __init__(self, cfg: OSTrackMemoryConfig, model: OSTrackMemory, execution: Execution = DIRECT):
        super().__init__(cfg, model, execution)
        self.memory = copy.deepcopy(model.memory)

    def prepare(self, state: State) -> State:
        """See :class:`TrackingModel`."""
        prepared = super().prepare(state)
        if "dynamic" in state:
            seen = {"template": state["dynamic"]} | ({"box": state["dynamic_box"]} if "dynamic_box" in state else {})
            prepared["dynamic"] = self.memory.embed_dynamic(super().prepare(seen)["tokens"])
        return prepared | {name: state[name] for name in ("token", "presence") if name in state}

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        """See :class:`TrackingModel`."""
        context = self.memory.context(state["tokens"], state.get("dynamic"), state.get("token"), state.get("presence"))
        maps, encoded = self.find(context, crops, state.get("mask"))
        return maps, changed_entries(*self.memory.read(encoded, maps["score_map"]))
