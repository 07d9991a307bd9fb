"""The network of a tracker as one graph of fixed shapes, and the record that identifies it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch
from torch import Tensor, nn

from lib.config import ExperimentConfig, config_hash, to_plain
from lib.models.family import family_of, head_of
from lib.models.state import State
from lib.utils.errors import ConfigError


class NetworkGraph(nn.Module):
    """State and search regions in, the head's outputs and the changed entries of the state out.

    The state is that of the first frame: crops as bytes; normalization and embedding are inside.

    Args:
        cfg: the experiment.
        model: its model; it stays as it is.
        dtype: type to compute in.

    Raises:
        ConfigError: the model changes and reads entries of the state that the first frame does not have.

    Attributes:
        outputs: names of the outputs: those of the head, then ``next_NAME`` for each changed entry of the state.
    """

    def __init__(self, cfg: ExperimentConfig, model: nn.Module, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.dtype = dtype
        self.network = family_of(cfg).tracking_form(cfg, model, dtype, torch.device("cpu"), pack=False)
        self.head_outputs = head_of(cfg).outputs
        noise = {name: torch.from_numpy(value) for name, value in noise_inputs(cfg, 1).items()}
        search = noise.pop("search")
        with torch.inference_mode():
            prepared = self.network.prepare(noise)
            _, changed = self.network.run(prepared, search)
            unknown = sorted(changed.keys() - noise.keys())
            if unknown and self._are_read(unknown, prepared, changed, search):
                names, advice = ", ".join(unknown), "give it there under this name, as the file's inputs are that state"
                raise ConfigError(
                    f"run() of {cfg.family} reads {names} again, which initial_state() does not have: {advice}"
                )
        self.changes = tuple(changed)
        self.outputs = (*self.head_outputs, *(f"next_{name}" for name in self.changes))

    def _are_read(self, names: list[str], first: State, changed: State, search: Tensor) -> bool:
        """Return whether outputs depend on changes of these entries. A presence without a token is an output alone."""
        known = {name: value for name, value in changed.items() if name not in names}
        found, seen = (self.network.run(first | entries, search)[0] for entries in (changed, known))
        return any(not torch.equal(found[name], seen[name]) for name in self.head_outputs)

    def _run(self, search: Tensor, **state: Tensor) -> tuple[dict[str, Tensor], State]:
        return self.network.run(self.network.prepare(state), search)

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        """Inputs as :func:`noise_inputs` names them; see ``outputs``."""
        # First of all bytes become numbers: TensorRT does nothing else with them.
        numbers = {
            name: value.to(self.dtype) if value.dtype == torch.uint8 else value for name, value in inputs.items()
        }
        found, changed = self._run(**numbers)
        return (*(found[name] for name in self.head_outputs), *(changed[name] for name in self.changes))


def noise_inputs(cfg: ExperimentConfig, batch: int) -> dict[str, np.ndarray]:
    """Inputs of the graph, by name, that are the same in every call: crops of noise, and a box in the middle."""
    rng, test = np.random.default_rng(0), cfg.TEST
    template, search = (
        rng.integers(0, 256, (batch, size, size, 3), np.uint8) for size in (test.TEMPLATE_SIZE, test.SEARCH_SIZE)
    )
    boxes = torch.tensor([[0.25, 0.25, 0.5, 0.5]]).repeat(batch, 1)
    state = family_of(cfg).initial_state(cfg, torch.from_numpy(template), boxes)
    return {**{name: value.numpy() for name, value in state.items()}, "search": search}


def network_hash(cfg: ExperimentConfig, model: nn.Module) -> str:
    """Hash of all that the graph computes from, 16 hex digits: weights, architecture, normalization and sizes.

    And of how boxes are cropped and read: the file's record holds it, and int8 is calibrated on such crops.
    """
    digest = hashlib.sha256()
    test = cfg.TEST
    sizes = [test.TEMPLATE_SIZE, test.SEARCH_SIZE, test.TEMPLATE_FACTOR, test.SEARCH_FACTOR]
    sizes += [test.MIN_SIZE, test.SIZE_SMOOTHING, test.DISTRACTOR_WEIGHT]
    settings = [to_plain(cfg.MODEL), list(cfg.DATA.MEAN), list(cfg.DATA.STD), sizes]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy())
    return digest.hexdigest()[:16]


def describe(cfg: ExperimentConfig, model: nn.Module, precision: str, batch: int) -> dict[str, str]:
    """Return the file's record: experiment and weights of the network, and what a program needs to run it."""
    test = cfg.TEST
    record = {
        "family": cfg.family,
        "experiment": cfg.name,
        "config_hash": config_hash(cfg),
        "network_sha256": network_hash(cfg, model),
        "precision": precision,
        "batch": batch,
        "template_size": test.TEMPLATE_SIZE,
        "search_size": test.SEARCH_SIZE,
        "trained_search_size": cfg.DATA.SEARCH.SIZE,
        "template_factor": test.TEMPLATE_FACTOR,
        "search_factor": test.SEARCH_FACTOR,
        "stride": cfg.MODEL.BACKBONE.STRIDE,
        "head": cfg.MODEL.HEAD.TYPE,
        "min_size": test.MIN_SIZE,
        "size_smoothing": test.SIZE_SMOOTHING,
        "distractor_weight": test.DISTRACTOR_WEIGHT,
        "torch": torch.__version__,
    }
    return {key: str(value) for key, value in record.items()}
