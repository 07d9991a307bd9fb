"""Operation counts against the published ones."""

import pytest

from lib.config.ostrack import load_config
from lib.models.ostrack import build_ostrack
from lib.test.profiling import count_operations, profile

pytest.importorskip("thop")


@pytest.mark.parametrize("name", ["vitb_256_mae_32x4_ep300", "vitb_256_mae_ce_32x4_ep300",
                                  "vitb_384_mae_32x4_ep300", "vitb_384_mae_ce_32x4_ep300"])  # fmt: skip
def test_macs_and_parameters_are_the_published_ones(name, golden):
    cfg = load_config(name)
    gmacs, mparams = count_operations(build_ostrack(cfg), cfg.DATA.TEMPLATE.SIZE, cfg.DATA.SEARCH.SIZE)
    assert gmacs == pytest.approx(golden("profile.json")[name]["thop_gmacs"], rel=1e-9)
    assert mparams == pytest.approx(golden("profile.json")[name]["thop_mparams"], rel=1e-9)


def test_profile_measures_network_and_tracker():
    result = profile("vitt_256_ce_images", frames=2, overrides=["MODEL.HEAD.NUM_CHANNELS=16"])
    assert 0 < result.network and 0 < result.end_to_end
    assert "vitt_256_ce_images on cpu" in str(result) and "MACs" in str(result)
