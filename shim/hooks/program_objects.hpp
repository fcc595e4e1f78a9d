// Programs and kernels, for the variables in global memory that programs bring along. A build that
// does not fit answers CL_OUT_OF_RESOURCES, which clBuildProgram and clLinkProgram may answer for
// whatever the device lacks (OpenCL 3.0 sections 5.8.3 and 5.8.5); to everything that comes after,
// the program is one whose build has failed.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/crash_point.hpp"
#include "shim/extensions.hpp"
#include "shim/hooks/charged.hpp"
#include "shim/programs.hpp"

namespace chronos::shim {

template <class Door>
struct ProgramHooks {
  static cl_program CL_API_CALL clCreateProgramWithSource(cl_context context, cl_uint count,
                                                          const char** strings,
                                                          const size_t* lengths,
                                                          cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return made(real, context, [&] {
      return real.clCreateProgramWithSource(context, count, strings, lengths, errcode_ret);
    });
  }

  static cl_program CL_API_CALL clCreateProgramWithBinary(
      cl_context context, cl_uint num_devices, const cl_device_id* devices, const size_t* lengths,
      const unsigned char** binaries, cl_int* binary_status, cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return made(real, context, [&] {
      return real.clCreateProgramWithBinary(context, num_devices, devices, lengths, binaries,
                                            binary_status, errcode_ret);
    });
  }

  static cl_program CL_API_CALL clCreateProgramWithBuiltInKernels(cl_context context,
                                                                  cl_uint num_devices,
                                                                  const cl_device_id* devices,
                                                                  const char* names,
                                                                  cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return made(real, context, [&] {
      return real.clCreateProgramWithBuiltInKernels(context, num_devices, devices, names,
                                                    errcode_ret);
    });
  }

  static cl_program CL_API_CALL clCreateProgramWithIL(cl_context context, const void* il,
                                                      size_t length, cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return made(real, context,
                [&] { return real.clCreateProgramWithIL(context, il, length, errcode_ret); });
  }

  // cl_khr_il_program
  static cl_program CL_API_CALL clCreateProgramWithILKHR(cl_context context, const void* il,
                                                         size_t length, cl_int* errcode_ret) {
    using Real = cl_program(CL_API_CALL*)(cl_context, const void*, size_t, cl_int*);
    const Table& table = Door::real(context);
    auto real = find_extension<Door, Real>(table, context, Extension::clCreateProgramWithILKHR);
    if (real == nullptr) return none<cl_program>(errcode_ret, CL_INVALID_OPERATION);
    return made(table, context, [&] { return real(context, il, length, errcode_ret); });
  }

  static cl_int CL_API_CALL clRetainProgram(cl_program program) {
    const Table& real = Door::real(program);
    if (!counting_programs() || Guard::inside()) return real.clRetainProgram(program);
    Guard guard;
    const cl_int status = real.clRetainProgram(program);
    if (status == CL_SUCCESS) note_program_retain(program);
    return status;
  }

  static cl_int CL_API_CALL clReleaseProgram(cl_program program) {
    const Table& real = Door::real(program);
    if (!counting_programs() || Guard::inside()) return real.clReleaseProgram(program);
    Guard guard;
    const Receipts receipts = note_program_release(program);
    CHRONOS_POINT(shim_program_counted);
    const cl_int status = real.clReleaseProgram(program);
    CHRONOS_POINT(shim_program_released);
    give_back(receipts);
    return status;
  }

  static cl_int CL_API_CALL clBuildProgram(cl_program program, cl_uint num_devices,
                                           const cl_device_id* devices, const char* options,
                                           BuildCallback notify, void* user_data) {
    const Table& real = Door::real(program);
    if (Guard::inside() || !adopt_program(real, program)) {
      return real.clBuildProgram(program, num_devices, devices, options, notify, user_data);
    }
    Guard guard;
    if (notify != nullptr) {
      note_build(program);
      user_data = BuildNotice::word(std::make_shared<BuildNotice>(real, notify, user_data));
      notify = BuildNotice::on_built;
    }
    const cl_int status =
        real.clBuildProgram(program, num_devices, devices, options, notify, user_data);
    const bool fits = notify != nullptr && status == CL_SUCCESS ? !is_program_refused(real, program)
                                                                : settle_program(real, program);
    return status == CL_SUCCESS && !fits ? CL_OUT_OF_RESOURCES : status;
  }

