"""Buffers through ctypes: the loader is opened by dlopen, its functions found by handle."""

import ctypes

import opencl as cl
from released import mebibytes, out_of_memory, wait_after_release

half = (mebibytes() << 20) // 2
context = cl.context()
queue = cl.create_queue(context, cl.devices()[0], 0, None)
source = (ctypes.c_ubyte * half).from_buffer(bytearray(range(256)) * (half // 256))
target = (ctypes.c_ubyte * half)()
copy = cl.declare("clEnqueueCopyBuffer", ctypes.c_int, *[ctypes.c_void_p] * 3,
                  *[ctypes.c_size_t] * 3, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)
read = cl.declare("clEnqueueReadBuffer", ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
                  ctypes.c_uint, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_uint,
                  ctypes.c_void_p, ctypes.c_void_p)


def made(flags, host=None):
    memory, error = cl.buffer(context, half, flags, host)
    if memory is None:
        out_of_memory(error)
    return memory


first = made(1 | 32, ctypes.addressof(source))  # CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR
second = made(cl.READ_WRITE)
print("copy", copy(queue, first, second, 0, 0, half, 0, None, None))
print("read", read(queue, second, 1, 0, half, target, 0, None, None))
print("same", bytes(source) == bytes(target))
print("release", cl.release(first), cl.release(second), cl.release_queue(queue),
      cl.release_context(context))
wait_after_release()
