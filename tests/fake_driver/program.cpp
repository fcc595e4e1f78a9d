// Programs: made, built and asked about. Kernels are in kernel.cpp.
#include "tests/fake_driver/program.hpp"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/info.hpp"
#include "tests/fake_driver/memory.hpp"

namespace chronos::fake {
namespace {

using Notify = void(CL_CALLBACK*)(cl_program, void*);

cl_program make_program(cl_context context, std::string text, std::vector<cl_device_id> devices) {
  auto* const program = new _cl_program;
  program->context = retain(context);
  program->devices = devices.empty() ? context->devices : std::move(devices);
  program->text = std::move(text);
  return program;
}

std::uint64_t globals_of(const std::string& text) {
  const std::string key = "globals: ";
  std::uint64_t bytes = 0;
  for (std::size_t at = text.find(key); at != std::string::npos; at = text.find(key, at + 1)) {
    bytes += std::strtoull(text.c_str() + at + key.size(), nullptr, 10);
  }
  return bytes;
}

// Needs program->mutex.
void forget_globals(cl_program program) {
  if (program->globals != 0) {
    uncount(program->counted_on, program->globals, program->generation);
  }
  program->globals = 0;
}

cl_int finish_build(cl_program program, cl_program_binary_type type) {
  const std::lock_guard<std::mutex> guard(program->mutex);
  forget_globals(program);
  program->status = CL_BUILD_ERROR;
  program->type = CL_PROGRAM_BINARY_TYPE_NONE;
  if (program->text.find("fails") != std::string::npos) return CL_BUILD_PROGRAM_FAILURE;
  if (type == CL_PROGRAM_BINARY_TYPE_EXECUTABLE) {
    program->counted_on.clear();
    for (cl_device_id device : program->devices) {
      auto& on = program->counted_on;
      if (std::find(on.begin(), on.end(), device->index) == on.end()) on.push_back(device->index);
    }
    const std::uint64_t globals = globals_of(program->text);
    program->generation = driver()->witness.generation();
    if (globals != 0 && !count(program->counted_on, globals)) return CL_OUT_OF_RESOURCES;
    program->globals = globals;
  }
  program->status = CL_BUILD_SUCCESS;
  program->type = type;
  return CL_SUCCESS;
}

// With a callback on a thread of its own if the configuration says so, else at once.
cl_int run_build(cl_program program, cl_program_binary_type type, Notify notify, void* user_data) {
  {
    const std::lock_guard<std::mutex> guard(program->mutex);
    if (program->status == CL_BUILD_IN_PROGRESS || program->kernels != 0) {
      return CL_INVALID_OPERATION;
    }
    program->status = CL_BUILD_IN_PROGRESS;
  }
  if (notify == nullptr) return finish_build(program, type);
  retain(program);
  auto work = [=] {
    finish_build(program, type);
    notify(program, user_data);
    release(program);
  };
  if (driver()->config.build_in_background) {
    std::thread(work).detach();
  } else {
    work();
  }
  return CL_SUCCESS;
}

cl_int check_devices(const _cl_context& context, cl_uint count, const cl_device_id* devices) {
  if ((devices == nullptr) != (count == 0)) return CL_INVALID_VALUE;
  for (cl_uint i = 0; i < count; ++i) {
    const auto& known = context.devices;
    if (std::find(known.begin(), known.end(), devices[i]) == known.end()) return CL_INVALID_DEVICE;
  }
  return CL_SUCCESS;
}

cl_int check_build(const _cl_program* program, cl_uint count, const cl_device_id* devices,
                   Notify notify, const void* user_data) {
  if (!valid(program)) return CL_INVALID_PROGRAM;
  if (notify == nullptr && user_data != nullptr) return CL_INVALID_VALUE;
  return check_devices(*program->context, count, devices);
}

}  // namespace

void release(cl_program program) {
  if (!drop(program)) return;
  forget_globals(program);
  for (auto last = program->callbacks.rbegin(); last != program->callbacks.rend(); ++last) {
    last->first(program, last->second);
  }
  cl_context context = program->context;
  delete program;
  release(context);
}

cl_program clCreateProgramWithSource(cl_context context, cl_uint count, const char** strings,
                                     const size_t* lengths, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_program>(errcode_ret, error);
  if (!valid(context)) return refuse<cl_program>(errcode_ret, CL_INVALID_CONTEXT);
  if (count == 0 || strings == nullptr) return refuse<cl_program>(errcode_ret, CL_INVALID_VALUE);
  std::string text;
  for (cl_uint i = 0; i < count; ++i) {
    if (strings[i] == nullptr) return refuse<cl_program>(errcode_ret, CL_INVALID_VALUE);
    if (lengths != nullptr && lengths[i] != 0) {
      text.append(strings[i], lengths[i]);
    } else {
      text.append(strings[i]);
    }
  }
  return give(make_program(context, std::move(text), {}), errcode_ret, CL_SUCCESS);
}

cl_program clCreateProgramWithBinary(cl_context context, cl_uint count, const cl_device_id* devices,
                                     const size_t* lengths, const unsigned char** binaries,
                                     cl_int* binary_status, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_program>(errcode_ret, error);
  if (!valid(context)) return refuse<cl_program>(errcode_ret, CL_INVALID_CONTEXT);
  if (count == 0 || devices == nullptr || lengths == nullptr || binaries == nullptr ||
      binaries[0] == nullptr || lengths[0] == 0) {
    return refuse<cl_program>(errcode_ret, CL_INVALID_VALUE);
  }
  if (const cl_int error = check_devices(*context, count, devices)) {
    return refuse<cl_program>(errcode_ret, error);
  }
  for (cl_uint i = 0; binary_status != nullptr && i < count; ++i) binary_status[i] = CL_SUCCESS;
  std::string text(reinterpret_cast<const char*>(binaries[0]), lengths[0]);
  return give(make_program(context, std::move(text), {devices, devices + count}), errcode_ret,
              CL_SUCCESS);
}

cl_program clCreateProgramWithBuiltInKernels(cl_context context, cl_uint count,
                                             const cl_device_id* devices, const char* names,
                                             cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_program>(errcode_ret, error);
  if (!valid(context)) return refuse<cl_program>(errcode_ret, CL_INVALID_CONTEXT);
  if (count == 0 || devices == nullptr || names == nullptr) {
    return refuse<cl_program>(errcode_ret, CL_INVALID_VALUE);
  }
  if (const cl_int error = check_devices(*context, count, devices)) {
    return refuse<cl_program>(errcode_ret, error);
  }
  return give(make_program(context, names, {devices, devices + count}), errcode_ret, CL_SUCCESS);
}

cl_program clCreateProgramWithIL(cl_context context, const void* il, size_t length,
                                 cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_program>(errcode_ret, error);
  if (!valid(context)) return refuse<cl_program>(errcode_ret, CL_INVALID_CONTEXT);
  if (il == nullptr || length == 0) return refuse<cl_program>(errcode_ret, CL_INVALID_VALUE);
  return give(make_program(context, {static_cast<const char*>(il), length}, {}), errcode_ret,
              CL_SUCCESS);
}

cl_program clCreateProgramWithILKHR(cl_context context, const void* il, size_t length,
                                    cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_program>(errcode_ret, error);
  return fake::clCreateProgramWithIL(context, il, length, errcode_ret);
}

cl_int clRetainProgram(cl_program program) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(program)) return CL_INVALID_PROGRAM;
  retain(program);
  return CL_SUCCESS;
}

