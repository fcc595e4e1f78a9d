// Threads that make and give back every kind of device memory, over and over:
//
//   [--threads N] [--cycles N] [--size BYTES] [--device I] [--programs]
//
// Each thread goes N times through the kinds that the device offers, each time at another one, and
// holds a few objects meanwhile; with --programs also through programs with global variables of
// that size (a driver that knows nothing else about its sources than the fake one's); refusals are
// expected when memory is short. Prints `ok N refused M` and exits with 0, or with 4 after another
// error.
#define CL_USE_DEPRECATED_OPENCL_1_1_APIS
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "client.h"

// After client.h, which sets the headers' version.
#include <CL/cl_ext.h>

namespace {

struct Place {
  cl_platform_id platform = nullptr;
  cl_device_id device = nullptr;
  cl_context context = nullptr;
  std::size_t size = 64 << 10;
  bool has_images = false, has_pipes = false, has_svm = false, has_programs = false;
  clDeviceMemAllocINTEL_fn usm_device = nullptr;
  clSharedMemAllocINTEL_fn usm_shared = nullptr;
  clMemFreeINTEL_fn usm_free = nullptr;
  clCreateBufferWithPropertiesINTEL_fn intels = nullptr;
};

// What one cycle holds; released in an order that a program may choose.
struct Held {
  cl_mem mem = nullptr;
  cl_mem child = nullptr;
  void* svm = nullptr;
  void* usm = nullptr;
  cl_kernel kernel = nullptr;  // keeps its program
};

constexpr unsigned kKinds = 12, kProgram = 12;
const cl_image_format kColour = {CL_RGBA, CL_UNORM_INT8};

std::atomic<unsigned long long> made_count{0};
std::atomic<unsigned long long> refused_count{0};
std::atomic<bool> unexpected{false};

void judge(unsigned kind, bool made, cl_int error) {
  if (made) {
    ++made_count;
  } else if (error == CL_MEM_OBJECT_ALLOCATION_FAILURE || error == CL_OUT_OF_RESOURCES ||
             error == CL_OUT_OF_HOST_MEMORY) {
    ++refused_count;
  } else {
    std::fprintf(stderr, "kind %u failed: %d\n", kind, error);
    unexpected = true;
  }
}

cl_image_desc describe(const Place& place, cl_mem_object_type type) {
  cl_image_desc desc{};
  desc.image_type = type;
  desc.image_width = type == CL_MEM_OBJECT_IMAGE1D_BUFFER ? 256 : 128;
  desc.image_height = place.size / 4 / 128;
  return desc;
}

void make_child(const Place& place, unsigned kind, Held& held, cl_int& error) {
  if (held.mem == nullptr) return;
  if (kind == 2) {
    const cl_buffer_region region = {4096, 4096};
    held.child = clCreateSubBuffer(held.mem, 0, CL_BUFFER_CREATE_TYPE_REGION, &region, &error);
  } else {
    cl_image_desc desc = describe(place, CL_MEM_OBJECT_IMAGE1D_BUFFER);
    desc.mem_object = held.mem;
    held.child = clCreateImage(place.context, 0, &kColour, &desc, nullptr, &error);
  }
}

// False if the device has no such kind.
bool make_object(const Place& place, unsigned kind, Held& held, cl_int& error) {
  const cl_context context = place.context;
  const cl_image_desc flat = describe(place, CL_MEM_OBJECT_IMAGE2D);
  switch (kind) {
    case 0:
      held.mem = clCreateBuffer(context, 0, place.size, nullptr, &error);
      return true;
    case 1:
      held.mem = clCreateBufferWithProperties(context, nullptr, 0, place.size, nullptr, &error);
      return true;
    case 2:
    case 3:
      if (kind == 3 && !place.has_images) return false;
      held.mem = clCreateBuffer(context, 0, place.size, nullptr, &error);
      make_child(place, kind, held, error);
      return true;
    case 4:
      if (!place.has_images) return false;
      held.mem = clCreateImage(context, 0, &kColour, &flat, nullptr, &error);
      return true;
    case 5:
      if (!place.has_images) return false;
      held.mem = clCreateImage2D(context, 0, &kColour, flat.image_width, flat.image_height, 0,
                                 nullptr, &error);
      return true;
    case 6:
      if (!place.has_pipes) return false;
      held.mem =
          clCreatePipe(context, 0, 1024, static_cast<cl_uint>(place.size / 1024), nullptr, &error);
      return true;
    default:
      if (place.intels == nullptr) return false;
      held.mem = place.intels(context, nullptr, 0, place.size, nullptr, &error);
      return true;
  }
}

bool make_memory(const Place& place, unsigned kind, Held& held, cl_int& error) {
  if (kind == 8 || kind == 9) {
    if (!place.has_svm) return false;
    held.svm = clSVMAlloc(place.context, 0, place.size, 0);
    error = held.svm != nullptr ? CL_SUCCESS : CL_OUT_OF_RESOURCES;
    return true;
  }
  if (place.usm_device == nullptr || place.usm_free == nullptr) return false;
  held.usm = kind == 10
                 ? place.usm_device(place.context, place.device, nullptr, place.size, 0, &error)
                 : place.usm_shared(place.context, place.device, nullptr, place.size, 0, &error);
  return true;
}

void make_program(const Place& place, Held& held, cl_int& error) {
  const std::string source = "globals: " + std::to_string(place.size);
  const char* text = source.c_str();
  cl_program program = clCreateProgramWithSource(place.context, 1, &text, nullptr, &error);
  if (program == nullptr) return;
  error = clBuildProgram(program, 0, nullptr, "", nullptr, nullptr);
  if (error == CL_SUCCESS) held.kernel = clCreateKernel(program, "k", &error);
  clReleaseProgram(program);
}

void give_back(const Place& place, unsigned kind, cl_command_queue queue, Held& held) {
  if (held.kernel != nullptr) clReleaseKernel(held.kernel);
  if (held.mem != nullptr) {
    clRetainMemObject(held.mem);
    clReleaseMemObject(held.mem);
    clReleaseMemObject(held.mem);
  }
  if (held.child != nullptr) clReleaseMemObject(held.child);
  if (held.svm != nullptr && kind == 9) {
    clEnqueueSVMFree(queue, 1, &held.svm, nullptr, nullptr, 0, nullptr, nullptr);
    clFlush(queue);
  } else if (held.svm != nullptr) {
    clSVMFree(place.context, held.svm);
  }
  if (held.usm != nullptr) place.usm_free(place.context, held.usm);
  held = {};
}

void work(const Place& place, unsigned number, unsigned long long cycles) {
  struct Slot {
    unsigned kind = 0;
    Held held;
  };
  constexpr std::size_t kHeld = 5;
  Slot slots[kHeld];
  cl_int error = CL_SUCCESS;
  cl_command_queue queue =
      clCreateCommandQueueWithProperties(place.context, place.device, nullptr, &error);
  must("clCreateCommandQueueWithProperties", error);
  for (unsigned long long i = 0; i < cycles; ++i) {
    Slot& slot = slots[i % kHeld];
    give_back(place, slot.kind, queue, slot.held);
    slot.kind = static_cast<unsigned>((i + number) % (kKinds + (place.has_programs ? 1 : 0)));
    error = CL_SUCCESS;
    bool has = true;
    if (slot.kind == kProgram) {
      make_program(place, slot.held, error);
    } else {
      has = slot.kind < 8 ? make_object(place, slot.kind, slot.held, error)
                          : make_memory(place, slot.kind, slot.held, error);
    }
    if (has) judge(slot.kind, error == CL_SUCCESS, error);
  }
  for (Slot& slot : slots) give_back(place, slot.kind, queue, slot.held);
  must("clFinish", clFinish(queue));
  must("clReleaseCommandQueue", clReleaseCommandQueue(queue));
}

template <class Function>
void find(const Place& place, const char* name, Function& function) {
  function =
      reinterpret_cast<Function>(clGetExtensionFunctionAddressForPlatform(place.platform, name));
}

template <class Value>
Value ask(const Place& place, cl_device_info what) {
  Value value{};
  return clGetDeviceInfo(place.device, what, sizeof value, &value, nullptr) == CL_SUCCESS ? value
                                                                                          : Value{};
}

}  // namespace

