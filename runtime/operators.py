"""One row per TFLite operator that the engine knows: how many tensors it takes and gives, its attributes.

Attribute names are the snake_case field names of the options table in TFLite's schema.fbs; enums become their
names ("SAME", "RELU6"), vectors become tuples of numbers, texts str. What an operator means is in
`runtime.shapes` and `runtime.decompose`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MANY = 4096
PADDING = {0: "SAME", 1: "VALID"}
ACTIVATION = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH", 5: "SIGN_BIT"}
BIAS_TYPES = {0: "FLOAT32", 2: "INT32", 4: "INT64"}
MIRROR = {0: "REFLECT", 1: "SYMMETRIC"}
COMBINER = {0: "SUM", 1: "MEAN", 2: "SQRTN"}
KERNEL = {0: "FULL", 1: "BASIC"}
DIRECTION = {0: "EQ", 1: "NE", 2: "GE", 3: "GT", 4: "LE", 5: "LT"}
COMPARISON = {0: "NOTYPE", 1: "FLOAT", 2: "FLOAT_TOTAL_ORDER", 3: "SIGNED", 4: "UNSIGNED"}
REDUCTION = {1: "add", 2: "mul", 3: "min", 4: "max", 5: "and", 6: "or"}
ALGORITHM = {0: "DEFAULT", 1: "PHILOX", 2: "THREEFRY"}
ENUMS = {
    "algorithm": ALGORITHM,
    "padding": PADDING,
    "fused_activation_function": ACTIVATION,
    "quantized_bias_type": BIAS_TYPES,
    "mode": MIRROR,
    "combiner": COMBINER,
    "kernel_type": KERNEL,
    "comparison_direction": DIRECTION,
    "compare_type": COMPARISON,
    "reduce_function": REDUCTION,
}
TEXTS = frozenset({"container", "shared_name"})
Option = bool | int | float
"""Of a custom operator."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Least and most inputs and outputs; `table` is the options table, "" for an operator without one."""

    inputs: tuple[int, int]
    outputs: tuple[int, int] = (1, 1)
    table: str = ""
    fields: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    """Fields that TFLite needs and that say what is known already, or is a name for people."""
    states: tuple[int, ...] | Mapping[str, tuple[int, ...]] = ()
    """Positions of the inputs that are variable tensors: linked, the node has one more output for each, which
    is what the next run finds there. They may depend on the kernel type."""
    intermediates: bool = False
    """Whether its attributes have `intermediates`: the quantisation of each tensor that the file names for
    what lies between its steps, None where it gives none."""

    custom: Mapping[str, Option] | None = None
    """Of a custom operator: the options that its kernel reads, and what it takes for those left out."""

    def variables(self, attrs: Mapping[str, Any]) -> tuple[int, ...]:
        """`states` of a node with these attributes."""
        return self.states[attrs["kernel_type"]] if isinstance(self.states, Mapping) else self.states


def _unary(table: str = "", *fields: str) -> Operator:
    return Operator((1, 1), table=table, fields=fields)


def _binary(table: str = "", *fields: str) -> Operator:
    return Operator((2, 2), table=table, fields=fields)


FUSED = "fused_activation_function"
LEVELS = "asymmetric_quantize_inputs"
POWERS = "pot_scale_int16"
BIAS_TYPE = "quantized_bias_type"
SLIDING = ("padding", "stride_w", "stride_h", FUSED)
DILATED = (*SLIDING, "dilation_w_factor", "dilation_h_factor")
SPATIAL = (*DILATED, "stride_d", "dilation_d_factor")
POOL = _unary("Pool2DOptions", *SLIDING, "filter_width", "filter_height")
LSTM = (FUSED, "cell_clip", "proj_clip", LEVELS)
RESIZE = ("align_corners", "half_pixel_centers")
STRIDED_SLICE = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask", "offset")
STABLEHLO_BINARY = (
    "ADD", "AND", "DIVIDE", "MAXIMUM", "MINIMUM", "MULTIPLY", "OR", "POWER", "REMAINDER", "SHIFT_LEFT",
    "SUBTRACT",
)  # fmt: skip
STABLEHLO_UNARY = (
    "ABS", "CBRT", "COSINE", "EXPONENTIAL", "FLOOR", "LOG", "LOGISTIC", "NEGATE", "RSQRT", "TANH",
)  # fmt: skip

