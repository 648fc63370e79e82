"""Which file has the rules of an operator: one family per file of `runtime.decompose` and `runtime.shapes`.

A model has operators of a few families. The others are not imported: their code would be a good part of what
a small model needs of memory.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TypeVar

_OPERATORS = {
    "bitcast": "BITCAST",
    "blocks": "SPACE_TO_DEPTH DEPTH_TO_SPACE SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND",
    "compare": (
        "EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL LOGICAL_AND LOGICAL_OR LOGICAL_NOT "
        "SELECT SELECT_V2"
    ),
    "conv": "CONV_2D DEPTHWISE_CONV_2D",
    "conv_3d": "CONV_3D CONV_3D_TRANSPOSE",
    "counts": "SHAPE RANK FILL RANGE BROADCAST_ARGS",
    "detection": "NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5",
    "detection_postprocess": "TFLite_Detection_PostProcess",
    "elementwise": (
        "ADD SUB MUL DIV MAXIMUM MINIMUM POW SQUARED_DIFFERENCE FLOOR_DIV FLOOR_MOD ATAN2 BITWISE_XOR "
        "RIGHT_SHIFT RELU RELU6 RELU_N1_TO_1 LOGISTIC TANH ABS NEG EXP SQRT RSQRT HARD_SWISH "
        "RELU_0_TO_1 FLOOR CEIL ROUND SIGN SIN COS LOG SQUARE ELU LEAKY_RELU GELU PRELU ADD_N "
        "FAKE_QUANT ZEROS_LIKE"
    ),
    "index": (
        "GATHER GATHER_ND SCATTER_ND SPARSE_TO_DENSE ONE_HOT EMBEDDING_LOOKUP EMBEDDING_LOOKUP_SPARSE "
        "TOPK_V2 HASHTABLE_LOOKUP UNIQUE WHERE BUCKETIZE"
    ),
    "lstm": "LSTM UNIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_LSTM",
    "matrix": "FULLY_CONNECTED BATCH_MATMUL",
    "norm": "SOFTMAX LOG_SOFTMAX L2_NORMALIZATION LOCAL_RESPONSE_NORMALIZATION",
    "pads": "PAD PADV2 MIRROR_PAD DILATE MATRIX_DIAG MATRIX_SET_DIAG",
    "pool": "AVERAGE_POOL_2D MAX_POOL_2D L2_POOL_2D",
    "quantize": "DENSIFY QUANTIZE DEQUANTIZE CAST",
    "random": "RANDOM_UNIFORM RANDOM_STANDARD_NORMAL MULTINOMIAL",
    "reduce": "SUM MEAN REDUCE_MAX REDUCE_MIN REDUCE_ANY REDUCE_ALL REDUCE_PROD ARG_MAX ARG_MIN",
    "resize": "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR",
    "rnn": "RNN UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_RNN",
    "scan": "CUMSUM",
    "segment": (
        "SEGMENT_SUM UNSORTED_SEGMENT_SUM UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_PROD"
    ),
    "slices": "SLICE STRIDED_SLICE SPLIT SPLIT_V UNPACK DYNAMIC_UPDATE_SLICE",
    "spectral": "RFFT2D REAL IMAG COMPLEX_ABS",
    "stablehlo.elementwise": (
        "STABLEHLO_ADD STABLEHLO_SUBTRACT STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_MINIMUM "
        "STABLEHLO_DIVIDE STABLEHLO_REMAINDER STABLEHLO_POWER STABLEHLO_AND STABLEHLO_OR "
        "STABLEHLO_SHIFT_LEFT STABLEHLO_ABS STABLEHLO_NEGATE STABLEHLO_COSINE STABLEHLO_EXPONENTIAL "
        "STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_LOGISTIC STABLEHLO_RSQRT STABLEHLO_TANH STABLEHLO_CBRT "
        "STABLEHLO_COMPARE STABLEHLO_CONVERT STABLEHLO_SELECT STABLEHLO_CLAMP"
    ),
    "stablehlo.index": (
        "STABLEHLO_GATHER STABLEHLO_SCATTER STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE"
    ),
    "stablehlo.product": "STABLEHLO_DOT_GENERAL STABLEHLO_CONVOLUTION",
    "stablehlo.random": "STABLEHLO_RNG_BIT_GENERATOR",
    "stablehlo.reduce": "STABLEHLO_REDUCE STABLEHLO_REDUCE_WINDOW REDUCE_WINDOW",
    "stablehlo.sort": "STABLEHLO_SORT",
    "stablehlo.views": (
        "STABLEHLO_RESHAPE STABLEHLO_BROADCAST_IN_DIM STABLEHLO_TRANSPOSE STABLEHLO_CONCATENATE "
        "STABLEHLO_SLICE STABLEHLO_PAD STABLEHLO_IOTA"
    ),
    "svdf": "SVDF",
    "transpose_conv": "TRANSPOSE_CONV",
    "views": (
        "RESHAPE SQUEEZE EXPAND_DIMS TRANSPOSE CONCATENATION PACK TILE BROADCAST_TO REVERSE_V2 "
        "REVERSE_SEQUENCE"
    ),
}

FAMILIES = {op: family for family, operators in _OPERATORS.items() for op in operators.split()}
"""The family of every operator that has rules."""
Rule = TypeVar("Rule")


class Rules(Mapping[str, Rule]):
    """The `RULES` of the families of a package, each imported when the first of its operators is asked for.

    `elsewhere` names the module of a family that shares it with another.
    """

    def __init__(self, package: str, elsewhere: Mapping[str, str] = MappingProxyType({})) -> None:
        self._package, self._elsewhere = package, elsewhere

    def __getitem__(self, op: str) -> Rule:
        family = FAMILIES[op]
        module = importlib.import_module(f"{self._package}.{self._elsewhere.get(family, family)}")
        rule: Rule = module.RULES[op]
        return rule

    def __contains__(self, op: object) -> bool:
        return op in FAMILIES

    def __iter__(self) -> Iterator[str]:
        return iter(FAMILIES)

    def __len__(self) -> int:
        return len(FAMILIES)
