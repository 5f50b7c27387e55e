"""The profile of a forward pass at tiny size; kinds of kernels by their names."""

from pathlib import Path

import pytest

from benchmarks import kernels
from benchmarks.kernels import ATTENTION, COPIES, FUSED, OWN, PRODUCTS, REST, Spent
from benchmarks.page import table
from tests.benchmarks.test_benchmarks import NO_CARD, machine, report_in

NAMES = {
    "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_3": ATTENTION,
    "void flash_fwd_kernel<Flash_fwd_kernel_traits<128>>": ATTENTION,
    "nvjet_tst_256x128_64x4_2x1_v_bz_coopA_bias_TNT": PRODUCTS,
    "sm90_xmma_gemm_e4m3bf16_tn_n": PRODUCTS,
    "triton_red_fused__to_copy_addmm_mul_native_layer_norm_0": FUSED,
    "triton_poi_fused__scaled_dot_product_cudnn_attention_view_3": FUSED,
    "_norm_modulated": OWN,
    "_rows_to_fp8": OWN,
    "Memcpy DtoD (Device -> Device)": COPIES,
    "void at::native::vectorized_elementwise_kernel<4, gelu>": REST,
}


@pytest.mark.parametrize(("name", "kind"), NAMES.items())
def test_names_tell_the_kind(name: str, kind: str) -> None:
    assert Spent(name=name, calls=1, ms=1.0).kind == kind


def test_kinds_are_summed() -> None:
    found = dict(kernels.by_kind([Spent(name=name, calls=2, ms=1.5) for name in NAMES]))
    assert {kind: (one.calls, one.ms) for kind, one in found.items()} == {
        FUSED: (4, 3.0), OWN: (4, 3.0), ATTENTION: (4, 3.0), PRODUCTS: (4, 3.0),
        COPIES: (2, 1.5), REST: (2, 1.5),
    }  # fmt: skip


@NO_CARD
def test_a_pass_is_taken_apart(tmp_path: Path) -> None:
    report = report_in(tmp_path, "kernels")
    kernels.run(report, machine(), quick=True, only=["eager"])
    whole, *rows = report.rows
    assert whole["kind"] == "all" and whole["ms"] > 0
    together = [row for row in rows if row["kernel"] == "together"]
    longest = [row for row in rows if "index" in row]
    assert len(longest) == kernels.SHOWN
    assert sum(row["calls"] for row in together) == whole["calls"]
    assert [row["ms"] for row in longest] == sorted((row["ms"] for row in longest), reverse=True)
    shares = {row["kind"]: row["share"] for row in together}
    assert shares[PRODUCTS] > 0.05 and shares[ATTENTION] > 0.02
    assert "of the pass" in table("kernels", report.rows)
