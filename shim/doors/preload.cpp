// The preload door: LD_PRELOAD alone is enough, because on being loaded we announce ourselves as a
// layer. Nothing else is done until OpenCL is used: we ride in every child of a wrapped program.
#include "shim/copies.hpp"
#include "shim/environment.hpp"

namespace {
__attribute__((constructor)) void on_load() {
  if (chronos::shim::is_active_copy()) chronos::shim::announce_layer();
}
}  // namespace
