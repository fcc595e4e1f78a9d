#include "shim/imports.hpp"

#include <CL/cl_ext.h>

#include <initializer_list>
#include <string>

#include "catch.hpp"
#include "shim/hooks/hooks.hpp"

using namespace chronos::shim;

namespace {

cl_mem const kMade = reinterpret_cast<cl_mem>(0x1000);

// A driver that makes one object of 4096 bytes, or none where the flags are 0.
cl_mem make(cl_mem_flags flags) { return flags != 0 ? kMade : nullptr; }

cl_int CL_API_CALL memory_info(cl_mem, cl_mem_info, size_t, void* value, size_t*) {
  *static_cast<std::size_t*>(value) = 4096;
  return CL_SUCCESS;
}

cl_int CL_API_CALL context_info(cl_context, cl_context_info, size_t, void*, size_t*) {
  return CL_INVALID_CONTEXT;
}

cl_mem CL_API_CALL import_arm(cl_context, cl_mem_flags flags, const intptr_t*, void*, size_t,
                              cl_int*) {
  return make(flags);
}
cl_mem CL_API_CALL from_surface(cl_context, cl_mem_flags flags, unsigned int*, cl_uint, cl_int*) {
  return make(flags);
}

struct TestDoor {
  static constexpr DoorKind kKind = DoorKind::kLayer;
  static const Table& real(const void*) {
    static const Table table = [] {
      Table made{};
      made.clGetMemObjectInfo = memory_info;
      made.clGetContextInfo = context_info;
      made.clCreateFromGLBuffer = [](cl_context, cl_mem_flags flags, cl_GLuint, cl_int*) {
        return make(flags);
      };
      made.clCreateFromGLRenderbuffer = [](cl_context, cl_mem_flags flags, cl_GLuint, cl_int*) {
        return make(flags);
      };
      auto texture = [](cl_context, cl_mem_flags flags, cl_GLenum, cl_GLint, cl_GLuint, cl_int*) {
        return make(flags);
      };
      made.clCreateFromGLTexture = texture;
      made.clCreateFromGLTexture2D = texture;
      made.clCreateFromGLTexture3D = texture;
      made.clCreateFromEGLImageKHR = [](cl_context, CLeglDisplayKHR, CLeglImageKHR,
                                        cl_mem_flags flags, const cl_egl_image_properties_khr*,
                                        cl_int*) { return make(flags); };
      made.clCreateBufferWithProperties = [](cl_context, const cl_mem_properties*,
                                             cl_mem_flags flags, size_t, void*,
                                             cl_int*) { return make(flags); };
      return made;
    }();
    return table;
  }
};

// What is handed out for `name`, as the type of the function `like`.
template <class Function>
Function hook(const char* name, Function) {
  for (const HookedEntry& entry : kHookedEntries) {
    if (std::string(name) == entry.name)
      return reinterpret_cast<Function>(hook_of<TestDoor>(entry.call));
  }
  for (const HookedExtension& extension : kHookedExtensions) {
    if (std::string(name) == extension.name)
      return reinterpret_cast<Function>(hook_of<TestDoor>(extension.call));
  }
  FAIL(name << " is not hooked");
  return nullptr;
}

// One object more and its bytes, or none.
template <class Call>
void check_counted(const char* name, Call call) {
  INFO(name);
  const Imports before = imports();
  CHECK(call(cl_mem_flags{0}) == nullptr);
  CHECK(imports().objects == before.objects);
  CHECK(call(CL_MEM_READ_ONLY) == kMade);
  CHECK(imports().objects == before.objects + 1);
  CHECK(imports().bytes == before.bytes + 4096);
}

cl_context context() {
  static void* const table = nullptr;
  return reinterpret_cast<cl_context>(const_cast<void**>(&table));
}

}  // namespace

TEST_CASE("every import is counted, and no call that fails", "[imports]") {
  const Table& real = TestDoor::real(nullptr);
#define CHRONOS_CHECK(name, ...)                                   \
  check_counted(#name, [&](cl_mem_flags flags) {                   \
    return hook(#name, real.name)(context(), __VA_ARGS__ nullptr); \
  })
  CHRONOS_CHECK(clCreateFromGLBuffer, flags, 1, );
  CHRONOS_CHECK(clCreateFromGLRenderbuffer, flags, 1, );
  CHRONOS_CHECK(clCreateFromGLTexture, flags, 1, 0, 1, );
  CHRONOS_CHECK(clCreateFromGLTexture2D, flags, 1, 0, 1, );
  CHRONOS_CHECK(clCreateFromGLTexture3D, flags, 1, 0, 1, );
  CHRONOS_CHECK(clCreateFromEGLImageKHR, nullptr, nullptr, flags, nullptr, );
  const cl_mem_properties handle[] = {CL_EXTERNAL_MEMORY_HANDLE_OPAQUE_FD_KHR, 3, 0};
  CHRONOS_CHECK(clCreateBufferWithProperties, handle, flags, 4096, nullptr, );
#undef CHRONOS_CHECK
  remember_extension(door_id<TestDoor>(), Extension::clImportMemoryARM,
                     reinterpret_cast<void*>(&import_arm));
  check_counted("clImportMemoryARM", [&](cl_mem_flags flags) {
    return hook("clImportMemoryARM", &import_arm)(context(), flags, nullptr, nullptr, 1, nullptr);
  });
  remember_extension(door_id<TestDoor>(), Extension::clCreateFromVA_APIMediaSurfaceINTEL,
                     reinterpret_cast<void*>(&from_surface));
  check_counted("clCreateFromVA_APIMediaSurfaceINTEL", [&](cl_mem_flags flags) {
    return hook("clCreateFromVA_APIMediaSurfaceINTEL", &from_surface)(context(), flags, nullptr, 0,
                                                                      nullptr);
  });
}

TEST_CASE("external memory handles are found among properties", "[imports]") {
  auto found = [](std::initializer_list<cl_bitfield> properties) {
    return is_import(properties.begin());
  };
  CHECK_FALSE(is_import(nullptr));
  CHECK_FALSE(found({0}));
  CHECK(found({0x2060, 3, 0}));
  CHECK(found({0x2067, 3, 0}));
  CHECK(found({0x2069, 3, 0}));
  CHECK(found({0x2070, 3, 0}));
  CHECK_FALSE(found({0x2068, 3, 0}));
  CHECK_FALSE(found({0x205f, 3, 0}));
  CHECK(found({0x1234, 5, 0x2060, 3, 0}));
  CHECK_FALSE(found({0x1234, 0x2060, 0}));  // a value is no property
  CHECK_FALSE(found({0x2051, 0x2060, 0, 0}));
  CHECK(found({0x2051, 7, 8, 9, 0, 0x2067, 3, 0}));
  CHECK_FALSE(found({0x2051, 7, 0, 0x1234, 3, 0}));
}
