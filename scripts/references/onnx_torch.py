"""An ONNX graph as a torch.nn.Module, node by node.

Float graphs and Q/DQ graphs with float weights, which train: weights and biases
become Parameters, a QuantizeLinear/DequantizeLinear pair becomes fake
quantisation with the straight-through estimator. It is what this program's
training is compared with, so it is written from ONNX's operator definitions and
knows nothing of this program.

    net = OnnxModule("model.onnx", outputs=["a", "b"])
    a, b = net(images)

    onnx_torch.py MODEL.onnx OUT.npz    runs random input through the model, for
                                        check_onnx_torch.py
"""

import argparse
import math

import numpy
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper

TINY = torch.finfo(torch.float32).tiny


class StraightThrough(torch.autograd.Function):
    """scale * clamp(round(x / scale), low, high); the gradient passes where the
    rounded value lies in the range. Rounds half to even; scale is no variable."""

    @staticmethod
    def forward(ctx, x, scale, low, high):
        q = torch.round(x / scale)
        ctx.save_for_backward((q >= low) & (q <= high))
        return q.clamp(low, high) * scale

    @staticmethod
    def backward(ctx, gradient):
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None, None


def absmax_scale(w, axis):
    """absmax/127 along an axis, shaped to broadcast; the smallest normal number for zeros."""
    others = [d for d in range(w.dim()) if d != axis]
    return (w.detach().abs().amax(others, keepdim=True) / 127).clamp(min=TINY)


class OnnxModule(torch.nn.Module):
    """The part of an ONNX graph that the tensors `outputs` (default: the graph's) need.

    native: fake-quantise with torch.fake_quantize_*, which is faster than
        StraightThrough but divides by the scale as a product with its inverse.
    fixed_weight_scales: the scales in the file; else absmax/127 of each step.
    """

    def __init__(self, path, outputs=None, native=False, fixed_weight_scales=False):
        super().__init__()
        model = onnx.load(path)
        self.opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.native, self.fixed_weight_scales = native, fixed_weight_scales
        self.outputs = list(outputs or [o.name for o in model.graph.output])
        constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.input = next(i.name for i in model.graph.input if i.name not in constants)
        nodes = []
        for node in model.graph.node:
            if node.op_type == "Constant":
                constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            else:
                nodes.append(Node(node, self.opset))
        self.nodes = fuse(cut(nodes, self.outputs))
        self.places = {}  # of parameters: ONNX name -> attribute
        # Parameters of quantised layers are read by the QuantizeLinear before them.
        source = {n.outputs[0]: n.inputs[0] for n in self.nodes if n.op in ("QuantizeLinear", "DequantizeLinear")}
        trained = set()
        for n in self.nodes:
            for name in n.weights():
                while name in source:
                    name = source[name]
                trained.add(name)
        read = {name for n in self.nodes for name in n.inputs if name}
        for name in sorted(read & constants.keys()):
            value = constants[name]
            if value.dtype == numpy.float16:
                value = value.astype(numpy.float32)
            tensor = torch.from_numpy(numpy.array(value))
            place = "t_" + name.replace(".", "_").replace("/", "_").replace(":", "_")
            while hasattr(self, place):
                place += "_"
            self.places[name] = place
            if name in trained:
                self.register_parameter(place, torch.nn.Parameter(tensor))
            else:
                self.register_buffer(place, tensor)
        self.trained = sorted(trained & constants.keys())
        for n in self.nodes:
            if n.op == "QuantizeLinear":
                zero = constants[n.inputs[2]]
                if zero.dtype != numpy.int8 or zero.any():
                    raise NotImplementedError(f"node {n.name!r}: a zero point that is not an int8 zero")
            n.lists = [constants[x].flatten().tolist() if x in constants and constants[x].size <= 16 else None for x in n.inputs]
        last = {}
        for i, n in enumerate(self.nodes):
            last.update({name: i for name in n.inputs})
        self.dead = [[x for x, at in last.items() if at == i and x not in self.outputs and x not in self.places]
                     for i in range(len(self.nodes))]

    def dtype(self):
        return next((p.dtype for p in self.parameters()), torch.float32)

    def parameter(self, name):
        """A weight or bias by its name in the ONNX file."""
        return getattr(self, self.places[name])

    def forward(self, x):
        values = {name: getattr(self, place) for name, place in self.places.items()}
        values[self.input] = x
        for node, dead in zip(self.nodes, self.dead):
            try:
                results = OPERATORS[node.op](self, node, *[values[name] if name else None for name in node.inputs])
            except Exception as e:
                raise RuntimeError(f"node {node.name!r} ({node.op}): {e}") from e
            if not isinstance(results, (list, tuple)):
                results = [results]
            values.update(zip(node.outputs, results))
            for name in dead:
                values.pop(name, None)
        return [values[name] for name in self.outputs]


