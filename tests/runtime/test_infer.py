"""Shape rules: windows, masks and axes at their corners, new input shapes, refusals by name."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.errors import ModelError, UnsupportedError
from runtime.graph import ABSENT, DType, Graph, Node, Value
from runtime.infer import infer
from runtime.shapes.conv import window

POOL = {"filter_height": 2, "filter_width": 2, "stride_h": 2, "stride_w": 2, "padding": "VALID"}
CONV = {"stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1, "padding": "SAME"}
STRIDED = {
    "begin_mask": 0,
    "end_mask": 0,
    "ellipsis_mask": 0,
    "new_axis_mask": 0,
    "shrink_axis_mask": 0,
    "offset": False,
}

RESIZE = {"align_corners": True, "half_pixel_centers": True}
DOTS = {**STRIDED, "ellipsis_mask": 2}


def graph_of(op, operands, attrs, outputs=1):
    """Tuples are shapes of float inputs, lists are int32 constants, None is an absent input."""
    values, ids = [], []
    for operand in operands:
        if operand is None:
            ids.append(ABSENT)
            continue
        ids.append(len(values))
        if isinstance(operand, tuple):
            values.append(Value("x", operand, DType.F32))
        else:
            data = np.array(operand, np.int32)
            values.append(Value("c", data.shape, DType.I32, data=data))
    first = len(values)
    values += [Value("y", (), DType.F32)] * outputs
    node = Node(op, tuple(ids), tuple(range(first, first + outputs)), attrs, f"{op}#0")
    inputs = tuple(i for i in ids if i != ABSENT and values[i].data is None)
    return Graph(tuple(values), (node,), inputs, node.outputs)


def shapes_of(op, operands, attrs, outputs=1):
    graph = infer(graph_of(op, operands, attrs, outputs))
    return [graph.values[i].shape for i in graph.outputs]


@pytest.mark.parametrize(
    ("padding", "size", "kernel", "stride", "dilation", "expected"),
    [
        ("SAME", 7, 3, 1, 1, (7, 1)),
        ("SAME", 7, 3, 2, 1, (4, 1)),
        ("SAME", 8, 3, 2, 1, (4, 0)),
        ("SAME", 4, 1, 3, 1, (2, 0)),
        ("SAME", 7, 3, 1, 2, (7, 2)),
        ("VALID", 7, 3, 2, 1, (3, 0)),
        ("VALID", 7, 3, 1, 3, (1, 0)),
        ("VALID", 7, 8, 1, 1, (0, 0)),
    ],
)
def test_window(padding, size, kernel, stride, dilation, expected):
    assert window(padding, size, kernel, stride, dilation) == expected


@pytest.mark.parametrize(
    ("op", "operands", "attrs", "expected"),
    [
        ("RESHAPE", ((2, 3), [3, -1]), {"new_shape": ()}, (3, 2)),
        ("RESHAPE", ((2, 3), None), {"new_shape": (-1,)}, (6,)),
        ("RESHAPE", ((1,), None), {"new_shape": (0,)}, ()),
        ("SQUEEZE", ((1, 3, 1),), {"squeeze_dims": (-1,)}, (1, 3)),
        ("EXPAND_DIMS", ((2, 3), [-1]), {}, (2, 3, 1)),
        ("STRIDED_SLICE", ((5,), [-2], [9], [1]), STRIDED, (2,)),
        ("STRIDED_SLICE", ((5,), [4], [-9], [-2]), STRIDED, (3,)),
        ("STRIDED_SLICE", ((5, 4), [3], [0], [1]), {**STRIDED, "shrink_axis_mask": 1}, (4,)),
        ("STRIDED_SLICE", ((5,), [1], [2], [1]), {**STRIDED, "offset": True}, (2,)),
        ("STRIDED_SLICE", ((5,), [-1], [1], [1]), {**STRIDED, "offset": True}, (1,)),
        ("STRIDED_SLICE", ((5, 4, 3), [1, 0, 0], [3, 0, 2], [1, 1, 1]), DOTS, (2, 4, 2)),
        ("STRIDED_SLICE", ((5, 4), [0, 1], [0, 3], [1, 1]), {**STRIDED, "new_axis_mask": 1}, (1, 2, 4)),
        ("MEAN", ((2, 3, 4), [-1, 0, 2]), {"keep_dims": False}, (3,)),
        ("ADD", ((2, 1, 3), (4, 1)), {}, (2, 4, 3)),
        ("BATCH_MATMUL", ((5, 1, 2, 3), (4, 3, 6)), {"adj_x": False, "adj_y": False}, (5, 4, 2, 6)),
        ("GATHER", ((5, 6), [[0, 1], [2, 3]]), {"axis": 0, "batch_dims": 0}, (2, 2, 6)),
    ],
)
def test_shape(op, operands, attrs, expected):
    assert shapes_of(op, operands, attrs) == [expected]


def test_split_gives_each_output_its_part():
    assert shapes_of("SPLIT", ([1], (2, 6)), {"num_splits": 3}, outputs=3) == [(2, 2)] * 3


@pytest.mark.parametrize(
    ("sizes", "count", "message"),
    [
        ([2, 2], 2, r"does not split into \(2, 2\)"),
        ([-1, -1], 2, "does not split"),
        ([2, 3], 3, "2 sizes for 2"),
    ],
)
def test_sizes_that_do_not_split_an_axis_are_refused(sizes, count, message):
    with pytest.raises(ModelError, match=message):
        shapes_of("SPLIT_V", ((5,), sizes, [0]), {"num_splits": count}, outputs=2)


@pytest.mark.parametrize(
    ("op", "operands", "attrs", "error", "message"),
    [
        ("RESHAPE", ((2, 3), [4, -1]), {"new_shape": ()}, ModelError, r"do not fill \(4, 1\)"),
        ("RESHAPE", ((2, 3), [-1, -1]), {"new_shape": ()}, ModelError, "at most one -1"),
        ("RESHAPE", ((2, 3), (2,)), {"new_shape": ()}, UnsupportedError, "must be a constant"),
        ("SQUEEZE", ((2, 3),), {"squeeze_dims": (0,)}, ModelError, "not all of size 1"),
        ("TRANSPOSE", ((2, 3), [0, 0]), {}, ModelError, "permutation"),
        ("TRANSPOSE", ((2, 3), [0, 2]), {}, ModelError, r"axis 2 is outside -2\.\.1"),
        ("SLICE", ((2, 3), [0, 1], [2, 3]), {}, ModelError, "leave the input"),
        ("PAD", ((2,), [[-1, 0]]), {}, ModelError, "two numbers >= 0"),
        ("STRIDED_SLICE", ((5,), [3], [1], [1]), STRIDED, ModelError, r"shape \(0,\)"),
        ("STRIDED_SLICE", ((5,), [3], [1], [0]), STRIDED, ModelError, "do not fit"),
        ("STRIDED_SLICE", ((5,), [0, 0], [1, 1], [1, 1]), STRIDED, ModelError, "2 axes and 0 ellipses"),
        ("STRIDED_SLICE", ((5,), [0, 0], [1, 1], [1, 1]), {**DOTS, "ellipsis_mask": 3}, ModelError, "2 ell"),
        ("STRIDED_SLICE", ((5,), (1,), [1], [1]), STRIDED, UnsupportedError, "depends on run-time data"),
        ("SLICE", ((2, 3), (2,), [2, -1]), {}, ModelError, "one number for each axis"),
        ("SLICE", ((2, 3), (2,), [2, 4]), {}, ModelError, "leave the input"),
        ("UNPACK", ((3, 2),), {"num": 3, "axis": 0}, ModelError, "does not give 1 outputs"),
        ("DYNAMIC_UPDATE_SLICE", ((3, 2), (1, 3), (2,)), {}, ModelError, r"does not fit into \(3, 2\)"),
        ("DYNAMIC_UPDATE_SLICE", ((3, 2), (1, 2), (1,)), {}, ModelError, "1 start indices"),
        ("TILE", ((2, 3), [2]), {}, ModelError, "one number >= 1 for each axis"),
        ("TILE", ((2, 3), [2, 0]), {}, ModelError, "one number >= 1 for each axis"),
        ("BROADCAST_TO", ((2, 3), [2, 2]), {}, ModelError, "does not broadcast"),
        ("BROADCAST_TO", ((2, 3), [3]), {}, ModelError, "does not broadcast"),
        ("REVERSE_V2", ((2, 3), [2]), {}, ModelError, r"axis 2 is outside"),
        ("REVERSE_SEQUENCE", ((2, 3), (3,)), {"seq_dim": 1, "batch_dim": 0}, ModelError, r"lengths of"),
        ("REVERSE_SEQUENCE", ((2, 3), (2,)), {"seq_dim": 0, "batch_dim": -2}, ModelError, "axes 0 and 0"),
        ("MIRROR_PAD", ((3,), [3, 0]), {"mode": "REFLECT"}, ModelError, "wider than what REFLECT mirrors"),
        ("MIRROR_PAD", ((3,), [0, 4]), {"mode": "SYMMETRIC"}, ModelError, "wider"),
        ("DILATE", ((3,), [0], (1,)), {}, ModelError, "one number >= 1"),
        ("MATRIX_DIAG", ((),), {}, ModelError, "no diagonal"),
        ("MATRIX_SET_DIAG", ((2, 3), (3,)), {}, ModelError, r"\(3,\) does not fit"),
        ("SPACE_TO_DEPTH", ((1, 4, 3, 1),), {"block_size": 2}, ModelError, "blocks of 2"),
        ("SPACE_TO_DEPTH", ((1, 4, 3, 1),), {"block_size": 0}, ModelError, "block_size = 0"),
        ("DEPTH_TO_SPACE", ((1, 2, 2, 6),), {"block_size": 2}, ModelError, "6 channels"),
        ("SPACE_TO_BATCH_ND", ((1, 3, 4), [2], [0, 0]), {}, ModelError, "blocks of"),
        ("SPACE_TO_BATCH_ND", ((1, 4, 4), [2], [0]), {}, ModelError, "two numbers >= 0"),
        ("BATCH_TO_SPACE_ND", ((3, 4, 4), [2], [0, 0]), {}, ModelError, "batch of 3"),
        ("BATCH_TO_SPACE_ND", ((2, 1, 4), [2], [1, 1]), {}, ModelError, "leave nothing"),
        ("FILL", ([2, 0], (1,)), {}, ModelError, "sizes >= 1"),
        ("FILL", ([2], (2,)), {}, ModelError, "2 elements to fill with"),
        ("RANGE", ([0], [5], [0]), {}, ModelError, "a delta that leads"),
        ("RANGE", ([0], [5], [-1]), {}, ModelError, "a delta that leads"),
        ("RANGE", ([0], [2**30], [1]), {}, ModelError, "at most"),
        ("RANGE", ([0], (1,), [1]), {}, UnsupportedError, "must be a constant"),
        ("BROADCAST_ARGS", ([2, 3], [2]), {}, ModelError, "do not broadcast together"),
        ("REDUCE_PROD", ((2, 3), [2]), {"keep_dims": True}, ModelError, "axis 2 is outside"),
        ("ARG_MIN", ((2, 3), [0, 1]), {}, ModelError, "2 axes, expected 1"),
        ("CUMSUM", ((2, 3), [0, 1]), {"exclusive": 0, "reverse": 0}, ModelError, "2 axes, expected 1"),
        ("RESIZE_BILINEAR", ((1, 2, 2, 1), [3, 0]), RESIZE, ModelError, "a height and a width of 1"),
        ("RESIZE_BILINEAR", ((1, 2, 2, 1), [3, 3]), RESIZE, ModelError, "at most one"),
        ("RESIZE_NEAREST_NEIGHBOR", ((2, 2, 1), [3, 3]), RESIZE, ModelError, "expected rank 4"),
        ("SPLIT", ([0], (5,)), {"num_splits": 2}, ModelError, "does not split into 2"),
        ("ADD", ((2, 3), (4,)), {}, ModelError, "do not broadcast"),
        ("CONCATENATION", ((2, 3), (3, 3)), {"axis": 1}, ModelError, "differ outside axis 1"),
        ("PACK", ((2,), (3,)), {"axis": 0, "values_count": 2}, ModelError, "expected all the same"),
        ("MAX_POOL_2D", ((1, 1, 5, 2),), POOL, ModelError, "does not fit"),
        ("MAX_POOL_2D", ((5, 2),), POOL, ModelError, "expected rank 4"),
        ("MAX_POOL_2D", ((1, 4, 4, 2),), {**POOL, "stride_w": 0}, ModelError, "stride_w = 0"),
        ("CONV_2D", ((1, 4, 4, 3), (5, 1, 1, 2), None), CONV, ModelError, "do not fit an input of 3"),
        ("CONV_2D", ((1, 4, 4, 2), (5, 1, 1, 2), (4,)), CONV, ModelError, r"\(4,\), expected \(5,\)"),
        ("CONV_2D", ((1, 4, 4, 2), (5, 1, 1, 0), None), CONV, ModelError, "input 1 .* expected sizes >= 1"),
        ("FULLY_CONNECTED", ((5,), (4, 0), None), {"keep_num_dims": False}, ModelError, "sizes >= 1"),
        ("DEPTHWISE_CONV_2D", ((1, 4, 4, 2), (1, 1, 1, 3), None), CONV, ModelError, "do not fit"),
        ("FULLY_CONNECTED", ((5,), (4, 3), None), {"keep_num_dims": False}, ModelError, "rows of 3"),
        ("GATHER", ((5, 6), [0]), {"axis": 2, "batch_dims": 0}, ModelError, "axis 2 is outside"),
        ("GATHER", ((5, 6), [[0]]), {"axis": 1, "batch_dims": 1}, ModelError, "1 batch dimensions"),
        ("GATHER", ((5, 6), [0]), {"axis": 0, "batch_dims": 1}, ModelError, "1 batch dimensions"),
        ("GATHER_ND", ((5, 6), [[0, 0, 0]]), {}, ModelError, "at most 2 numbers"),
        ("SCATTER_ND", ([[1]], (2,), [5]), {}, ModelError, r"expected \(1,\)"),
        ("SCATTER_ND", ([[1]], (1,), [-5]), {}, ModelError, "expected sizes >= 1"),
        ("SPARSE_TO_DENSE", ([[0, 1, 2]], [4, 4], (1,), (1,)), {}, ModelError, "one number for each axis"),
        ("SPARSE_TO_DENSE", ([1, 2], [4], (3,), (1,)), {}, ModelError, "one for each of 2"),
        ("ONE_HOT", ([1], [0], (1,), (1,)), {"axis": 0}, ModelError, "expected sizes >= 1"),
        ("ONE_HOT", ([1], [3], (1,), (1,)), {"axis": 2}, ModelError, "axis 2 is outside"),
        ("TOPK_V2", ((2, 3), [4]), {}, ModelError, "the top 4"),
        ("HASHTABLE_LOOKUP", ([1], [1, 2], (3, 4)), {}, ModelError, "2 keys"),
        ("BUCKETIZE", ((3,),), {"boundaries": (2.0, 1.0)}, ModelError, "ascending"),
        ("SEGMENT_SUM", ((3, 2), [1, 0, 1]), {}, ModelError, "ascending"),
        ("SEGMENT_SUM", ((3, 2), [0, 1]), {}, ModelError, "segment ids of shape"),
        ("SEGMENT_SUM", ((1,), [2**31 - 1]), {}, ModelError, "at most"),
        ("UNSORTED_SEGMENT_SUM", ((3, 2), (2,), [4]), {}, ModelError, "expected its first axes"),
        ("UNSORTED_SEGMENT_SUM", ((3, 2), (3,), (1,)), {}, UnsupportedError, "must be a constant"),
        ("NON_MAX_SUPPRESSION_V4", ((5, 4), (4,), [3], (1,), (1,)), {}, ModelError, "for 4 scores"),
        ("NON_MAX_SUPPRESSION_V4", ((4, 4), (4,), [3], (1,), (1,)), {}, ModelError, "expected a scalar"),
        ("NON_MAX_SUPPRESSION_V4", ((4, 4), (4,), [-1], (), ()), {}, ModelError, "0 or more"),
        ("NON_MAX_SUPPRESSION_V4", ((4, 4), (4,), [4097], (), ()), {}, UnsupportedError, "1..4096"),
        ("NON_MAX_SUPPRESSION_V4", ((4, 4), (4,), (1,), (), ()), {}, UnsupportedError, "must be a constant"),
        ("RANDOM_UNIFORM", ([2**20, 2**20],), {}, ModelError, "at most"),
        ("MULTINOMIAL", ((3,), [4]), {}, ModelError, "rank 2"),
        ("BATCH_MATMUL", ((2, 3), (2, 3)), {"adj_x": False, "adj_y": False}, ModelError, "inner sizes"),
        ("EXPAND_DIMS", ((1,) * 6, [0]), {}, UnsupportedError, "rank 7"),
        ("PAD", ((2,), [[0, 2**28]]), {}, ModelError, "at most"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(op, operands, attrs, error, message):
    with pytest.raises(error, match=rf"{op}#0.*{message}"):
        shapes_of(op, operands, attrs)


def test_a_new_input_shape_flows_through():
    graph = graph_of("MAX_POOL_2D", ((1, 4, 6, 2),), POOL)
    bigger = infer(graph, {0: (3, 8, 8, 2)})
    assert (bigger.values[0].shape, bigger.values[1].shape) == ((3, 8, 8, 2), (3, 4, 4, 2))
    with pytest.raises(ModelError, match="value 1 is not an input of the graph"):
        infer(graph, {1: (2,)})
    with pytest.raises(ModelError, match="expected sizes >= 1"):
        infer(graph, {0: (0, 8, 8, 2)})
