"""Paths of benchmarks and results for evaluation: defaults, or the user's ``local.py``."""

from __future__ import annotations

import copy
from pathlib import Path

from lib.data.datasets import BENCHMARKS, BenchmarkSpec
from lib.utils.paths import PROJECT_DIR, local_file, local_settings

LOCAL_FILE = local_file("test", "lib/test/evaluation/local.py")


class EnvSettings:
    """Paths for evaluation, with the published names; the settings of benchmarks are listed in their table.

    Without arguments all paths are under ``./data`` and ``./output`` of the project folder. Functions that take ``env``
    use :func:`env_settings` where it is None.
    """

    def __init__(
        self,
        workspace_dir: str | Path = PROJECT_DIR,
        data_dir: str | Path = PROJECT_DIR / "data",
        save_dir: str | Path = PROJECT_DIR / "output",
    ) -> None:
        data = Path(data_dir)
        self.prj_dir = str(workspace_dir)
        self._put_outputs(Path(save_dir))
        for row in sorted(BENCHMARKS.values(), key=lambda row: row.setting):
            setattr(self, row.setting, str(data / row.folder))

    def _put_outputs(self, save: Path) -> None:
        self.save_dir = str(save)
        self.results_path = str(save / "test/tracking_results")
        self.result_plot_path = str(save / "test/result_plots")
        self.got_packed_results_path = str(save / "test/packed/got10k")
        self.tn_packed_results_path = str(save / "test/packed/trackingnet")
        self.nt_vot211_packed_results_path = str(save / "test/packed/nt_vot211")

    def saving_to(self, save_dir: str | Path | None) -> EnvSettings:
        """Return these settings with all outputs under ``save_dir``; None leaves them where they are."""
        settings = copy.copy(self)
        if save_dir is not None:
            settings._put_outputs(Path(save_dir))
        return settings

    @property
    def debug_folder(self) -> Path:
        """Folder of images and results of runs with visualization, separate from the results of other runs."""
        return Path(self.save_dir) / "test/debug"

    def folder(self, row: BenchmarkSpec) -> Path:
        """Return the folder in which a benchmark is expected."""
        return Path(getattr(self, row.setting)) / row.subfolder


def env_settings(path: str | Path = LOCAL_FILE) -> EnvSettings:
    """Return the user's paths from ``lib/test/evaluation/local.py``, or the defaults when there is no such file.

    What the file leaves empty, as the published project's does, keeps its default. Raises ConfigError: it does not run,
    or has no ``local_env_settings()`` that returns an :class:`EnvSettings`.
    """
    path = Path(path)
    if not path.exists():
        return EnvSettings()
    settings = local_settings(path, "local_env_settings", EnvSettings)
    own = vars(settings)
    defaults = vars(EnvSettings().saving_to(own.get("save_dir") or None))
    own.update({name: value for name, value in defaults.items() if not own.get(name)})
    return settings