cl_int clReleaseProgram(cl_program program) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(program)) return CL_INVALID_PROGRAM;
  release(program);
  return CL_SUCCESS;
}

cl_int clBuildProgram(cl_program program, cl_uint count, const cl_device_id* devices,
                      const char* /*options*/, Notify notify, void* user_data) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (const cl_int error = check_build(program, count, devices, notify, user_data)) return error;
  return run_build(program, CL_PROGRAM_BINARY_TYPE_EXECUTABLE, notify, user_data);
}

cl_int clCompileProgram(cl_program program, cl_uint count, const cl_device_id* devices,
                        const char* /*options*/, cl_uint /*headers*/, const cl_program* /*header*/,
                        const char** /*names*/, Notify notify, void* user_data) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (const cl_int error = check_build(program, count, devices, notify, user_data)) return error;
  return run_build(program, CL_PROGRAM_BINARY_TYPE_COMPILED_OBJECT, notify, user_data);
}

cl_program clLinkProgram(cl_context context, cl_uint count, const cl_device_id* devices,
                         const char* /*options*/, cl_uint inputs, const cl_program* input,
                         Notify notify, void* user_data, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_program>(errcode_ret, error);
  if (!valid(context)) return refuse<cl_program>(errcode_ret, CL_INVALID_CONTEXT);
  if (inputs == 0 || input == nullptr || (notify == nullptr && user_data != nullptr)) {
    return refuse<cl_program>(errcode_ret, CL_INVALID_VALUE);
  }
  if (const cl_int error = check_devices(*context, count, devices)) {
    return refuse<cl_program>(errcode_ret, error);
  }
  std::string text;
  for (cl_uint i = 0; i < inputs; ++i) {
    if (!valid(input[i])) return refuse<cl_program>(errcode_ret, CL_INVALID_PROGRAM);
    if (input[i]->type != CL_PROGRAM_BINARY_TYPE_COMPILED_OBJECT) {
      return refuse<cl_program>(errcode_ret, CL_INVALID_OPERATION);
    }
    text += input[i]->text;
  }
  const cl_program program = make_program(context, std::move(text), {devices, devices + count});
  const cl_int error = run_build(program, CL_PROGRAM_BINARY_TYPE_EXECUTABLE, notify, user_data);
  return give(program, errcode_ret, error == CL_SUCCESS ? error : CL_LINK_PROGRAM_FAILURE);
}