class Node:
    def __init__(self, proto, opset):
        self.name, self.op, self.opset = proto.name, proto.op_type, opset
        if self.op not in OPERATORS:
            raise NotImplementedError(f"node {proto.name!r}: operator {self.op}")
        self.inputs, self.outputs = list(proto.input), list(proto.output)
        self.lists = [None] * len(self.inputs)  # the values of small constants
        self.attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        if self.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise NotImplementedError(f"node {proto.name!r}: auto_pad")

    def get(self, name, default=None):
        """An attribute."""
        return self.attributes.get(name, default)

    def weights(self):
        """The inputs that train when they are constants."""
        if self.op in ("Conv", "ConvTranspose", "Gemm", "BatchNormalization"):
            return self.inputs[1:3]
        if self.op == "MatMul":
            return self.inputs
        return []


def cut(nodes, outputs):
    """The nodes that the outputs need, in their order."""
    needed, kept = set(outputs), []
    for n in reversed(nodes):
        if needed & set(n.outputs):
            needed |= set(n.inputs)
            kept.append(n)
    return kept[::-1]


def heads_of(path):
    """The outputs of the last convolutions before each output of a float graph."""
    graph = onnx.load(path, load_external_data=False).graph
    producer = {o: n for n in graph.node for o in n.output}
    heads, seen, todo = set(), set(), [o.name for o in graph.output]
    while todo:
        node = producer.get(todo.pop())
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.op_type == "Conv":
            heads.add(node.output[0])
        else:
            todo += node.input
    return [n.output[0] for n in graph.node if n.output and n.output[0] in heads]


def fuse(nodes):
    """x*Sigmoid(x) and x*HardSigmoid(x) as PyTorch's own silu and hardswish, which
    keep one tensor less for the backward pass."""
    readers = {}
    for n in nodes:
        for name in n.inputs:
            readers.setdefault(name, []).append(n)
    gone = set()
    for n in nodes:
        swish = n.op == "HardSigmoid" and abs(n.get("alpha", 0.2) * 6 - 1) < 1e-6 and n.get("beta", 0.5) == 0.5
        if n.op != "Sigmoid" and not swish:
            continue
        after = readers.get(n.outputs[0], [])
        if len(after) == 1 and after[0].op == "Mul" and n.inputs[0] in after[0].inputs:
            after[0].op, after[0].inputs = "HardSwish" if swish else "Silu", [n.inputs[0]]
            gone.add(id(n))
    return [n for n in nodes if id(n) not in gone]


def numbers(node, inputs, i, attribute=None):
    """Input i, or the attribute that older opsets have instead, as a list; None if absent."""
    value = node.get(attribute)
    if value is not None:
        return list(value) if hasattr(value, "__len__") else [value]
    if i >= len(inputs) or inputs[i] is None:
        return None
    value = node.lists[i] if node.lists[i] is not None else inputs[i].flatten().tolist()
    return value or None


def padded(x, pads, value):
    """ONNX's pads (all begins, all ends) of the last axes."""
    n = len(pads) // 2
    return F.pad(x, [p for k in reversed(range(n)) for p in (pads[k], pads[n + k])], value=value)


