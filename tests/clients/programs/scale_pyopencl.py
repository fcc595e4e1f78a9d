"""Arrays and a kernel in PyOpenCL."""

import numpy
import pyopencl as cl
import pyopencl.array
from released import mebibytes, out_of_memory, wait_after_release


def compute(half):
    context = cl.Context([cl.get_platforms()[0].get_devices()[0]])
    queue = cl.CommandQueue(context)
    values = numpy.arange(half // 4, dtype=numpy.uint32)
    program = cl.Program(context, "kernel void scale(global const uint* in, global uint* out) {"
                         "size_t i = get_global_id(0); out[i] = in[i] * 3 + i; }").build()
    first = cl.array.to_device(queue, values)
    second = cl.array.empty_like(first)
    cl.Kernel(program, "scale")(queue, values.shape, None, first.data, second.data)
    result = second.get()
    print("result", int(result.sum(dtype=numpy.uint64)), bool((result == values * 4).all()))


try:
    compute((mebibytes() << 20) // 2)
except cl.MemoryError as error:
    out_of_memory(error)
wait_after_release()