CUSTOM = {
    "TFLite_Detection_PostProcess": Operator(
        (3, 3),
        (4, 4),
        custom={
            "max_detections": 0,
            "max_classes_per_detection": 0,
            "detections_per_class": 100,
            "use_regular_nms": False,
            "nms_score_threshold": 0.0,
            "nms_iou_threshold": 0.0,
            "num_classes": 0,
            **dict.fromkeys(("y_scale", "x_scale", "h_scale", "w_scale"), 0.0),
        },
    ),
}
"""Custom operators, by the custom code that the model gives them."""
OPERATORS = {
    # windows and matrices
    "CONV_2D": Operator((2, 3), table="Conv2DOptions", fields=(*DILATED, BIAS_TYPE)),
    "DEPTHWISE_CONV_2D": Operator(
        (2, 3), table="DepthwiseConv2DOptions", fields=(*DILATED, "depth_multiplier")
    ),
    "TRANSPOSE_CONV": Operator(
        (3, 4), table="TransposeConvOptions", fields=("padding", "stride_w", "stride_h", FUSED, BIAS_TYPE)
    ),
    "CONV_3D": Operator((2, 3), table="Conv3DOptions", fields=SPATIAL),
    "CONV_3D_TRANSPOSE": Operator((3, 4), table="Conv3DOptions", fields=SPATIAL),
    "AVERAGE_POOL_2D": POOL,
    "MAX_POOL_2D": POOL,
    "L2_POOL_2D": POOL,
    "FULLY_CONNECTED": Operator(
        (2, 3),
        table="FullyConnectedOptions",
        fields=(FUSED, "weights_format", "keep_num_dims", LEVELS, BIAS_TYPE),
    ),
    "BATCH_MATMUL": _binary("BatchMatMulOptions", "adj_x", "adj_y", LEVELS),
    # element-wise
    "ADD": _binary("AddOptions", FUSED, POWERS),
    "SUB": _binary("SubOptions", FUSED, POWERS),
    "MUL": _binary("MulOptions", FUSED),
    "DIV": _binary("DivOptions", FUSED),
    "MAXIMUM": _binary(),
    "MINIMUM": _binary(),
    "SQUARED_DIFFERENCE": _binary(),
    "RELU": _unary(),
    "RELU6": _unary(),
    "RELU_N1_TO_1": _unary(),
    "LOGISTIC": _unary(),
    "TANH": _unary(),
    "ABS": _unary(),
    "NEG": _unary(),
    "EXP": _unary(),
    "SQRT": _unary(),
    "RSQRT": _unary(),
    "LEAKY_RELU": _unary("LeakyReluOptions", "alpha"),
    "HARD_SWISH": _unary(),
    "PRELU": _binary(),
    "ELU": _unary(),
    "GELU": _unary("GeluOptions", "approximate"),
    "RELU_0_TO_1": _unary(),
    "FLOOR": _unary(),
    "CEIL": _unary(),
    "ROUND": _unary(),
    "SIGN": _unary(),
    "SIN": _unary(),
    "COS": _unary(),
    "LOG": _unary(),
    "SQUARE": _unary(),
    "POW": _binary(),
    "FLOOR_DIV": _binary(),
    "FLOOR_MOD": _binary(),
    "ATAN2": _binary(),
    "BITWISE_XOR": _binary(),
    "RIGHT_SHIFT": _binary(),
    "FAKE_QUANT": _unary("FakeQuantOptions", "min", "max", "num_bits", "narrow_range"),
    "ADD_N": Operator((1, MANY)),
    "ZEROS_LIKE": _unary(),
    "LOG_SOFTMAX": _unary(),
    "L2_NORMALIZATION": _unary("L2NormOptions", FUSED),
    "LOCAL_RESPONSE_NORMALIZATION": _unary(
        "LocalResponseNormalizationOptions", "radius", "bias", "alpha", "beta"
    ),
    # truths
    "EQUAL": _binary(),
    "NOT_EQUAL": _binary(),
    "LESS": _binary(),
    "LESS_EQUAL": _binary(),
    "GREATER": _binary(),
    "GREATER_EQUAL": _binary(),
    "LOGICAL_AND": _binary(),
    "LOGICAL_OR": _binary(),
    "LOGICAL_NOT": _unary(),
    "SELECT": Operator((3, 3)),
    "SELECT_V2": Operator((3, 3)),
    "SOFTMAX": _unary("SoftmaxOptions", "beta"),
    # views
    "RESHAPE": Operator((1, 2), table="ReshapeOptions", fields=("new_shape",)),
    "SQUEEZE": _unary("SqueezeOptions", "squeeze_dims"),
    "EXPAND_DIMS": _binary(),
    "TRANSPOSE": _binary(),
    "CONCATENATION": Operator((1, MANY), table="ConcatenationOptions", fields=("axis", FUSED)),
    "TILE": _binary(),
    "BROADCAST_TO": _binary(),
    "REVERSE_V2": _binary(),
    "REVERSE_SEQUENCE": _binary("ReverseSequenceOptions", "seq_dim", "batch_dim"),
    "PAD": _binary(),
    "PADV2": Operator((3, 3)),
    "MIRROR_PAD": _binary("MirrorPadOptions", "mode"),
    "DILATE": Operator((3, 3)),
    "MATRIX_DIAG": _unary(),
    "MATRIX_SET_DIAG": _binary(),
    "SPACE_TO_DEPTH": _unary("SpaceToDepthOptions", "block_size"),
    "DEPTH_TO_SPACE": _unary("DepthToSpaceOptions", "block_size"),
    "SPACE_TO_BATCH_ND": Operator((3, 3)),
    "BATCH_TO_SPACE_ND": Operator((3, 3)),
    "SLICE": Operator((3, 3)),
    "STRIDED_SLICE": Operator((4, 4), table="StridedSliceOptions", fields=STRIDED_SLICE),
    "SPLIT": Operator((2, 2), (1, MANY), "SplitOptions", ("num_splits",)),
    "SPLIT_V": Operator((3, 3), (1, MANY), "SplitVOptions", ("num_splits",)),
    "UNPACK": Operator((1, 1), (1, MANY), "UnpackOptions", ("num", "axis")),
    "DYNAMIC_UPDATE_SLICE": Operator((3, 3)),
    "PACK": Operator((1, MANY), table="PackOptions", fields=("axis", "values_count")),
    # positions
    "GATHER": _binary("GatherOptions", "axis", "batch_dims"),
    "GATHER_ND": _binary(),
    "SCATTER_ND": Operator((3, 3)),
    "SPARSE_TO_DENSE": Operator((4, 4)),
    "ONE_HOT": Operator((4, 4), table="OneHotOptions", fields=("axis",)),
    "EMBEDDING_LOOKUP": _binary(),
    "EMBEDDING_LOOKUP_SPARSE": Operator((5, 5), table="EmbeddingLookupSparseOptions", fields=("combiner",)),
    "TOPK_V2": Operator((2, 2), (2, 2)),
    "HASHTABLE_LOOKUP": Operator((3, 3), (2, 2)),
    "UNIQUE": Operator((1, 1), (2, 2), "UniqueOptions", hints=("idx_out_type",)),
    "WHERE": _unary(),
    "BUCKETIZE": _unary("BucketizeOptions", "boundaries"),
    "NON_MAX_SUPPRESSION_V4": Operator((5, 5), (2, 2)),
    "NON_MAX_SUPPRESSION_V5": Operator((6, 6), (3, 3)),
    # segments
    "SEGMENT_SUM": _binary(),
    "UNSORTED_SEGMENT_SUM": Operator((3, 3)),
    "UNSORTED_SEGMENT_PROD": Operator((3, 3)),
    "UNSORTED_SEGMENT_MAX": Operator((3, 3)),
    "UNSORTED_SEGMENT_MIN": Operator((3, 3)),
    # random numbers
    "RANDOM_UNIFORM": _unary("RandomOptions", "seed", "seed2"),
    "RANDOM_STANDARD_NORMAL": _unary("RandomOptions", "seed", "seed2"),
    "MULTINOMIAL": _binary("RandomOptions", "seed", "seed2"),
    "RESIZE_BILINEAR": _binary("ResizeBilinearOptions", *RESIZE),
    "RESIZE_NEAREST_NEIGHBOR": _binary("ResizeNearestNeighborOptions", *RESIZE),
    # shapes and sequences of numbers
    "SHAPE": Operator((1, 1), table="ShapeOptions", hints=("out_type",)),
    "RANK": _unary(),
    "FILL": _binary(),
    "RANGE": Operator((3, 3)),
    "BROADCAST_ARGS": _binary(),
    # reductions
    "MEAN": _binary("ReducerOptions", "keep_dims"),
    "SUM": _binary("ReducerOptions", "keep_dims"),
    **dict.fromkeys(
        ("REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"),
        _binary("ReducerOptions", "keep_dims"),
    ),
    "ARG_MAX": Operator((2, 2), table="ArgMaxOptions", hints=("output_type",)),
    "ARG_MIN": Operator((2, 2), table="ArgMinOptions", hints=("output_type",)),
    "CUMSUM": _binary("CumsumOptions", "exclusive", "reverse"),
    "REDUCE_WINDOW": Operator((5, 5), table="ReduceWindowOptions", fields=("reduce_function",)),
    # control flow and variables; the linker of the importer makes graphs and states of them
    "IF": Operator((1, MANY), (0, MANY), "IfOptions", ("then_subgraph_index", "else_subgraph_index")),
    "WHILE": Operator((0, MANY), (0, MANY), "WhileOptions", ("cond_subgraph_index", "body_subgraph_index")),
    "CALL_ONCE": Operator((0, 0), (0, 0), "CallOnceOptions", ("init_subgraph_index",)),
    "STABLEHLO_WHILE": Operator(
        (0, MANY), (0, MANY), "StablehloWhileOptions", ("cond_subgraph_index", "body_subgraph_index")
    ),
    "STABLEHLO_COMPOSITE": Operator(
        (0, MANY),
        (0, MANY),
        "StableHLOCompositeOptions",
        ("decomposition_subgraph_index",),
        ("name", "composite_attributes"),
    ),
    "STABLEHLO_CASE": Operator((1, MANY), (0, MANY), "StablehloCaseOptions", ("branch_subgraph_indices",)),
    "CALL": Operator((0, MANY), (0, MANY), "CallOptions", ("subgraph",)),
    "VAR_HANDLE": Operator((0, 0), table="VarHandleOptions", fields=("container", "shared_name")),
    "READ_VARIABLE": _unary(),
    "ASSIGN_VARIABLE": Operator((2, 2), (0, 0)),
    # recurrent layers
    "SVDF": Operator((3, 5), table="SVDFOptions", fields=("rank", FUSED, LEVELS), states=(4,)),
    "RNN": Operator((5, 5), table="RNNOptions", fields=(FUSED, LEVELS), states=(4,)),
    "UNIDIRECTIONAL_SEQUENCE_RNN": Operator(
        (5, 5), table="SequenceRNNOptions", fields=(FUSED, LEVELS, "time_major"), states=(4,)
    ),
    "BIDIRECTIONAL_SEQUENCE_RNN": Operator(
        (9, 12),
        (1, 2),
        "BidirectionalSequenceRNNOptions",
        (FUSED, LEVELS, "time_major", "merge_outputs"),
        states=(4, 8),
    ),
    "LSTM": Operator(
        (1, 24),
        (1, 4),
        table="LSTMOptions",
        fields=(*LSTM, "kernel_type"),
        states={"FULL": (18, 19), "BASIC": (1, 4)},
        intermediates=True,
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Operator(
        (1, 24),
        table="UnidirectionalSequenceLSTMOptions",
        fields=(*LSTM, "time_major"),
        states=(18, 19),
        intermediates=True,
    ),
    "BIDIRECTIONAL_SEQUENCE_LSTM": Operator(
        (1, 48),
        (1, 2),
        table="BidirectionalSequenceLSTMOptions",
        fields=(*LSTM, "time_major", "merge_outputs"),
        states=(35, 36, 37, 38),
    ),
    # StableHLO that converters leave as it is
    **dict.fromkeys(map("STABLEHLO_{}".format, STABLEHLO_BINARY), _binary()),
    **dict.fromkeys(map("STABLEHLO_{}".format, STABLEHLO_UNARY), _unary()),
    "STABLEHLO_COMPARE": _binary("StablehloCompareOptions", "comparison_direction", "compare_type"),
    "STABLEHLO_CONVERT": _unary(),
    "STABLEHLO_SELECT": Operator((3, 3)),
    "STABLEHLO_CLAMP": Operator((3, 3)),
    "STABLEHLO_RESHAPE": _unary(),
    "STABLEHLO_TRANSPOSE": _unary("StablehloTransposeOptions", "permutation"),
    "STABLEHLO_BROADCAST_IN_DIM": _unary("StablehloBroadcastInDimOptions", "broadcast_dimensions"),
    "STABLEHLO_CONCATENATE": Operator((1, MANY), table="StablehloConcatenateOptions", fields=("dimension",)),
    "STABLEHLO_SLICE": _unary("StablehloSliceOptions", "start_indices", "limit_indices", "strides"),
    "STABLEHLO_PAD": _binary(
        "StablehloPadOptions", "edge_padding_low", "edge_padding_high", "interior_padding"
    ),
    "STABLEHLO_IOTA": Operator((0, 0), table="StablehloIotaOptions", fields=("iota_dimension",)),
    "STABLEHLO_RNG_BIT_GENERATOR": Operator(
        (1, 1), (2, 2), table="StablehloRngBitGeneratorOptions", fields=("algorithm",)
    ),
    "STABLEHLO_DYNAMIC_SLICE": Operator(
        (2, 7), table="StablehloDynamicSliceOptions", fields=("slice_sizes",)
    ),
    "STABLEHLO_DYNAMIC_UPDATE_SLICE": Operator((3, 8)),
    "STABLEHLO_GATHER": _binary(
        "StablehloGatherOptions",
        *("offset_dims", "collapsed_slice_dims", "start_index_map", "index_vector_dim", "slice_sizes"),
    ),
    "STABLEHLO_SCATTER": Operator(
        (3, 3),
        table="StablehloScatterOptions",
        fields=(
            "update_window_dims",
            "inserted_window_dims",
            "scatter_dims_to_operand_dims",
            "index_vector_dim",
            "update_computation_subgraph_index",
        ),
    ),
    "STABLEHLO_DOT_GENERAL": _binary(
        "StablehloDotGeneralOptions",
        *("lhs_batching_dimensions", "rhs_batching_dimensions"),
        *("lhs_contracting_dimensions", "rhs_contracting_dimensions"),
    ),
    "STABLEHLO_CONVOLUTION": _binary(
        "StablehloConvolutionOptions",
        *("window_strides", "padding", "lhs_dilation", "rhs_dilation", "window_reversal"),
        *("input_batch_dimension", "input_feature_dimension", "input_spatial_dimensions"),
        *("kernel_input_feature_dimension", "kernel_output_feature_dimension", "kernel_spatial_dimensions"),
        *("output_batch_dimension", "output_feature_dimension", "output_spatial_dimensions"),
        *("feature_group_count", "batch_group_count"),
    ),
    "STABLEHLO_SORT": Operator(
        (1, MANY), (1, MANY), "StablehloSortOptions", ("dimension", "comparator_subgraph_index")
    ),
    "STABLEHLO_REDUCE": _binary("StablehloReduceOptions", "dimensions", "body_subgraph_index"),
    "STABLEHLO_REDUCE_WINDOW": _binary(
        "StablehloReduceWindowOptions",
        *("window_dimensions", "window_strides", "base_dilations", "window_dilations", "padding"),
        "body_subgraph_index",
    ),
    # types
    "DENSIFY": _unary(),
    "QUANTIZE": _unary(),
    "DEQUANTIZE": _unary(),
    "CAST": _unary(),
    "BITCAST": _unary(),
    # complex numbers
    "RFFT2D": _binary(),
    "REAL": _unary(),
    "IMAG": _unary(),
    "COMPLEX_ABS": _unary(),
    **CUSTOM,
}
LINKED = frozenset(
    {
        "IF", "WHILE", "CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE",
        "CALL", "STABLEHLO_CASE", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE",
    }
)  # fmt: skip
"""Operators that the importer makes control flow and states of, or their sub-graphs: they have no rules."""
