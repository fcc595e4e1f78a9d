#include "shim/copies.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

#include <atomic>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "shim/doors/dlsym.hpp"

// The linker's name for where this library begins.
extern "C" __attribute__((visibility("hidden"))) const ElfW(Ehdr) __ehdr_start;

namespace chronos::shim {
namespace {

constexpr char kSoname[] = "libchronos_shim.so";

const char* soname_of(const dl_phdr_info& object) {
  for (int i = 0; i < object.dlpi_phnum; ++i) {
    if (object.dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
    const auto* entry =
        reinterpret_cast<const ElfW(Dyn)*>(object.dlpi_addr + object.dlpi_phdr[i].p_vaddr);
    ElfW(Addr) strings = 0;
    const ElfW(Dyn)* name = nullptr;
    for (; entry->d_tag != DT_NULL; ++entry) {
      if (entry->d_tag == DT_STRTAB) strings = entry->d_un.d_ptr;
      if (entry->d_tag == DT_SONAME) name = entry;
    }
    if (name == nullptr || strings == 0) return nullptr;
    // The kernel's own object is not relocated in place.
    if (strings < object.dlpi_addr) strings += object.dlpi_addr;
    return reinterpret_cast<const char*>(strings + name->d_un.d_val);
  }
  return nullptr;
}

struct First {
  ElfW(Addr) address = 0;
  std::string* path = nullptr;
};

int look_at(dl_phdr_info* object, std::size_t, void* out) {
  const char* name = soname_of(*object);
  if (name == nullptr || std::strcmp(name, kSoname) != 0) return 0;
  auto* first = static_cast<First*>(out);
  first->address = object->dlpi_addr;
  if (first->path != nullptr) *first->path = object->dlpi_name;
  return 1;
}

bool is_first() {
  First first;
  // In the order of loading, and of the namespace that we are in.
  ::dl_iterate_phdr(look_at, &first);
  return first.address == 0 || first.address == reinterpret_cast<ElfW(Addr)>(&__ehdr_start);
}

}  // namespace

bool is_copy(const void* base) {
  struct Wanted {
    const void* base;
    bool found;
  } wanted{base, false};
  ::dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* out) {
        auto* asked = static_cast<Wanted*>(out);
        if (reinterpret_cast<const void*>(object->dlpi_addr) != asked->base) return 0;
        const char* name = soname_of(*object);
        asked->found = name != nullptr && std::strcmp(name, kSoname) == 0;
        return 1;
      },
      &wanted);
  return wanted.found;
}

void* find_past_copies(const char* name) {
  std::vector<std::pair<const void*, std::string>> objects;
  ::dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* out) {
        static_cast<decltype(objects)*>(out)->emplace_back(
            reinterpret_cast<const void*>(object->dlpi_addr), object->dlpi_name);
        return 0;
      },
      &objects);
  for (const auto& [base, path] : objects) {
    if (path.empty() || is_copy(base)) continue;
    void* handle = ::dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) continue;
    void* found = real_dlsym()(handle, name);
    ::dlclose(handle);
    Dl_info info{};
    if (found != nullptr && ::dladdr(found, &info) != 0 && info.dli_fbase == base) return found;
  }
  return nullptr;
}

std::string earlier_library() {
  auto base_of = [](const void* address) -> const void* {
    Dl_info info{};
    return ::dladdr(address, &info) != 0 ? info.dli_fbase : nullptr;
  };
  // Ours alone of the names that programs do not define themselves tells whether we are in order.
  const void* named = real_dlsym()(RTLD_DEFAULT, "clDeinitLayer");
  if (named == nullptr || !is_copy(base_of(named))) return {};
  const void* first = real_dlsym()(RTLD_DEFAULT, "clCreateBuffer");
  Dl_info info{};
  if (first == nullptr || ::dladdr(first, &info) == 0 || is_copy(info.dli_fbase)) return {};
  // A program's own copy of a loader is reached by the other doors.
  const bool is_program =
      base_of(reinterpret_cast<const void*>(::getauxval(AT_PHDR))) == info.dli_fbase;
  return is_program ? std::string() : std::string(info.dli_fname);
}

// Asked for the first time when the library is loaded, by one thread.
bool is_active_copy() {
  enum class Known : char { kNot, kNo, kYes };
  static constinit std::atomic<Known> known{Known::kNot};
  Known active = known.load(std::memory_order_relaxed);
  if (active == Known::kNot) {
    active = is_first() ? Known::kYes : Known::kNo;
    known.store(active, std::memory_order_relaxed);
  }
  return active == Known::kYes;
}

void* active_copy_symbol(const char* name) {
  if (is_active_copy()) return nullptr;
  std::string path;
  First first{0, &path};
  ::dl_iterate_phdr(look_at, &first);
  void* handle = ::dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  return handle != nullptr ? real_dlsym()(handle, name) : nullptr;
}

}  // namespace chronos::shim
