#include "tests/hostile/scene.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "core/posix.hpp"
#include "core/report.hpp"

namespace chronos::test {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "a hostile input was believed: %s\n", what);
  std::abort();
}

void require_line(std::string_view text, const char* what) {
  const auto is_printable = [](char c) { return c >= 0x20 && c < 0x7f; };
  require(
      !text.empty() && text.size() < 8192 && std::all_of(text.begin(), text.end(), is_printable),
      what);
}

Device gpu() {
  Device device;
  device.index = 0;
  device.key = "uuid:0123456789abcdef";
  device.name = "Some GPU";
  device.total_bytes = kTotal;
  return device;
}

Scene::Scene() {
  CreateRequest request;
  request.device = gpu();
  request.memory.bytes = kTotal / 4;
  request.duration_ns = 3'600'000'000'000;
  request.name = "victim";
  must(registry.create(request));
  for (const FileName& name : must(scan(state))) {
    if (name.kind == FileKind::kGrant) grant_name = name;
  }
  ledger_name = {grant_name.uid, grant_name.token, FileKind::kLedger};
  grant = must(read_grant(state, grant_name));
  grant_bytes = get(grant_name);
  ledger_bytes = get(ledger_name);
}

std::string Scene::get(const FileName& name) const {
  std::string bytes;
  read_small_file((state.path() + "/" + name.text()).c_str(), bytes);
  return bytes;
}

void Scene::put(const FileName& name, std::string_view bytes) const {
  UniqueFd fd(
      ::openat(state.fd(), name.text().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  require(fd && pwrite_all(fd.get(), bytes.data(), bytes.size(), 0), "(nothing: it is not there)");
}

void Scene::restore() const {
  put(grant_name, grant_bytes);
  put(ledger_name, ledger_bytes);
}

void Scene::check_list() {
  auto all = registry.list();
  require(all.has_value(), "a listing failed");
  for (const PartitionInfo& one : *all) {
    require(one.limit_bytes <= one.device_total_bytes, "a limit larger than the device");
    require(one.used_bytes <= one.device_total_bytes, "more than the device in use");
    (void)json_text(partition_json(one));
  }
  require(Registry::use_of(gpu(), *all).available_bytes <= kTotal, "more than all is available");
}

Scene& scene() {
  static Scene* const made = new Scene;
  return *made;
}

}  // namespace chronos::test