  static cl_program CL_API_CALL clLinkProgram(cl_context context, cl_uint num_devices,
                                              const cl_device_id* devices, const char* options,
                                              cl_uint num_inputs, const cl_program* inputs,
                                              BuildCallback notify, void* user_data,
                                              cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    if (Guard::inside() || context == nullptr || assignment_of(real, context).is_free()) {
      return real.clLinkProgram(context, num_devices, devices, options, num_inputs, inputs, notify,
                                user_data, errcode_ret);
    }
    Guard guard;
    std::shared_ptr<BuildNotice> notice;
    if (notify != nullptr) {
      notice = std::make_shared<BuildNotice>(real, notify, user_data);
      notice->expect_new();
      user_data = BuildNotice::word(notice);
      notify = BuildNotice::on_built;
    }
    cl_program program = real.clLinkProgram(context, num_devices, devices, options, num_inputs,
                                            inputs, notify, user_data, errcode_ret);
    if (program == nullptr) return program;
    if (notice != nullptr) {
      notice->note_new(program);
      return program;
    }
    note_program(program);
    if (settle_program(real, program)) return program;
    static_cast<void>(note_program_release(program));  // nothing is charged
    real.clReleaseProgram(program);
    return none<cl_program>(errcode_ret, CL_OUT_OF_RESOURCES);
  }

  static cl_int CL_API_CALL clGetProgramBuildInfo(cl_program program, cl_device_id device,
                                                  cl_program_build_info what, size_t size,
                                                  void* value, size_t* size_ret) {
    const Table& real = Door::real(program);
    const cl_int status = real.clGetProgramBuildInfo(program, device, what, size, value, size_ret);
    cl_build_status built = CL_BUILD_NONE;
    if (what != CL_PROGRAM_BUILD_STATUS || status != CL_SUCCESS || value == nullptr ||
        size < sizeof built || Guard::inside()) {
      return status;
    }
    std::memcpy(&built, value, sizeof built);
    if (built == CL_BUILD_SUCCESS && is_program_refused(real, program)) {
      built = CL_BUILD_ERROR;
      std::memcpy(value, &built, sizeof built);
    }
    return status;
  }

  static cl_kernel CL_API_CALL clCreateKernel(cl_program program, const char* name,
                                              cl_int* errcode_ret) {
    const Table& real = Door::real(program);
    if (!counting_programs() || Guard::inside()) {
      return real.clCreateKernel(program, name, errcode_ret);
    }
    Guard guard;
    if (is_program_refused(real, program)) {
      return none<cl_kernel>(errcode_ret, CL_INVALID_PROGRAM_EXECUTABLE);
    }
    cl_kernel kernel = real.clCreateKernel(program, name, errcode_ret);
    if (kernel != nullptr) note_kernel(kernel, program);
    return kernel;
  }

  static cl_int CL_API_CALL clCreateKernelsInProgram(cl_program program, cl_uint room,
                                                     cl_kernel* kernels, cl_uint* count_ret) {
    const Table& real = Door::real(program);
    if (!counting_programs() || Guard::inside()) {
      return real.clCreateKernelsInProgram(program, room, kernels, count_ret);
    }
    Guard guard;
    if (is_program_refused(real, program)) return CL_INVALID_PROGRAM_EXECUTABLE;
    cl_uint count = 0;
    const cl_int status = real.clCreateKernelsInProgram(program, room, kernels, &count);
    if (status != CL_SUCCESS) return status;
    if (count_ret != nullptr) *count_ret = count;
    for (cl_uint i = 0; kernels != nullptr && i < std::min(room, count); ++i) {
      note_kernel(kernels[i], program);
    }
    return status;
  }

  static cl_kernel CL_API_CALL clCloneKernel(cl_kernel source, cl_int* errcode_ret) {
    const Table& real = Door::real(source);
    if (!counting_programs() || Guard::inside()) return real.clCloneKernel(source, errcode_ret);
    Guard guard;
    cl_kernel kernel = real.clCloneKernel(source, errcode_ret);
    if (kernel != nullptr) note_clone(kernel, source);
    return kernel;
  }

  static cl_int CL_API_CALL clRetainKernel(cl_kernel kernel) {
    const Table& real = Door::real(kernel);
    if (!counting_programs() || Guard::inside()) return real.clRetainKernel(kernel);
    Guard guard;
    const cl_int status = real.clRetainKernel(kernel);
    if (status == CL_SUCCESS) note_kernel_retain(kernel);
    return status;
  }

  static cl_int CL_API_CALL clReleaseKernel(cl_kernel kernel) {
    const Table& real = Door::real(kernel);
    if (!counting_programs() || Guard::inside()) return real.clReleaseKernel(kernel);
    Guard guard;
    const Receipts receipts = note_kernel_release(kernel);
    CHRONOS_POINT(shim_kernel_counted);
    const cl_int status = real.clReleaseKernel(kernel);
    CHRONOS_POINT(shim_kernel_released);
    give_back(receipts);
    return status;
  }

 private:
  template <class Made>
  static Made none(cl_int* errcode_ret, cl_int error) {
    if (errcode_ret != nullptr) *errcode_ret = error;
    return nullptr;
  }

  template <class Create>
  static cl_program made(const Table& real, cl_context context, Create create) {
    if (Guard::inside() || context == nullptr) return create();
    Guard guard;
    cl_program program = create();
    if (program != nullptr && !assignment_of(real, context).is_free()) note_program(program);
    return program;
  }
};

}  // namespace chronos::shim
