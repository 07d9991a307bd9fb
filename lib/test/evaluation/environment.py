"""Where the test half finds benchmarks and puts results: defaults, or the user's ``local.py``."""

from __future__ import annotations

import copy
from pathlib import Path

from lib.utils.paths import PROJECT_DIR, local_file, local_settings

LOCAL_FILE = local_file("test", "lib/test/evaluation/local.py")


class EnvSettings:
    """Paths of the test half, with the published names.

    Without arguments everything lies under ``./data`` and ``./output`` of the project folder.
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
        self.antiuav_path = str(data / "antiuav")
        self.antiuav410_path = str(data / "antiuav410")
        self.avist_path = str(data / "avist")
        self.didi_path = str(data / "didi")
        self.dtb70_path = str(data / "dtb70")
        self.got10k_path = str(data / "got10k")
        self.got10k_lmdb_path = str(data / "got10k_lmdb")
        self.images_path = str(data / "images")
        self.itb_path = str(data / "itb")
        self.lasher_path = str(data / "lasher")
        self.lasot_path = str(data / "lasot")
        self.lasot_lmdb_path = str(data / "lasot_lmdb")
        self.lasot_extension_subset_path = str(data / "lasot_extension_subset")
        self.nfs_path = str(data / "nfs")
        self.nt_vot211_path = str(data / "nt_vot211")
        self.otb_path = str(data / "otb")
        self.tc128_path = str(data / "TC128")
        self.tnl2k_path = str(data / "tnl2k")
        self.trackingnet_path = str(data / "trackingnet")
        self.uav_path = str(data / "uav")
        self.uav123_10fps_path = str(data / "uav123_10fps")
        self.uav20l_path = str(data / "uav")
        self.uavdt_path = str(data / "uavdt")
        self.uavtrack112_path = str(data / "uavtrack112")
        self.uavtrack112_l_path = str(data / "uavtrack112")
        self.vasttrack_path = str(data / "vasttrack")
        self.visdrone_path = str(data / "visdrone")
        self.vot_path = str(data / "VOT2019")
        self.vot18_path = str(data / "vot2018")
        self.vot20_path = str(data / "vot2020")
        self.vot22_path = str(data / "vot2022")

    def _put_outputs(self, save: Path) -> None:
        self.save_dir = str(save)
        self.results_path = str(save / "test/tracking_results")
        self.segmentation_path = str(save / "test/segmentation_results")
        self.network_path = str(save / "test/networks")
        self.result_plot_path = str(save / "test/result_plots")
        self.got_packed_results_path = str(save / "test/packed/got10k")
        self.got_reports_path = str(save / "test/reports/got10k")
        self.tn_packed_results_path = str(save / "test/packed/trackingnet")
        self.nt_vot211_packed_results_path = str(save / "test/packed/nt_vot211")

    def saving_to(self, save_dir: str | Path | None) -> EnvSettings:
        """These settings with all outputs under ``save_dir``; None leaves them where they are."""
        settings = copy.copy(self)
        if save_dir is not None:
            settings._put_outputs(Path(save_dir))
        return settings


def env_settings(path: str | Path = LOCAL_FILE) -> EnvSettings:
    """The user's paths from ``lib/test/evaluation/local.py``, or the defaults when there is no such file.

    Raises:
        ConfigError: the file does not run, or has no ``local_env_settings()`` that returns an :class:`EnvSettings`.
    """
    path = Path(path)
    if not path.exists():
        return EnvSettings()
    return local_settings(path, "local_env_settings", EnvSettings)
