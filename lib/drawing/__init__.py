"""Drawing training pairs and sequences from unlabelled pictures.

How much of everything is drawn is set in :mod:`lib.config.drawing`. From the bottom up: ``outlines`` (shapes),
``textures`` (procedural pictures), ``warp`` (poses, and sprites painted onto a canvas), ``looks`` (what light and
camera do), ``pictures`` (the picture memory), ``parts`` (sprites cut out of pictures), ``cast`` (who plays), ``scene``
(one frame), ``staging`` (the frames of a pair), ``sequences`` (continuous ones, and their files).

Points are in *edge coordinates* everywhere: pixel ``i`` covers ``[i, i + 1)``, so that a box is two points. Only
``warp.py`` translates to OpenCV's convention, in which whole numbers are pixel centers.
"""
