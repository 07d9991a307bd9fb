"""Draw training pairs and sequences from unlabeled pictures.

:mod:`lib.config.drawing` sets all magnitudes. From the bottom up: ``outlines`` (shapes), ``textures`` (procedural
pictures), ``warp`` (poses, and sprites painted onto a canvas), ``photometric`` (light and camera), ``pictures`` (in
memory), ``patches`` (sprites cut out of pictures), ``assets`` (the objects of a scene), ``scene`` (one frame),
``motion`` (the frames of a pair), ``sequences`` (continuous ones, and their files).

Points are in *edge coordinates*: pixel ``i`` covers ``[i, i + 1)``, so that a box is two points. Only ``warp`` converts
to OpenCV's, in which whole numbers are pixel centers.
"""
