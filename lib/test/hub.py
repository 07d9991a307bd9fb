"""A tracker as a folder of three files, as model hubs have them: ``config.yaml``, ``model.safetensors``, ``README.md``.

The head of the README, in YAML, has what hubs read (license, library) and, under ``ostrack``, the family, the
experiment and the SHA-256 of the two other files, without which a folder is refused.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from safetensors.torch import save

from lib.config import ExperimentConfig, is_config_file, to_plain
from lib.models.family import find_family, load_experiment
from lib.test.evaluation.results import file_sha256
from lib.test.spec import TrackerSpec
from lib.utils.checkpoint import load_checkpoint, network_state
from lib.utils.errors import CheckpointError, ConfigError, OSTrackError

if TYPE_CHECKING:
    from lib.test.tracker.tracker import Tracker

CONFIG, WEIGHTS, README = "config.yaml", "model.safetensors", "README.md"
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # OWNER/NAME
_RECORD = "ostrack"  # of the README's head

_TEXT = """# {name}

A visual object tracker of the family `{family}`: it follows the object in a box that is given in the first frame.

```python
from ostrack import Tracker

tracker = Tracker.from_pretrained("FOLDER")  # this folder, or its name on the hub
tracker.initialize(first_image, {{"init_bbox": [x, y, w, h]}})  # RGB uint8 (height, width, 3), pixels
box = tracker.track(next_image)["target_bbox"]
```

| | |
|---|---|
| license | {license} |
| data | {data} |
| weights | SHA-256 `{sha256}` |
"""


def write_folder(cfg: ExperimentConfig, checkpoint: Path, folder: Path, license: str = "") -> Path:
    """Write an experiment and its weights as a folder for a model hub; weights keep the precision of their file.

    ``folder`` is made where it is missing; what it holds of these three names is replaced. License and data are those
    of the model card beside the weights, ``NAME.md``, if any; or the license is the given one (hubs know short names:
    ``mit``).

    Raises ConfigError: the experiment's name cannot be told in such a folder; CheckpointError: the weights cannot be
    read; OSError: the folder cannot be written.
    """
    if not _usable_names(cfg.family, cfg.name):
        raise ConfigError(f"experiment {cfg.name!r}: a hub's folder needs a name of letters, digits, - _ and .")
    state = network_state(load_checkpoint(checkpoint), checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / README).unlink(missing_ok=True)  # the folder is none until all is written
    (folder / CONFIG).write_text(yaml.safe_dump(to_plain(cfg), sort_keys=False))
    tensors = {name: value.contiguous().clone() for name, value in state.items()}  # it refuses shared memory
    (folder / WEIGHTS).write_bytes(save(tensors, {"format": "pt"}))
    card = _card_rows(checkpoint.with_suffix(".md"))
    license = license or card.get("license", "not stated")
    hashes = {name: file_sha256(folder / name) for name in (CONFIG, WEIGHTS)}
    head = {
        "license": "unknown" if license == "not stated" else re.split(r"[\s,;]", license)[0].lower(),
        "library_name": "ostrack",
        "tags": ["visual-object-tracking", cfg.family],
        _RECORD: {"family": cfg.family, "experiment": cfg.name, "sha256": hashes},
    }
    data = card.get("data") or ", ".join(f"`{name}`" for name in cfg.DATA.TRAIN.DATASETS_NAME) or "not stated"
    body = _TEXT.format(name=cfg.name, family=cfg.family, license=license, data=data, sha256=hashes[WEIGHTS])
    (folder / README).write_text(f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{body}", encoding="utf-8")
    return folder


def load_pretrained(name: str | Path, **options: Any) -> Tracker:
    """Build a tracker from a folder as :func:`write_folder` makes it, from the hub, or from an experiment that ships.

    Args:
        name: path of a folder, or of an experiment's YAML file; else ``OWNER/NAME`` on the Hugging Face hub; else an
            experiment's name.
        options: attributes of :class:`TrackerSpec`; a folder brings its ``checkpoint``. ``family`` is needed where it
            is a module outside of the project.

    Raises CheckpointError: the folder is incomplete, or a file has another hash than its README says; OSTrackError: the
    hub cannot be reached or has no such model; or as of :func:`lib.test.tracker.build_tracker`.
    """
    from lib.test.tracker.build import build_from_spec, build_tracker  # which import the class that calls this

    text = str(name)
    if Path(name).is_dir():
        folder = Path(name)
    elif is_config_file(name):
        return build_tracker(name, **options)
    elif _HUB_NAME.fullmatch(text):
        folder = _download(text)
    elif isinstance(name, Path) or text.startswith((".", "/", "~")):
        raise CheckpointError(f"there is no folder {name}; tracking/export.py --format hub --out {name} writes one")
    else:
        return build_tracker(text, **options)
    if options.pop("checkpoint", None):
        raise ConfigError(f"{folder} brings its own weights: leave out checkpoint, or name an experiment instead")
    record = _checked_record(folder)
    spec = TrackerSpec(folder / CONFIG, checkpoint=folder / WEIGHTS, **options)
    family = find_family(spec.family or record["family"])
    if family.name != record["family"]:
        raise ConfigError(f"{folder} holds a tracker of the family {record['family']}, not {family.name}")
    cfg = load_experiment(spec.config, spec.overrides, family.name)
    return build_from_spec(spec, replace(cfg, name=record["experiment"]))


def _checked_record(folder: Path) -> dict[str, Any]:
    """Read the record in a folder's README, and check the files against it."""
    if missing := [name for name in (README, CONFIG, WEIGHTS) if not (folder / name).is_file()]:
        raise CheckpointError(f"{folder} has no {', '.join(missing)}: copy or download it again")
    head = re.match(r"---\n(.*?)\n---\n", (folder / README).read_text(encoding="utf-8"), re.DOTALL)
    try:
        record = yaml.safe_load(head[1])[_RECORD] if head else {}
        family, experiment, hashes = str(record["family"]), str(record["experiment"]), dict(record["sha256"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        problem = "does not begin with family, experiment and sha256 of an ostrack model"
        raise CheckpointError(f"{folder / README} {problem}: write the folder anew with tracking/export.py") from error
    if not _usable_names(family, experiment):
        raise CheckpointError(f"{folder / README}: {family!r}, {experiment!r} are no names of a family and experiment")
    for name in (CONFIG, WEIGHTS):
        if (found := file_sha256(folder / name)) != hashes.get(name):
            sums = f"{folder / name} has SHA-256 {found}, {README} says {hashes.get(name)}"
            raise CheckpointError(f"{sums}: it was changed or damaged, copy or download the folder again")
    return {"family": family, "experiment": experiment}


def _usable_names(family: str, experiment: str) -> bool:
    """Whether names can be those of a module and of a file, which they become."""
    return family.isidentifier() and re.fullmatch(r"\w[\w.-]*", experiment) is not None


def _download(name: str) -> Path:
    """Return the folder of a model on the Hugging Face hub, from the cache where it is there already."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        missing = f"there is no folder {name}, and huggingface_hub, which would download it, is not installed"
        raise OSTrackError(f"{missing}; run: pip install huggingface_hub") from error
    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, README]))
    except Exception as error:  # whatever the package and its network libraries raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSTrackError(f"there is no folder {name}, and the hub gave no model of that name: {reason}") from error


def _card_rows(card: Path) -> dict[str, str]:
    """Return the rows of two cells in a model card, by the first of them."""
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    return dict(re.findall(r"^\| ([\w ]+) \| (.+) \|$", text, re.MULTILINE))