cl_int clSetProgramReleaseCallback(cl_program program, Notify notify, void* user_data) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(program)) return CL_INVALID_PROGRAM;
  if (notify == nullptr) return CL_INVALID_VALUE;
  const std::lock_guard<std::mutex> guard(program->mutex);
  program->callbacks.emplace_back(notify, user_data);
  return CL_SUCCESS;
}

cl_int clGetProgramInfo(cl_program program, cl_program_info name, size_t capacity, void* out,
                        size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(program)) return CL_INVALID_PROGRAM;
  const Answer answer(capacity, out, needed);
  switch (name) {
    case CL_PROGRAM_REFERENCE_COUNT:
      return answer.value(driver()->config.stale_reference_counts ? cl_uint{1}
                                                                  : program->references.load());
    case CL_PROGRAM_CONTEXT:
      return answer.value(program->context);
    case CL_PROGRAM_NUM_DEVICES:
      return answer.value(static_cast<cl_uint>(program->devices.size()));
    case CL_PROGRAM_DEVICES:
      return answer.list(program->devices);
    case CL_PROGRAM_SOURCE:
      return answer.text(program->text);
    default:
      return CL_INVALID_VALUE;
  }
}

cl_int clGetProgramBuildInfo(cl_program program, cl_device_id device, cl_program_build_info name,
                             size_t capacity, void* out, size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(program)) return CL_INVALID_PROGRAM;
  const auto& devices = program->devices;
  if (std::find(devices.begin(), devices.end(), device) == devices.end()) return CL_INVALID_DEVICE;
  const Answer answer(capacity, out, needed);
  const std::lock_guard<std::mutex> guard(program->mutex);
  switch (name) {
    case CL_PROGRAM_BUILD_STATUS:
      return answer.value(program->status);
    case CL_PROGRAM_BUILD_OPTIONS:
    case CL_PROGRAM_BUILD_LOG:
      return answer.text("");
    case CL_PROGRAM_BINARY_TYPE:
      return answer.value(program->type);
    case CL_PROGRAM_BUILD_GLOBAL_VARIABLE_TOTAL_SIZE:
      if (driver()->config.hides_program_globals) return CL_INVALID_VALUE;
      return answer.value(static_cast<std::size_t>(program->globals));
    default:
      return CL_INVALID_VALUE;
  }
}

}  // namespace chronos::fake
