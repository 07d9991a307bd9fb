"""Packaging. Lower bounds stand here; the versions that the tests ran with stand in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

EXTRAS = {
    "train": ["lmdb>=1.4", "tensorboard>=2.14", "wandb>=0.31"],
    # visdom builds only with setuptools < 81 (see install.sh), and answers 403 for its page with tornado 6.6.
    "debug": ["visdom>=0.2.4", "tornado<6.6"],
    "profile": ["thop>=0.1.1.post2209072238"],
    "export": ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20", "openvino>=2025.0"],
    "docs": ["mkdocs-material>=9.5"],  # make docs
    "dev": [
        "pytest>=8",
        "pytest-cov>=6.1",
        "pytest-xdist>=3.6",
        "ruff>=0.9",
        "mypy>=1.15",
        "vulture>=2.14",
        "setuptools>=77",  # a test builds the wheel without downloads
        "wheel>=0.45",
        "playwright>=1.48",  # drives a Chromium that is installed; downloads none
        "pandas-stubs",
        "scipy-stubs",
        "types-PyYAML",
        "types-tqdm",
    ],
}

# Every script in tracking/ is a console command too: tracking/check_data.py is ostrack-check-data, but for these names.
COMMANDS = {"analysis_results": "analyze", "create_default_local_file": "create-local", "profile_model": "profile"}
NO_COMMANDS = {"__init__", "commands", "vot_tracker"}  # the last is for the VOT toolkit, which starts it as a script
SCRIPTS = sorted({path.stem for path in Path(__file__).parent.glob("tracking/*.py")} - NO_COMMANDS)

# What lies beside lib/ in a clone goes into lib/shipped/ of the wheel, where lib/utils/paths.py finds it.
SHIPPED = {
    "lib.shipped.experiments": "experiments",
    "lib.shipped.pretrained_models": "pretrained_models",
    "lib.shipped.web": "web",
}

# A package for each family of trackers.
FAMILIES = sorted({path.parent.name for path in Path(__file__).parent.glob("experiments/*/*.yaml")})
EXPERIMENTS = [f"lib.shipped.experiments.{family}" for family in FAMILIES]


class BuildWithoutLocalFiles(build_py):
    """A wheel must not carry the paths of the machine that it is built on (lib/*/**/local.py)."""

    def find_package_modules(self, package, package_dir):
        return [found for found in super().find_package_modules(package, package_dir) if found[1] != "local"]


setup(
    name="ostrack",
    version="0.1.0",
    description="One-stream visual object tracking: OSTrack (ECCV 2022), trained, tested and shipped from one place",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=[*find_packages(include=["lib", "lib.*", "tracking"]), *SHIPPED, *EXPERIMENTS],
    py_modules=["ostrack"],
    package_dir=SHIPPED,
    package_data={
        "": ["data_specs/*", "page/*"],
        **dict.fromkeys(EXPERIMENTS, ["*.yaml"]),
        "lib.shipped.pretrained_models": [
            "README.md",
            "training_data.yaml",
            "ostrack_vits_160.*",
            "ostrack_vits_192.*",
            "ostrack_vits_256_ce_images.*",
        ],
        "lib.shipped.web": ["*.html", "*.css", "*.js", "*.json", "sample/*"],
    },
    cmdclass={"build_py": BuildWithoutLocalFiles},
    entry_points={
        "console_scripts": [
            f"ostrack-{COMMANDS.get(script, script.replace('_', '-'))} = tracking.commands:{script}"
            for script in SCRIPTS
        ]
    },
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "timm>=1.0.9",
        "opencv-python>=4.11",  # the first that decodes to RGB
        "safetensors>=0.4",
        "numpy>=1.26",
        "pandas>=2.1",
        "pyyaml>=6.0",
        "matplotlib>=3.7",
        "scipy>=1.10",
        "tqdm>=4.60",
    ],
    extras_require={**EXTRAS, "all": [name for names in EXTRAS.values() for name in names]},
)
