"""Every key of an experiment file with its default value.

The type of a default is the type of the key: ``4.0`` takes any number, ``200`` takes whole numbers. ``PUBLISHED``
holds the keys of the published system. ``EXTENSIONS`` holds what this project adds; an extension is off by default and
enters a resolved configuration only where an experiment sets it, so that published experiments resolve to what they
always were, and so does their hash.
"""

from __future__ import annotations

import math

from lib.config.drawing import draw_keys

PUBLISHED = {
    "MODEL": {
        "PRETRAIN_FILE": "mae_pretrain_vit_base.pth",
        "EXTRA_MERGER": False,
        "RETURN_INTER": False,
        "RETURN_STAGES": [],
        "BACKBONE": {
            "TYPE": "vit_base_patch16_224",
            "STRIDE": 16,
            "MID_PE": False,
            "SEP_SEG": False,
            "CAT_MODE": "direct",
            "MERGE_LAYER": 0,
            "ADD_CLS_TOKEN": False,
            "CLS_TOKEN_USE_MODE": "ignore",
            "CE_LOC": [],
            "CE_KEEP_RATIO": [],
            "CE_TEMPLATE_RANGE": "ALL",
        },
        "HEAD": {"TYPE": "CENTER", "NUM_CHANNELS": 256},
    },
    "TRAIN": {
        "LR": 0.0001,
        "WEIGHT_DECAY": 0.0001,
        "EPOCH": 500,
        "LR_DROP_EPOCH": 400,
        "BATCH_SIZE": 16,
        "NUM_WORKER": 8,
        "OPTIMIZER": "ADAMW",
        "BACKBONE_MULTIPLIER": 0.1,
        "GIOU_WEIGHT": 2.0,
        "L1_WEIGHT": 5.0,
        # Blocks that keep their weights, counted from 1; the embeddings before them go with block 1. 0 stands for none.
        "FREEZE_LAYERS": [0],
        "PRINT_INTERVAL": 50,
        # Validation follows every so many epochs and the last one; 0 = never.
        "VAL_EPOCH_INTERVAL": 20,
        "GRAD_CLIP_NORM": 0.1,
        "AMP": False,
        "CE_START_EPOCH": 20,
        "CE_WARM_EPOCH": 80,
        "DROP_PATH_RATE": 0.1,
        "SCHEDULER": {"TYPE": "step", "DECAY_RATE": 0.1},
    },
    "DATA": {
        "SAMPLER_MODE": "causal",
        "MEAN": [0.485, 0.456, 0.406],
        "STD": [0.229, 0.224, 0.225],
        "MAX_SAMPLE_INTERVAL": 200,
        "TRAIN": {
            "DATASETS_NAME": ["LASOT", "GOT10K_vottrain"],
            "DATASETS_RATIO": [1, 1],
            "SAMPLE_PER_EPOCH": 60000,
        },
        # Without names there is no validation.
        "VAL": {"DATASETS_NAME": ["GOT10K_votval"], "DATASETS_RATIO": [1], "SAMPLE_PER_EPOCH": 10000},
        "SEARCH": {"SIZE": 320, "FACTOR": 5.0, "CENTER_JITTER": 4.5, "SCALE_JITTER": 0.5, "NUMBER": 1},
        "TEMPLATE": {"NUMBER": 1, "SIZE": 128, "FACTOR": 2.0, "CENTER_JITTER": 0.0, "SCALE_JITTER": 0.0},
    },
    "TEST": {
        "TEMPLATE_FACTOR": 2.0,
        "TEMPLATE_SIZE": 128,
        "SEARCH_FACTOR": 5.0,
        "SEARCH_SIZE": 320,
        "EPOCH": 500,
    },
}

EXTENSIONS = {
    "MODEL": {
        # Number of transformer blocks; 0 = all that the backbone type has.
        "BACKBONE": {
            "DEPTH": 0,
            # Learned embeddings of what a token shows: target or background of the template (by its box), or search.
            "TOKEN_TYPES": False,
        },
        # Give the head the cosine similarity of each search token to each template token (pixel-wise correlation,
        # Yan et al., Alpha-Refine, CVPR 2021) as further channels.
        "HEAD": {"CORRELATION": False},
    },
    "TRAIN": {
        "SEED": 42,
        # Gradients of this many batches are summed before an optimiser step.
        "ACCUM_STEPS": 1,
        # A numbered checkpoint is kept for good every so many epochs.
        "CHECKPOINT_INTERVAL": 10,
        # A checkpoint is written inside the epoch every so many steps too; 0 = at the end of epochs only.
        "SAVE_EVERY_STEPS": 0,
        # Seconds that training waits for a batch of its worker processes before it ends with an error.
        "DATA_TIMEOUT": 900.0,
        # Half of the pairs show another object in the search region, and are to be recognised as such.
        "TRAIN_CLS": False,
        # Learning rates fall by this factor from each block to the one before it; 1 = the same for all.
        "LAYER_DECAY": 1.0,
        # A running average of the weights with this decay is kept, validated and saved beside them; 0 = none.
        "EMA_DECAY": 0.0,
        # Let float32 matrix products use TensorFloat-32 on CUDA.
        "TF32": False,
        # torch.compile the transformer blocks.
        "COMPILE": False,
        # Compute the blocks' activations again in the backward pass instead of keeping them.
        "ACTIVATION_CHECKPOINTING": False,
        # Weights of the distillation losses, with a teacher (--distill 1).
        "DISTILL": {"SCORE_WEIGHT": 1.0, "SIZE_WEIGHT": 1.0, "OFFSET_WEIGHT": 1.0},
        "SCHEDULER": {"MILESTONES": [], "GAMMA": 0.1, "WARMUP_EPOCH": 0.0},
    },
    "DATA": {
        # Share of the drawn samples that may meet an unreadable image before the run stops.
        "MAX_BROKEN_SHARE": 0.01,
        # Crops travel as bytes; brightness and normalisation are done on the device that trains. The same samples.
        "NORMALISE_ON_DEVICE": False,
        # Share of the pairs from annotated data that are augmented as DRAW says: looks, loose boxes, and of still
        # pictures parts, rectangles and warps.
        "AUGMENT": 0.0,
        # How much of everything is drawn in the data set IMAGES: see lib/config/drawing.py.
        "DRAW": draw_keys(),
    },
    # See docs/tracking_options.md.
    "TEST": {
        # Pixels that the sides of a box are long at least, and that stay inside of the image.
        "MIN_SIZE": 10.0,
        # Share of its last size that a box keeps at score 0, falling to none at score 1.
        "SIZE_SMOOTHING": 0.0,
    },
}

