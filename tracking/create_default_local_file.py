"""Write the two path settings files, to be edited by the user.

In a clone they are lib/train/admin/local.py and lib/test/evaluation/local.py. Where the package is installed, they are
local_train.py and local_test.py in the current folder, or in OSTRACK_HOME.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.test.evaluation import environment as test_environment
from lib.test.evaluation.environment import EnvSettings
from lib.train.admin import environment as train_environment
from lib.train.admin.environment import EnvironmentSettings
from lib.utils.console import next_step
from lib.utils.errors import ConfigError, run_cli
from lib.utils.paths import PROJECT_DIR

TRAIN_FILE = train_environment.LOCAL_FILE.relative_to(PROJECT_DIR)
TEST_FILE = test_environment.LOCAL_FILE.relative_to(PROJECT_DIR)


def train_text(workspace_dir: Path, data_dir: Path, save_dir: Path) -> str:
    """Return the text of the training half's file: every setting with its default, made absolute."""
    lines = ["class EnvironmentSettings:", "    def __init__(self):"]
    for name, value in vars(EnvironmentSettings()).items():
        moves = ((PROJECT_DIR / "data", data_dir), (PROJECT_DIR / "output", save_dir), (PROJECT_DIR, workspace_dir))
        for start, folder in moves:
            if Path(value).is_relative_to(start):
                value = str(folder / Path(value).relative_to(start))
                break
        lines.append(f"        self.{name} = {value!r}")
    return "\n".join(lines) + "\n"


def test_text(workspace_dir: Path, data_dir: Path, save_dir: Path) -> str:
    """Return the text of the test half's file: every setting with its default."""
    lines = ["from lib.test.evaluation.environment import EnvSettings", "", "", "def local_env_settings():"]
    lines.append("    settings = EnvSettings()")
    for name, value in vars(EnvSettings(workspace_dir, data_dir, save_dir)).items():
        lines.append(f"    settings.{name} = {value!r}")
    return "\n".join([*lines, "    return settings"]) + "\n"


def write_local_files(root: Path, workspace_dir: Path, data_dir: Path, save_dir: Path, force: bool) -> list[Path]:
    """Write both files under ``root`` and return their paths.

    Raises:
        ConfigError: one of them is there already, and ``force`` is not given. Then none is written.
    """
    folders = [folder.resolve() for folder in (workspace_dir, data_dir, save_dir)]
    texts = {root / TRAIN_FILE: train_text(*folders), root / TEST_FILE: test_text(*folders)}
    existing = [str(path) for path in texts if path.exists()]
    if existing and not force:
        advice = "add or change lines by hand, or replace all with --force"
        raise ConfigError(f"{' and '.join(existing)} already there: {advice}")
    for path, text in texts.items():
        path.write_text(text)
    return list(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace_dir", type=Path, default=PROJECT_DIR, help="the project's folder")
    parser.add_argument("--data_dir", type=Path, default=PROJECT_DIR / "data", help="the folder of data sets")
    parser.add_argument(
        "--save_dir", type=Path, default=PROJECT_DIR / "output", help="where checkpoints and results go"
    )
    parser.add_argument("--force", action="store_true", help="replace files that are there already")
    args = parser.parse_args()
    for path in write_local_files(PROJECT_DIR, args.workspace_dir, args.data_dir, args.save_dir, args.force):
        print(f"wrote {path}")
    next_step("edit both, then python tracking/test.py --list", "python tracking/check_data.py --dataset NAME")


if __name__ == "__main__":
    run_cli(main)
