"""Programs and kernels through ctypes, beside opencl.py: for steps of session.py."""

import ctypes

from opencl import declare, pointer

_error = ctypes.POINTER(ctypes.c_int)
BUILT = ctypes.CFUNCTYPE(None, pointer, pointer)
WITH_SOURCE = declare("clCreateProgramWithSource", pointer, pointer, ctypes.c_uint, pointer, pointer,
                      _error)
WITH_BINARY = declare("clCreateProgramWithBinary", pointer, pointer, ctypes.c_uint, pointer,
                      pointer, pointer, pointer, _error)
BUILT_IN = declare("clCreateProgramWithBuiltInKernels", pointer, pointer, ctypes.c_uint, pointer,
                   ctypes.c_char_p, _error)
WITH_IL = declare("clCreateProgramWithIL", pointer, pointer, ctypes.c_char_p, ctypes.c_size_t,
                  _error)
build_program = declare("clBuildProgram", ctypes.c_int, pointer, ctypes.c_uint, pointer,
                        ctypes.c_char_p, pointer, pointer)
compile_program = declare("clCompileProgram", ctypes.c_int, pointer, ctypes.c_uint, pointer,
                          ctypes.c_char_p, ctypes.c_uint, pointer, pointer, pointer, pointer)
link_program = declare("clLinkProgram", pointer, pointer, ctypes.c_uint, pointer, ctypes.c_char_p,
                       ctypes.c_uint, pointer, pointer, pointer, _error)
build_info = declare("clGetProgramBuildInfo", ctypes.c_int, pointer, pointer, ctypes.c_uint,
                     ctypes.c_size_t, pointer, pointer)
retain_program = declare("clRetainProgram", ctypes.c_int, pointer)
release_program = declare("clReleaseProgram", ctypes.c_int, pointer)
on_release = declare("clSetProgramReleaseCallback", ctypes.c_int, pointer, pointer, pointer)
create_kernel = declare("clCreateKernel", pointer, pointer, ctypes.c_char_p, _error)
create_kernels = declare("clCreateKernelsInProgram", ctypes.c_int, pointer, ctypes.c_uint, pointer,
                         pointer)
clone_kernel = declare("clCloneKernel", pointer, pointer, _error)
retain_kernel = declare("clRetainKernel", ctypes.c_int, pointer)
release_kernel = declare("clReleaseKernel", ctypes.c_int, pointer)
_by_name = declare("clGetExtensionFunctionAddressForPlatform", pointer, pointer, ctypes.c_char_p)
_kept = []  # callbacks that OpenCL may still call


def _result(make):
    error = ctypes.c_int(99)
    made = make(ctypes.byref(error))
    return made if made is not None else error.value


def program(context, text, how="source", devices=(), platform=None):
    """A program of `text`, made in one of the ways there are, or the error."""
    data = text.encode()
    listed = (pointer * max(len(devices), 1))(*devices)
    if how == "source":
        strings = (ctypes.c_char_p * 1)(data)
        return _result(lambda error: WITH_SOURCE(context, 1, strings, None, error))
    if how == "binary":
        binaries = (ctypes.c_char_p * len(devices))(*[data] * len(devices))
        sizes = (ctypes.c_size_t * len(devices))(*[len(data)] * len(devices))
        return _result(lambda error: WITH_BINARY(context, len(devices), listed, sizes, binaries,
                                                 None, error))
    if how == "built-in":
        return _result(lambda error: BUILT_IN(context, len(devices), listed, data, error))
    if how == "il-khr":
        found = _by_name(platform, b"clCreateProgramWithILKHR")
        function = ctypes.CFUNCTYPE(pointer, pointer, ctypes.c_char_p, ctypes.c_size_t,
                                    _error)(found)
        return _result(lambda error: function(context, data, len(data), error))
    return _result(lambda error: WITH_IL(context, data, len(data), error))


def told(tell):
    """A callback for the end of a build, kept."""
    callback = BUILT(lambda made, _data: tell(made))
    _kept.append(callback)
    return ctypes.cast(callback, pointer)


def build(made, tell=None):
    return build_program(made, 0, None, b"", told(tell) if tell else None, None)


def compiled(made):
    return compile_program(made, 0, None, b"", 0, None, None, None, None)


def link(context, *parts, tell=None):
    """The linked program or the error."""
    listed = (pointer * len(parts))(*parts)
    return _result(lambda error: link_program(context, 0, None, b"", len(parts), listed,
                                              told(tell) if tell else None, None, error))


def status(made, device):
    """0 built, -2 failed, -3 under way."""
    value = ctypes.c_int(99)
    error = build_info(made, device, 0x1181, 4, ctypes.byref(value), None)
    return value.value if error == 0 else error


def kernel(made, name="k"):
    return _result(lambda error: create_kernel(made, name.encode(), error))


def kernels(made):
    room = (pointer * 8)()
    error = create_kernels(made, 8, room, None)
    return [one for one in room if one] if error == 0 else error


def clone(source):
    return _result(lambda error: clone_kernel(source, error))
