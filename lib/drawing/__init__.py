"""Draw, that is synthesize, training pairs and sequences from unlabeled images.

Functions that take a random generator also *draw* in the sense of sampling at random. :mod:`lib.config.drawing` sets
all magnitudes.

From the bottom up, the modules are ``outlines`` (shapes and boxes), ``textures`` (procedural images), ``warp`` (poses,
and sprites painted onto a canvas), ``photometric`` (light and camera), ``pictures`` (source images), ``assets``
(sprites cut out of images, and the objects of a scene), ``motion`` (one frame, and the frames of a pair) and
``sequences`` (continuous motion, and files of sequences).

Points are in *edge coordinates*: pixel ``i`` covers ``[i, i + 1)``, so a box is given by two points. Only ``warp``
converts to OpenCV's coordinates, in which whole numbers are pixel centers.
"""
