// The preload door: LD_PRELOAD alone is enough, because on being loaded we announce ourselves as a
// layer. Nothing else is done until OpenCL is used: we ride in every child of a wrapped program.
#include <string>

#include "shim/copies.hpp"
#include "shim/environment.hpp"
#include "shim/process.hpp"
#include "shim/trace.hpp"

namespace {
__attribute__((constructor)) void on_load() {
  if (!chronos::shim::is_active_copy()) return;
  chronos::shim::install_fork_handlers();
  chronos::shim::trace::begin();
  if (chronos::shim::trace::on()) {
    const std::string earlier = chronos::shim::earlier_library();
    if (!earlier.empty()) {
      chronos::shim::trace::note(chronos::TraceNoteKind::kEarlier, earlier);
    }
  }
  chronos::shim::announce_layer();
}
}  // namespace
