// The driver as a library that is itself libOpenCL, as some vendors' are: all of OpenCL by exported
// names, no loader, no dispatch tables. Each name is the function itself.
#include <CL/cl.h>
#include <CL/cl_ext.h>

#include "tests/fake_driver/entries.hpp"

extern "C" {
#define CHRONOS_FAKE_EXPORT(name)                                                                  \
  __attribute__((used)) static decltype(&::name) resolve_##name() { return &chronos::fake::name; } \
  /* NOLINTNEXTLINE(bugprone-macro-parentheses): a declared name takes none */                     \
  __attribute__((visibility("default"), ifunc("resolve_" #name))) decltype(::name) name;
CHRONOS_FAKE_ENTRIES(CHRONOS_FAKE_EXPORT)
CHRONOS_FAKE_EXTENSIONS(CHRONOS_FAKE_EXPORT)
}