int main(int argc, char** argv) {
  Place place;
  unsigned thread_count = 8;
  unsigned device = 0;
  unsigned long long cycles = 1250;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--threads") {
      thread_count = static_cast<unsigned>(option_number(argc, argv, &i));
    } else if (option == "--cycles") {
      cycles = option_number(argc, argv, &i);
    } else if (option == "--size") {
      place.size = option_number(argc, argv, &i);
    } else if (option == "--device") {
      device = static_cast<unsigned>(option_number(argc, argv, &i));
    } else if (option == "--programs") {
      place.has_programs = true;
    } else {
      std::fprintf(
          stderr, "usage: %s [--threads N] [--cycles N] [--size BYTES] [--device I] [--programs]\n",
          argv[0]);
      return kExitUsage;
    }
  }
  place.device = pick_device(device);
  place.platform = ask<cl_platform_id>(place, CL_DEVICE_PLATFORM);
  place.has_images = ask<cl_bool>(place, CL_DEVICE_IMAGE_SUPPORT) != 0;
  place.has_pipes = ask<cl_bool>(place, CL_DEVICE_PIPE_SUPPORT) != 0;
  place.has_svm = ask<cl_device_svm_capabilities>(place, CL_DEVICE_SVM_CAPABILITIES) != 0;
  find(place, "clDeviceMemAllocINTEL", place.usm_device);
  find(place, "clSharedMemAllocINTEL", place.usm_shared);
  find(place, "clMemFreeINTEL", place.usm_free);
  find(place, "clCreateBufferWithPropertiesINTEL", place.intels);
  place.context = make_context(place.device);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < thread_count; ++i) {
    threads.emplace_back(work, std::cref(place), i, cycles);
  }
  for (std::thread& thread : threads) thread.join();
  must("clReleaseContext", clReleaseContext(place.context));
  std::printf("ok %llu refused %llu\n", made_count.load(), refused_count.load());
  std::fflush(stdout);
  char byte = 0;  // so that what is left can be looked at while we live
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return unexpected ? kExitUnexpected : kExitOk;
}