def window(node, kernel):
    """stride, dilation, pads of a window, and whether begins and ends are the same."""
    n = len(kernel)
    pads = node.get("pads") or [0] * 2 * n
    return node.get("strides") or [1] * n, node.get("dilations") or [1] * n, pads, list(pads[:n]) == list(pads[n:])


def conv(net, node, x, w, b=None):
    stride, dilation, pads, even = window(node, w.shape[2:])
    if not even:
        x, pads = padded(x, pads, 0), [0] * len(pads)
    n = w.dim() - 2
    return (F.conv1d, F.conv2d, F.conv3d)[n - 1](x, w, b, stride, pads[:n], dilation, node.get("group", 1))


def conv_transpose(net, node, x, w, b=None):
    stride, dilation, pads, even = window(node, w.shape[2:])
    if not even or node.get("output_shape"):
        raise NotImplementedError("asymmetric pads, output_shape")
    n = w.dim() - 2
    return (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1](
        x, w, b, stride, pads[:n], node.get("output_padding") or [0] * n, node.get("group", 1), dilation)


def max_pool(net, node, x):
    kernel = node.get("kernel_shape")
    stride, dilation, pads, even = window(node, kernel)
    if not even or any(2 * p > k for p, k in zip(pads, kernel)):
        x, pads = padded(x, pads, -math.inf), [0] * len(pads)
    n = len(kernel)
    return (F.max_pool1d, F.max_pool2d, F.max_pool3d)[n - 1](x, kernel, stride, pads[:n], dilation, bool(node.get("ceil_mode", 0)))


