// The preload door: to be preloaded is enough. By LD_PRELOAD we announce ourselves as a layer when
// we are loaded, for children that lose that variable and keep the other. By /etc/ld.so.preload we
// are in every program of the machine, and change the environment of none that does not use OpenCL.
#include <link.h>

#include <cstring>
#include <string>

#include "core/enforce/places.hpp"
#include "core/state_dir.hpp"
#include "shim/copies.hpp"
#include "shim/doors/dlopen.hpp"
#include "shim/environment.hpp"
#include "shim/process.hpp"
#include "shim/trace.hpp"

namespace {

struct Loaded {
  bool enforced = false;  // the machine's own copy of the shim
  bool opencl = false;    // a loader, or a library that is one and a driver
};

int look_at(dl_phdr_info* object, std::size_t, void* out) {
  const char* name = object->dlpi_name;
  if (name == nullptr) return 0;
  auto* loaded = static_cast<Loaded*>(out);
  if (std::strcmp(name, chronos::enforce::kEntry) == 0) loaded->enforced = true;
  if (std::strstr(name, "/libOpenCL.so") != nullptr) loaded->opencl = true;
  return 0;
}

__attribute__((constructor)) void on_load() {
  Loaded loaded;
  ::dl_iterate_phdr(look_at, &loaded);
  // Not even for a copy that comes before it: nobody's partitions are where they say they are.
  if (loaded.enforced) chronos::StateDir::ignore_environment();
  if (!chronos::shim::is_active_copy()) return;
  chronos::shim::install_fork_handlers();
  chronos::shim::trace::begin();
  if (chronos::shim::trace::on()) {
    const std::string earlier = chronos::shim::earlier_library();
    if (!earlier.empty()) {
      chronos::shim::trace::note(chronos::TraceNoteKind::kEarlier, earlier);
    }
  }
  if (loaded.opencl || !loaded.enforced || chronos::shim::environment_names_us()) {
    chronos::shim::opencl_may_start();
  }
}
}  // namespace
