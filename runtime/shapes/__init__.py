"""The shape of every output from those of the operands: one rule per TFLite operator, one file per family.

A rule also refuses operands whose shapes do not fit together, which is what the rules of `runtime.decompose`
rely on. The pass that applies them is `runtime.infer`.
"""

from __future__ import annotations

from collections.abc import Mapping

from runtime.families import Rules
from runtime.shapes.operands import Rule

RULES: Mapping[str, Rule] = Rules(
    __name__,
    {
        "bitcast": "views",
        "conv_3d": "conv",
        "detection_postprocess": "detection",
        "norm": "elementwise",
        "pool": "conv",
        "quantize": "elementwise",
        "stablehlo.reduce": "stablehlo.windows",
        "stablehlo.sort": "stablehlo.index",
        "transpose_conv": "conv",
    },
)