# What the items of a list are, where the default does not show it.
ITEM_TYPES = {
    "MODEL.RETURN_STAGES": int,
    "MODEL.BACKBONE.CE_LOC": int,
    "MODEL.BACKBONE.CE_KEEP_RATIO": float,
    "DATA.TRAIN.DATASETS_RATIO": float,
    "DATA.VAL.DATASETS_RATIO": float,
    "TRAIN.SCHEDULER.MILESTONES": int,
}

# Keys that take one of a few values.
CHOICES = {
    "MODEL.BACKBONE.CAT_MODE": ("direct", "template_central"),
    "MODEL.BACKBONE.CE_TEMPLATE_RANGE": ("ALL", "CTR_POINT", "CTR_REC", "GT_BOX"),
    "MODEL.HEAD.TYPE": ("CENTER", "CORNER", "MLP"),
    "DATA.SAMPLER_MODE": ("causal", "trident", "trident_pro", "stark"),
    "TRAIN.OPTIMIZER": ("ADAMW",),
    "TRAIN.AMP": (False, True, "bf16", "fp16"),
    "TRAIN.SCHEDULER.TYPE": ("step", "Mstep", "cosine"),
}

# Keys of the published system that did nothing, or nothing that worked: only their default is accepted.
UNSUPPORTED = (
    "MODEL.EXTRA_MERGER",
    "MODEL.RETURN_INTER",
    "MODEL.RETURN_STAGES",
    "MODEL.BACKBONE.MID_PE",
    "MODEL.BACKBONE.MERGE_LAYER",
    "MODEL.BACKBONE.ADD_CLS_TOKEN",
    "MODEL.BACKBONE.CLS_TOKEN_USE_MODE",
)

# Least and greatest value.
BETWEEN = {
    "DATA.AUGMENT": (0, 1),
    "TEST.MIN_SIZE": (1, math.inf),
    "TEST.SIZE_SMOOTHING": (0, 1),
}

POSITIVE = (
    "MODEL.BACKBONE.STRIDE",
    "MODEL.HEAD.NUM_CHANNELS",
    "TRAIN.LR",
    "TRAIN.EPOCH",
    "TRAIN.BATCH_SIZE",
    "TRAIN.ACCUM_STEPS",
    "TRAIN.DATA_TIMEOUT",
    "TRAIN.LAYER_DECAY",
    "TRAIN.CHECKPOINT_INTERVAL",
    "TRAIN.PRINT_INTERVAL",
    "DATA.TRAIN.SAMPLE_PER_EPOCH",
    "DATA.MAX_SAMPLE_INTERVAL",
    "DATA.SEARCH.SIZE",
    "DATA.SEARCH.FACTOR",
    "DATA.SEARCH.NUMBER",
    "DATA.TEMPLATE.SIZE",
    "DATA.TEMPLATE.FACTOR",
    "DATA.TEMPLATE.NUMBER",
    "TEST.SEARCH_FACTOR",
    "TEST.TEMPLATE_FACTOR",
    "TEST.EPOCH",
)

NON_NEGATIVE = (
    "MODEL.BACKBONE.DEPTH",
    "TRAIN.WEIGHT_DECAY",
    "TRAIN.BACKBONE_MULTIPLIER",
    "TRAIN.GIOU_WEIGHT",
    "TRAIN.L1_WEIGHT",
    "TRAIN.NUM_WORKER",
    "TRAIN.VAL_EPOCH_INTERVAL",
    "DATA.VAL.SAMPLE_PER_EPOCH",
    "TRAIN.GRAD_CLIP_NORM",
    "TRAIN.DROP_PATH_RATE",
    "TRAIN.CE_START_EPOCH",
    "TRAIN.CE_WARM_EPOCH",
    "TRAIN.SAVE_EVERY_STEPS",
    "TRAIN.EMA_DECAY",
    "TRAIN.DISTILL.SCORE_WEIGHT",
    "TRAIN.DISTILL.SIZE_WEIGHT",
    "TRAIN.DISTILL.OFFSET_WEIGHT",
    "DATA.MAX_BROKEN_SHARE",
    "TRAIN.SCHEDULER.WARMUP_EPOCH",
    "DATA.SEARCH.CENTER_JITTER",
    "DATA.SEARCH.SCALE_JITTER",
    "DATA.TEMPLATE.CENTER_JITTER",
    "DATA.TEMPLATE.SCALE_JITTER",
)
