"""Sections that the experiments of all families share: model, training, data and tracking."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from lib.config.drawing import DrawSettings
from lib.config.section import (
    Conflicts,
    Extension,
    Interval,
    NonNegative,
    NonNegativeInt,
    Positive,
    PositiveInt,
    Section,
    Share,
)


@dataclass(frozen=True)
class BackboneConfig(Section):
    """``MODEL.BACKBONE``. ``STRIDE``: crop pixels per cell of the token grid."""

    TYPE: str = ""
    STRIDE: PositiveInt = 16


@dataclass(frozen=True)
class HeadConfig(Section):
    """``MODEL.HEAD``."""

    TYPE: Literal["CENTER", "CORNER", "MLP"] = "CENTER"
    NUM_CHANNELS: Annotated[int, Interval(8)] = 256  # of the first layers; the last ones of CENTER have an eighth
    # Further channels for the head: the cosine similarity of each search token to each template token (pixel-wise
    # correlation, Yan et al., Alpha-Refine, CVPR 2021).
    CORRELATION: Extension[bool] = False


@dataclass(frozen=True)
class ModelConfig(Section):
    """``MODEL``. ``PRETRAIN_FILE``: weights that training starts from; empty = none."""

    PRETRAIN_FILE: str = ""
    BACKBONE: BackboneConfig = BackboneConfig()
    HEAD: HeadConfig = HeadConfig()


@dataclass(frozen=True)
class SchedulerConfig(Section):
    """``TRAIN.SCHEDULER``: see :func:`lib.train.optim.lr_factor`."""

    TYPE: Literal["step", "Mstep", "cosine"] = "step"
    DECAY_RATE: NonNegative = 0.1
    MILESTONES: Extension[tuple[PositiveInt, ...]] = ()
    GAMMA: Extension[NonNegative] = 0.1
    WARMUP_EPOCH: Extension[NonNegative] = 0.0

    def conflicts(self) -> Conflicts:
        if self.TYPE == "Mstep" and not self.MILESTONES:
            yield "MILESTONES", "name the epochs after which the learning rate falls, with TYPE Mstep"


@dataclass(frozen=True)
class DistillConfig(Section):
    """``TRAIN.DISTILL``: weights of the distillation losses, with a teacher (``--distill 1``)."""

    SCORE_WEIGHT: NonNegative = 1.0
    SIZE_WEIGHT: NonNegative = 1.0
    OFFSET_WEIGHT: NonNegative = 1.0
    FEATURE_WEIGHT: Extension[NonNegative] = 0.0  # loss of backbone tokens; needs a teacher of the same width


@dataclass(frozen=True)
class TrainConfig(Section):
    """``TRAIN``."""

    LR: Positive = 0.0001
    WEIGHT_DECAY: NonNegative = 0.0001
    EPOCH: PositiveInt = 500
    LR_DROP_EPOCH: PositiveInt = 400
    BATCH_SIZE: PositiveInt = 16
    NUM_WORKER: NonNegativeInt = 8
    OPTIMIZER: Literal["ADAMW"] = "ADAMW"
    BACKBONE_MULTIPLIER: NonNegative = 0.1
    GIOU_WEIGHT: NonNegative = 2.0
    L1_WEIGHT: NonNegative = 5.0
    FREEZE_LAYERS: tuple[int, ...] = (0,)  # frozen blocks, counted from 1; block 1 includes the embeddings. 0 = none
    PRINT_INTERVAL: PositiveInt = 50
    VAL_EPOCH_INTERVAL: NonNegativeInt = 20  # epochs between validations; the last one always has one. 0 = never
    GRAD_CLIP_NORM: NonNegative = 0.1
    AMP: Literal[False, True, "bf16", "fp16"] = False
    DROP_PATH_RATE: Annotated[float, Interval(0, 1, "[)")] = 0.1
    SCHEDULER: SchedulerConfig = SchedulerConfig()
    SEED: Extension[Annotated[int, Interval(0, 2**63 - 1)]] = 42
    ACCUM_STEPS: Extension[PositiveInt] = 1  # batches whose gradients are summed before an optimizer step
    CHECKPOINT_INTERVAL: Extension[PositiveInt] = 10  # epochs between checkpoints that are kept permanently
    SAVE_EVERY_STEPS: Extension[NonNegativeInt] = 0  # steps between checkpoints inside an epoch; 0 = only at its end
    DATA_TIMEOUT: Extension[Positive] = 900.0  # timeout in seconds for a batch of the worker processes
    TRAIN_CLS: Extension[bool] = False  # half of the pairs are negatives, whose search region does not show the target
    # Frozen modules, such as backbone and box_head, with their batch norm statistics, and parameters of the model.
    FREEZE_PARTS: Extension[tuple[str, ...]] = ()
    LAYER_DECAY: Extension[Annotated[float, Interval(0, 1, "(]")]] = 1.0  # of the rate, from a block to the one before
    # Decay of a running average of the weights, which is validated and saved with them; 0 = none.
    EMA_DECAY: Extension[Annotated[float, Interval(0, 1, "[)")]] = 0.0
    TF32: Extension[bool] = False  # use TensorFloat-32 for float32 products on CUDA
    COMPILE: Extension[bool] = False  # torch.compile the transformer blocks
    ACTIVATION_CHECKPOINTING: Extension[bool] = False  # recompute the blocks' activations in the backward pass
    DISTILL: Extension[DistillConfig] = DistillConfig()


@dataclass(frozen=True)
class SplitConfig(Section):
    """``DATA.TRAIN``: data sets, their sampling ratios, and samples per epoch."""

    DATASETS_NAME: tuple[str, ...] = ()
    DATASETS_RATIO: tuple[NonNegative, ...] = ()
    SAMPLE_PER_EPOCH: PositiveInt = 60000

    def conflicts(self) -> Conflicts:
        if len(self.DATASETS_RATIO) != len(self.DATASETS_NAME):
            yield "DATASETS_RATIO", "have one entry for each of DATASETS_NAME"
        if not any(self.DATASETS_RATIO):
            yield "DATASETS_RATIO", "hold ratios that are not all 0"


@dataclass(frozen=True)
class ValSplitConfig(SplitConfig):
    """``DATA.VAL``: likewise, for validation; without data sets or samples there is none."""

    SAMPLE_PER_EPOCH: NonNegativeInt = 10000

    def conflicts(self) -> Conflicts:
        if self.DATASETS_NAME:
            yield from super().conflicts()


@dataclass(frozen=True)
class CropConfig(Section):
    """``DATA.SEARCH`` and ``DATA.TEMPLATE``."""

    SIZE: PositiveInt = 128  # side in pixels
    FACTOR: Positive = 2.0  # side over the square root of the box's area
    CENTER_JITTER: NonNegative = 0.0  # magnitude of the shift in training
    SCALE_JITTER: NonNegative = 0.0  # magnitude of the scaling in training
    NUMBER: PositiveInt = 1  # crops of a sample


@dataclass(frozen=True)
class DataConfig(Section):
    """``DATA``. ``MEAN``, ``STD``: of the RGB channels in [0, 1]."""

    SAMPLER_MODE: Literal["causal", "trident", "trident_pro", "stark", "clip"] = "causal"
    MEAN: tuple[Share, Share, Share] = (0.485, 0.456, 0.406)
    STD: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)
    MAX_SAMPLE_INTERVAL: PositiveInt = 200
    TRAIN: SplitConfig = SplitConfig(("LASOT", "GOT10K_vottrain"), (1, 1), 60000)
    VAL: ValSplitConfig = ValSplitConfig(("GOT10K_votval",), (1,), 10000)
    SEARCH: CropConfig = CropConfig(320, 5.0, 4.5, 0.5)
    TEMPLATE: CropConfig = CropConfig(128, 2.0)
    MAX_BROKEN_SHARE: Extension[NonNegative] = 0.01  # largest fraction of samples that may meet an unreadable image
    # Send crops as uint8, and apply brightness and normalization on the training device. The samples are the same.
    NORMALIZE_ON_DEVICE: Extension[bool] = False
    # Fraction of the annotated pairs that are augmented by DRAW: image effects, loose boxes, and for still images also
    # parts, rectangles and warps.
    AUGMENT: Extension[Share] = 0.0
    DRAW: Extension[DrawSettings] = DrawSettings()
    # Fraction of the search frames without the target: half are crops beside it, in the others it is covered.
    ABSENT: Extension[Share] = 0.0
    # Fraction of the search frames that show the target of another sequence of the same data set instead of this one.
    OTHER_TARGET: Extension[Share] = 0.0


@dataclass(frozen=True)
class TestConfig(Section):
    """``TEST``: options of the tracker, see docs/tracking_options.md. ``EPOCH``: epoch of its checkpoint."""

    TEMPLATE_FACTOR: Positive = 2.0
    TEMPLATE_SIZE: PositiveInt = 128
    SEARCH_FACTOR: Positive = 5.0
    SEARCH_SIZE: PositiveInt = 320
    EPOCH: PositiveInt = 500
    MIN_SIZE: Extension[Annotated[float, Interval(1)]] = 10.0  # pixels: least side of a box, and inside the image
    SIZE_SMOOTHING: Extension[Share] = 0.0  # weight of a box's last size at score 0, falling to 0 at score 1
    DISTRACTOR_WEIGHT: Extension[Share] = 1.0  # of scores near a distractor of the last frame; 1 = none is remembered


@dataclass(frozen=True)
class ExperimentConfig(Section):
    """Base class of the experiments of all families; a family may extend sections with more keys.

    ``family`` is the name of the family of trackers, and of its folder in ``experiments``; ``name`` that of the file,
    checkpoints and results.
    """

    family: ClassVar[str]
    name: str = field(default="", kw_only=True, compare=False)

    MODEL: ModelConfig = ModelConfig()
    TRAIN: TrainConfig = TrainConfig()
    DATA: DataConfig = DataConfig()
    TEST: TestConfig = TestConfig()

    def conflicts(self) -> Conflicts:
        stride = self.MODEL.BACKBONE.STRIDE
        for part, crop in (("SEARCH", self.DATA.SEARCH), ("TEMPLATE", self.DATA.TEMPLATE)):
            if crop.SIZE % stride:
                yield f"DATA.{part}.SIZE", f"be a multiple of MODEL.BACKBONE.STRIDE = {stride}"


def validated_epochs(train: TrainConfig) -> list[int]:
    """Return the epochs, counted from 1, that end with a validation, given the section ``TRAIN``."""
    interval, last = train.VAL_EPOCH_INTERVAL, train.EPOCH
    return [epoch for epoch in range(1, last + 1) if epoch % interval == 0 or epoch == last] if interval else []


def unused_keys(cfg: ExperimentConfig, teacher: str = "") -> list[str]:
    """Return a line for each key that the experiment, with this teacher, sets without effect on its training."""
    schedule, lines = cfg.TRAIN.SCHEDULER, []
    if schedule.TYPE != "Mstep" and (given := sorted(schedule.given & {"MILESTONES", "GAMMA"})):
        names = " and ".join(f"TRAIN.SCHEDULER.{name}" for name in given)
        lines.append(f"{names} changes nothing: TRAIN.SCHEDULER.TYPE is {schedule.TYPE}, not Mstep")
    if "DISTILL" in cfg.TRAIN.given and not teacher:
        lines.append("TRAIN.DISTILL changes nothing without a teacher: --distill 1 --config_teacher NAME")
    drawn = drawn_datasets(cfg, "TRAIN").keys() | drawn_datasets(cfg, "VAL").keys()
    if "DRAW" in cfg.DATA.given and not cfg.DATA.AUGMENT and "IMAGES" not in drawn:
        lines.append("DATA.DRAW changes nothing: it needs the data set IMAGES, or DATA.AUGMENT above 0")
    return lines


def drawn_datasets(cfg: ExperimentConfig, split: str) -> dict[str, float]:
    """Return the data sets, with ratios above 0, of the split ``TRAIN`` or ``VAL``; none if no epoch is validated."""
    section = cfg.DATA.TRAIN if split == "TRAIN" else cfg.DATA.VAL
    if split == "VAL" and not (section.DATASETS_NAME and section.SAMPLE_PER_EPOCH and cfg.TRAIN.VAL_EPOCH_INTERVAL):
        return {}
    ratios: dict[str, float] = {}
    for name, ratio in zip(section.DATASETS_NAME, section.DATASETS_RATIO, strict=True):
        if ratio:
            ratios[name] = ratios.get(name, 0) + ratio
    return ratios
