"""Functions that drivers hand out by name, and imports, through ctypes: for steps of session.py."""

import ctypes

from opencl import declare, device_info, devices, pointer

_error = ctypes.POINTER(ctypes.c_int)
number, size, bits = ctypes.c_uint, ctypes.c_size_t, ctypes.c_ulong
_for_platform = declare("clGetExtensionFunctionAddressForPlatform", pointer, pointer,
                        ctypes.c_char_p)
_plain = declare("clGetExtensionFunctionAddress", pointer, ctypes.c_char_p)
FREED = ctypes.CFUNCTYPE(None, pointer, number, ctypes.POINTER(pointer), pointer)
_kept = []
COUNTED = FREED(0)  # no callback

svm_alloc = declare("clSVMAlloc", pointer, pointer, bits, size, number)
svm_free = declare("clSVMFree", None, pointer, pointer)
finish = declare("clFinish", ctypes.c_int, pointer)
image_with_properties = declare("clCreateImageWithProperties", pointer, pointer, pointer, bits,
                                pointer, pointer, pointer, _error)
buffer_with_properties = declare("clCreateBufferWithProperties", pointer, pointer, pointer, bits,
                                 size, pointer, _error)
_gl_object = (pointer, pointer, bits, number, _error)
_gl_texture = (pointer, pointer, bits, number, ctypes.c_int, number, _error)
gl_buffer = declare("clCreateFromGLBuffer", *_gl_object)
gl_renderbuffer = declare("clCreateFromGLRenderbuffer", *_gl_object)
gl_texture = declare("clCreateFromGLTexture", *_gl_texture)
gl_texture_2d = declare("clCreateFromGLTexture2D", *_gl_texture)
gl_texture_3d = declare("clCreateFromGLTexture3D", *_gl_texture)
egl_image = declare("clCreateFromEGLImageKHR", pointer, pointer, pointer, pointer, bits, pointer,
                    _error)


def platform():
    found = ctypes.c_void_p()
    device_info(devices()[0], 0x1031, 8, ctypes.byref(found), None)
    return found


def by_name(name, result, *arguments, plain=False):
    address = _plain(name.encode()) if plain else _for_platform(platform(), name.encode())
    return ctypes.CFUNCTYPE(result, *arguments)(address) if address else None


def result(function, *arguments):
    """What was made, or the error."""
    error = ctypes.c_int(99)
    made = function(*arguments, ctypes.byref(error))
    return made if made is not None else error.value


def properties(*values):
    return (bits * (len(values) + 1))(*values, 0)


def image_format():
    return (number * 2)(0x10B5, 0x10D2)  # CL_RGBA, CL_UNORM_INT8


def image_desc(pixels):
    """Of a two-dimensional image, 1024 wide."""
    desc = (size * 9)()
    desc[0], desc[1], desc[2] = 0x10F1, 1024, pixels // 1024
    return desc


def freeing(tell):
    """A callback of an enqueued free, kept."""
    callback = FREED(lambda _queue, count, list_, _data: tell(list_[:count]))
    _kept.append(callback)
    return callback


def enqueue_free(function, queue, *pointers, callback=COUNTED):
    """Enqueues the free, by the function of that name (`None`: the core's)."""
    arguments = (pointer, number, pointer, FREED, pointer, number, pointer, pointer)
    call = (by_name(function, ctypes.c_int, *arguments) if function else
            declare("clEnqueueSVMFree", ctypes.c_int, *arguments))
    return call(queue, len(pointers), (pointer * len(pointers))(*pointers), callback, None, 0, None,
                None)
