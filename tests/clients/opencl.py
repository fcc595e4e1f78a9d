"""OpenCL through ctypes, as small as the tests need it. Functions return OpenCL's own codes."""

import ctypes
import os

MIB = 1 << 20
GIB = 1 << 30
READ_WRITE, USE_HOST_PTR, ALLOC_HOST_PTR = 1, 8, 16

library = ctypes.CDLL(os.environ.get("TEST_LIBOPENCL", "libOpenCL.so.1"))
pointer = ctypes.c_void_p
CALLBACK = ctypes.CFUNCTYPE(None, pointer, pointer)
_kept = []  # callbacks that OpenCL may still call


def find(name):
    """The function, or a null one if the library has none. With TEST_DLVSYM it is not found
    with dlsym, which others may have taken over."""
    if "TEST_DLVSYM" in os.environ:
        dlvsym = ctypes.CDLL(None).dlvsym
        dlvsym.restype, dlvsym.argtypes = pointer, (pointer, ctypes.c_char_p, ctypes.c_char_p)
        for version in (b"OPENCL_1.0", b"OPENCL_1.1", b"OPENCL_1.2", b"OPENCL_2.0"):
            if address := dlvsym(library._handle, name.encode(), version):
                return ctypes.CFUNCTYPE(ctypes.c_int)(address)
    return getattr(library, name, None) or ctypes.CFUNCTYPE(ctypes.c_int)()


def declare(name, result, *arguments):
    function = find(name)
    function.restype = result
    function.argtypes = arguments
    return function


_number = ctypes.POINTER(ctypes.c_int)
_count = ctypes.POINTER(ctypes.c_uint)
_size = ctypes.POINTER(ctypes.c_size_t)
platform_ids = declare("clGetPlatformIDs", ctypes.c_int, ctypes.c_uint, pointer, _count)
device_ids = declare("clGetDeviceIDs", ctypes.c_int, pointer, ctypes.c_ulong, ctypes.c_uint,
                     pointer, _count)
device_info = declare("clGetDeviceInfo", ctypes.c_int, pointer, ctypes.c_uint, ctypes.c_size_t,
                      pointer, _size)
create_context = declare("clCreateContext", pointer, pointer, ctypes.c_uint, pointer, pointer,
                         pointer, _number)
release_context = declare("clReleaseContext", ctypes.c_int, pointer)
create_queue = declare("clCreateCommandQueue", pointer, pointer, pointer, ctypes.c_ulong, _number)
release_queue = declare("clReleaseCommandQueue", ctypes.c_int, pointer)
flush = declare("clFlush", ctypes.c_int, pointer)
finish = declare("clFinish", ctypes.c_int, pointer)
enqueue_write = declare("clEnqueueWriteBuffer", ctypes.c_int, pointer, pointer, ctypes.c_uint,
                        ctypes.c_size_t, ctypes.c_size_t, pointer, ctypes.c_uint, pointer, pointer)
create_buffer = declare("clCreateBuffer", pointer, pointer, ctypes.c_ulong, ctypes.c_size_t,
                        pointer, _number)
create_sub_buffer = declare("clCreateSubBuffer", pointer, pointer, ctypes.c_ulong, ctypes.c_uint,
                            pointer, _number)
retain = declare("clRetainMemObject", ctypes.c_int, pointer)
release = declare("clReleaseMemObject", ctypes.c_int, pointer)
on_destroy = declare("clSetMemObjectDestructorCallback", ctypes.c_int, pointer, CALLBACK, pointer)


def devices():
    """Every device of every platform, in the loader's order."""
    found = []
    platforms = (pointer * 16)()
    count = ctypes.c_uint()
    if platform_ids(16, platforms, ctypes.byref(count)) != 0:
        return found
    for platform in platforms[:count.value]:
        ids = (pointer * 64)()
        many = ctypes.c_uint()
        if device_ids(platform, 0xFFFFFFFF, 64, ids, ctypes.byref(many)) == 0:
            found += ids[:many.value]
    return found


def context(*which):
    """A context of devices by number, the first if none is named."""
    every = devices()
    chosen = [every[number] for number in which or (0,)]
    error = ctypes.c_int()
    made = create_context(None, len(chosen), (pointer * len(chosen))(*chosen), None, None,
                          ctypes.byref(error))
    if error.value != 0:
        raise OSError(f"clCreateContext: {error.value}")
    return made


def buffer(inside, size, flags=READ_WRITE, host=None):
    """(buffer or None, error)"""
    error = ctypes.c_int(99)
    made = create_buffer(inside, flags, size, host, ctypes.byref(error))
    return made, error.value


def sub_buffer(parent, origin, size):
    error = ctypes.c_int(99)
    region = (ctypes.c_size_t * 2)(origin, size)
    made = create_sub_buffer(parent, READ_WRITE, 0x1220, region, ctypes.byref(error))
    return made, error.value


def watch(mem, tell):
    """Calls tell() when `mem` is destroyed."""
    callback = CALLBACK(lambda _mem, _data: tell())
    _kept.append(callback)
    return on_destroy(mem, callback, None)


def number_of(device, what, size=8):
    """A number that clGetDeviceInfo answers, or its error as a negative number."""
    value = ctypes.c_ulong()
    error = device_info(device, what, size, ctypes.byref(value), None)
    return value.value if error == 0 else error
