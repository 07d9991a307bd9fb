"""Load the weights of a file into a model: all of them, or only matching ones."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from lib.utils.checkpoint import load_checkpoint, network_state, own_name
from lib.utils.errors import CheckpointError
from lib.utils.paths import PRETRAINED_DIR

logger = logging.getLogger(__name__)

BLOCKS = "backbone.blocks."  # prefix of the names of a backbone's blocks, before their number
Explain = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], list[str]]


def load_weights(model: nn.Module, path: str | Path, explain: Explain | None = None) -> None:
    """Load a tracker's checkpoint, published or our own, into ``model``; all names and shapes must match.

    Args:
        explain: see :class:`lib.models.family.Family`, ``explain_misfit``.

    Raises:
        CheckpointError: the file is damaged or was made for another model; the message names it.
    """
    own = model.state_dict()
    state = with_names_of(own, network_state(load_checkpoint(path), path))
    if different := describe_misfit(own, state):
        reasons = explain(own, state) if explain else []
        raise CheckpointError(" ".join([f"checkpoint {path} does not fit the model.", *reasons, *different]))
    model.load_state_dict(state, strict=True)


def describe_misfit(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """List mismatches of names, shapes and types between weights and a model, a few of each; empty if they fit."""
    # Old files lack batch norm's num_batches_tracked, which is not used; torch fills it in.
    missing = sorted(name for name in own.keys() - state.keys() if not name.endswith(".num_batches_tracked"))
    unexpected = sorted(state.keys() - own.keys())
    misfits = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    other = sorted(
        name
        for name in own.keys() & state.keys() - set(misfits)
        if own[name].is_floating_point() and not state[name].is_floating_point()
    )
    lines = []
    for text, names in (("Missing", missing), ("Unexpected", unexpected)):
        if names:
            lines.append(f"{text}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''} ({len(names)}).")
    for name in misfits[:3]:
        lines.append(f"{name} is {tuple(state[name].shape)}, the model needs {tuple(own[name].shape)}.")
    lines += [f"{name} is of {state[name].dtype}, the model needs floating point." for name in other[:3]]
    return lines


def with_names_of(own: Collection[str], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a file, see :func:`network_state`, to the names of a model's weights.

    If no name matches and all begin with the same prefix, such as ``tracker.``, the attribute that held the model in
    the saved object, the prefix is removed.

    Args:
        own: the names of the model's weights.
    """
    # A model may have a part called ``net`` or ``module``, which own_name() removes from the file's names.
    bare = {own_name(name): name for name in own}
    known = bare if len(bare) == len(own) else {}
    renamed = {known.get(name, name): value for name, value in state.items()}
    first = {name.partition(".")[0] for name in renamed}
    if renamed.keys().isdisjoint(own) and len(first) == 1 and all("." in name for name in renamed):
        below = {own_name(name.partition(".")[2]): value for name, value in renamed.items()}
        inside = with_names_of(own, below) if len(below) == len(renamed) else {}
        return renamed if inside.keys().isdisjoint(own) else inside
    return renamed


def pretrain_path(name: str) -> Path:
    """Return the file of ``MODEL.PRETRAIN_FILE``: a path, or a name in ``pretrained_models/``.

    Raises:
        CheckpointError: there is no such file.
    """
    path = Path(name) if Path(name).is_file() else PRETRAINED_DIR / name
    if not path.is_file():
        raise CheckpointError(
            f"MODEL.PRETRAIN_FILE {name} is neither a file nor in {PRETRAINED_DIR}: put the weights there, or set "
            "MODEL.PRETRAIN_FILE='' to train from scratch"
        )
    return path


def count_blocks(names: Iterable[str]) -> int:
    """Return the number of backbone blocks among weights of these names."""
    return 1 + max((int(name.split(".")[2]) for name in names if name.startswith(BLOCKS)), default=-1)


def load_matching(
    module: nn.Module,
    state: dict[str, Tensor],
    path: Path,
    derived: Collection[str] = (),
    skip_misfits: bool = False,
) -> None:
    """Load weights with matching names into ``module``, and log which were loaded and which were not.

    Args:
        derived: names that are loaded elsewhere.
        skip_misfits: skip a matching name with another shape; otherwise it is an error.

    Raises:
        CheckpointError: no name matches, or a shape does not.
    """
    own = module.state_dict()
    known = {name: value for name, value in state.items() if name in own}
    misfits = [name for name, value in known.items() if value.shape != own[name].shape]
    for name in misfits[: 0 if skip_misfits else 1]:
        raise CheckpointError(
            f"{path}: {name} is {tuple(known[name].shape)}, the model needs {tuple(own[name].shape)}; "
            "MODEL.BACKBONE and MODEL.PRETRAIN_FILE do not go together"
        )
    matched = {name: value for name, value in known.items() if name not in misfits}
    if not matched:
        raise CheckpointError(f"{path} holds nothing that the model knows; its first entry is {next(iter(state))!r}")
    missing, _ = module.load_state_dict(matched, strict=False)
    logger.info("%s: loaded %d tensors", path.name, len(matched) + len(derived))
    for text, names in (
        ("not in the file, left as initialized", [n for n in missing if n not in {*derived, *misfits}]),
        ("in the file, not in the model", [n for n in state if n not in own]),
        ("of another shape, left as initialized", misfits),
    ):
        logger.info("  %s: %s", text, _listing(names))


def _listing(names: list[str]) -> str:
    """Return names for a log line, with the tensors of a block as one entry."""
    short = list(dict.fromkeys(re.sub(r"^((?:backbone\.)?blocks\.\d+)\..*", r"\1.*", name) for name in names))
    return ", ".join(short) or "none"