def average_pool(net, node, x):
    kernel = node.get("kernel_shape")
    stride, dilation, pads, even = window(node, kernel)
    if not even or any(d != 1 for d in dilation):
        raise NotImplementedError("asymmetric pads, dilations")
    n = len(kernel)
    return (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[n - 1](
        x, kernel, stride, pads[:n], bool(node.get("ceil_mode", 0)), bool(node.get("count_include_pad", 0)))


def resize(net, node, x, *rest):
    sizes = numbers(node, [x, *rest], 3) if node.opset > 10 else None
    scales = numbers(node, [x, *rest], 2 if node.opset > 10 else 1)
    if sizes is None:
        sizes = [math.floor(d * s) for d, s in zip(x.shape, scales)]
    else:
        scales = [s / d for d, s in zip(x.shape, sizes)]
    mode = node.get("mode", b"nearest").decode()
    form = node.get("coordinate_transformation_mode", b"half_pixel" if node.opset > 10 else b"asymmetric").decode()
    if mode == "linear" and form in ("half_pixel", "pytorch_half_pixel", "align_corners") and list(sizes[:2]) == list(x.shape[:2]):
        return F.interpolate(x, sizes[2:], mode="bilinear", align_corners=form == "align_corners")
    if mode != "nearest":
        raise NotImplementedError(f"mode {mode}, {form}")
    tables = [nearest(x.shape[k], sizes[k], scales[k], form, node.get("nearest_mode", b"round_prefer_floor").decode()) for k in range(x.dim())]
    if x.dim() == 4 and all(t == [i * d // s for i in range(s)] for t, s, d in zip(tables, sizes, x.shape)) and list(sizes[:2]) == list(x.shape[:2]):
        return F.interpolate(x, sizes[2:], mode="nearest")
    for k, table in enumerate(tables):
        if table != list(range(x.shape[k])):
            x = x.index_select(k, torch.tensor(table))
    return x


def nearest(old, new, scale, form, rounding):
    """Which element of an axis each output element is."""
    table = []
    for i in range(new):
        at = {"asymmetric": lambda: i / scale, "half_pixel": lambda: (i + 0.5) / scale - 0.5,
              "pytorch_half_pixel": lambda: (i + 0.5) / scale - 0.5 if new > 1 else 0,
              "align_corners": lambda: i * (old - 1) / (new - 1) if new > 1 else 0}[form]()
        at = {"floor": math.floor, "ceil": math.ceil, "round_prefer_floor": lambda v: math.ceil(v - 0.5),
              "round_prefer_ceil": lambda v: math.floor(v + 0.5)}[rounding](at)
        table.append(min(max(at, 0), old - 1))
    return table


def split(net, node, x, *rest):
    axis = node.get("axis", 0)
    parts = numbers(node, [x, *rest], 1, "split")
    if parts is None:
        parts = [-(-x.shape[axis] // len(node.outputs))] * (len(node.outputs) - 1)
        parts.append(x.shape[axis] - sum(parts))
    return x.split(parts, axis)


def slices(net, node, x, *rest):
    starts, ends, axes, steps = (numbers(node, [x, *rest], i) for i in (1, 2, 3, 4))
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for begin, end, axis, step in zip(starts, ends, axes, steps):
        begin, end, step = slice(begin, end, step).indices(x.shape[axis])
        if step > 0:
            x = x.narrow(axis, begin, max(0, end - begin))
            x = x if step == 1 else x[(slice(None),) * (axis % x.dim()) + (slice(None, None, step),)]
        else:
            x = x.index_select(axis, torch.tensor(range(begin, end, step)))
    return x


def reshape(net, node, x, shape):
    shape = numbers(node, [x, shape], 1) or []
    if not node.get("allowzero", 0):
        shape = [x.shape[k] if d == 0 else d for k, d in enumerate(shape)]
    return x.reshape(shape)


def pad(net, node, x, *rest):
    if node.get("mode", b"constant") != b"constant" or len(node.inputs) > 3:
        raise NotImplementedError("a mode other than constant, axes")
    value = node.get("value", 0.0) if node.opset < 11 else (numbers(node, [x, *rest], 2) or [0.0])[0]
    return padded(x, numbers(node, [x, *rest], 1, "pads"), value)


def softmax(net, node, x):
    axis = node.get("axis", -1 if node.opset >= 13 else 1)
    if node.opset >= 13:
        return F.softmax(x, axis)
    return F.softmax(x.flatten(axis), -1).reshape(x.shape) if axis % x.dim() else F.softmax(x.flatten(), 0).reshape(x.shape)


def gemm(net, node, a, b, c=None):
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    y = node.get("alpha", 1.0) * (a @ b)
    return y if c is None else y + node.get("beta", 1.0) * c


def batch_normalization(net, node, x, scale, bias, mean, variance):
    return F.batch_norm(x, mean, variance, scale, bias, False, 0, node.get("epsilon", 1e-5))


def reduced(f):
    def run(net, node, x, *rest):
        axes = numbers(node, [x, *rest], 1, "axes") or list(range(x.dim()))
        return f(x, axes, bool(node.get("keepdims", 1)))
    return run


def clip(net, node, x, *rest):
    low, high = numbers(node, [x, *rest], 1, "min"), numbers(node, [x, *rest], 2, "max")
    return x.clamp(low[0] if low else None, high[0] if high else None)


def squeeze(net, node, x, *rest):
    axes = numbers(node, [x, *rest], 1, "axes")
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def unsqueeze(net, node, x, *rest):
    axes = numbers(node, [x, *rest], 1, "axes")
    for axis in sorted(a % (x.dim() + len(axes)) for a in axes):
        x = x.unsqueeze(axis)
    return x


def gather(net, node, x, index):
    axis = node.get("axis", 0)
    index = torch.where(index < 0, index + x.shape[axis], index)
    if index.dim() == 0:
        return x.select(axis, int(index))
    return x.index_select(axis, index.flatten()).unflatten(axis, index.shape)


def cast(net, node, x):
    to = node.get("to")
    if to in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
        return x.to(net.dtype())  # one float type throughout
    return x.to({onnx.TensorProto.INT64: torch.int64, onnx.TensorProto.INT32: torch.int32, onnx.TensorProto.BOOL: torch.bool}[to])


def quantize(net, node, x, scale, zero):
    """Fake quantisation, of which DequantizeLinear is the end and does nothing more."""
    axis = node.get("axis", 1) % x.dim()
    weights = isinstance(x, torch.nn.Parameter)
    if scale.dim() == 0 or scale.numel() == 1:
        low, high = (-127, 127) if weights else (-128, 127)
        if weights and not net.fixed_weight_scales:
            scale = (x.detach().abs().max() / 127).clamp(min=TINY)
        if net.native:
            scale = scale if weights else numbers(node, [x, scale], 1)[0]
            return torch.fake_quantize_per_tensor_affine(x, float(scale), 0, low, high)
        return StraightThrough.apply(x, scale, low, high)
    shape = [-1 if d == axis else 1 for d in range(x.dim())]
    scale = scale.reshape(shape) if net.fixed_weight_scales else absmax_scale(x, axis)
    if net.native:
        return torch.fake_quantize_per_channel_affine(x, scale.flatten(), zero.to(torch.int32), axis, -127, 127)
    return StraightThrough.apply(x, scale, -127, 127)


def plain(f):
    """An operator without attributes."""
    return lambda net, node, *x: f(*x)


OPERATORS = {
    "Abs": plain(torch.abs),
    "Add": plain(torch.add),
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Concat": lambda net, node, *x: torch.cat(x, node.get("axis")),
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DequantizeLinear": lambda net, node, x, scale, zero=None: x,
    "Div": plain(torch.div),
    "Exp": plain(torch.exp),
    "Flatten": lambda net, node, x: x.flatten(0, node.get("axis", 1) - 1).flatten(1),
    "Floor": plain(torch.floor),
    "Gather": gather,
    "Gelu": lambda net, node, x: F.gelu(x, approximate=node.get("approximate", b"none").decode()),
    "Gemm": gemm,
    "GlobalAveragePool": lambda net, node, x: x.mean(tuple(range(2, x.dim())), keepdim=True),
    "GlobalMaxPool": lambda net, node, x: x.amax(tuple(range(2, x.dim())), keepdim=True),
    "HardSigmoid": lambda net, node, x: (x * node.get("alpha", 0.2) + node.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": plain(F.hardswish),
    "Identity": plain(lambda x: x),
    "LeakyRelu": lambda net, node, x: F.leaky_relu(x, node.get("alpha", 0.01)),
    "MatMul": plain(torch.matmul),
    "MaxPool": max_pool,
    "Mish": plain(F.mish),
    "Mul": plain(torch.mul),
    "Neg": plain(torch.neg),
    "Pad": pad,
    "Pow": plain(torch.pow),
    "PRelu": plain(lambda x, slope: torch.where(x > 0, x, x * slope)),
    "QuantizeLinear": quantize,
    "ReduceMean": reduced(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": reduced(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "Relu": plain(F.relu),
    "Reshape": reshape,
    "Resize": resize,
    "Shape": plain(lambda x: torch.tensor(x.shape)),
    "Sigmoid": plain(torch.sigmoid),
    "Silu": plain(F.silu),
    "Slice": slices,
    "Softmax": softmax,
    "Split": split,
    "Sqrt": plain(torch.sqrt),
    "Squeeze": squeeze,
    "Sub": plain(torch.sub),
    "Tanh": plain(torch.tanh),
    "Transpose": lambda net, node, x: x.permute(node.get("perm") or list(range(x.dim()))[::-1]),
    "Unsqueeze": unsqueeze,
}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model")
    args.add_argument("out")
    args = args.parse_args()
    entry = onnx.load(args.model, load_external_data=False).graph.input[0].type.tensor_type
    dims = [d.dim_value or default for d, default in zip(entry.shape.dim, (1, 3, 640, 640))]
    x = numpy.random.default_rng(1).random(dims, dtype=numpy.float32)
    half = entry.elem_type == onnx.TensorProto.FLOAT16
    if half:
        x = x.astype(numpy.float16)
    net = OnnxModule(args.model, fixed_weight_scales=True)
    with torch.no_grad():
        outputs = net(torch.from_numpy(x.astype(numpy.float32)))
    numpy.savez(args.out, input=x, **{f"output{i}": y.numpy() for i, y in enumerate(outputs)})


if __name__ == "__main__":
    main()
