#include "tests/crash/world.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>

#include "core/partition_files.hpp"

namespace chronos::crash {
namespace {

Device device() {
  Device device;
  device.key = "uuid:" + std::string(32, '7');
  device.name = "Test GPU";
  device.total_bytes = kTotal;
  return device;
}

}  // namespace

void wrong(const std::string& what) {
  std::printf("%s\n", what.c_str());
  std::fflush(stdout);
  ::_exit(1);
}

World::World(const std::string& where, std::uint64_t seed, Control* control)
    : directory(where), armed(control), random(seed) {
  a = create(pick(200, 500) * kMiB, "a");
  place = attach(a.token);
  held = pick(1, 100) * kMiB;
  expect(place->charge(held).admitted(), "the runner's own charge is refused");
}

Registry World::registry() const {
  auto state = StateDir::open_at(directory.c_str());
  expect(state.has_value(), "no state directory");
  return Registry(std::move(*state));
}

CreateRequest World::request(std::uint64_t bytes, const std::string& name) const {
  CreateRequest request;
  request.device = device();
  request.memory = {0, bytes};
  request.duration_ns = kHour;
  request.name = name;
  return request;
}

PartitionInfo World::create(std::uint64_t bytes, const std::string& name) {
  auto made = registry().create(request(bytes, name));
  expect(made.has_value(), "create: " + (made ? "" : made.error().message));
  return *made;
}

std::unique_ptr<Attachment> World::attach(const std::string& token) const {
  auto state = StateDir::open_at(directory.c_str());
  const auto listed = registry().list();
  expect(listed.has_value(), "list");
  for (const PartitionInfo& one : *listed) {
    if (one.token != token) continue;
    FileName name{one.owner, {}, FileKind::kGrant};
    expect(parse_token(token, name.token), "no token");
    auto grant = read_grant(*state, name);
    expect(grant.has_value(), "grant: " + (grant ? "" : grant.error().message));
    auto attachment = Attachment::attach(*state, *grant);
    expect(attachment.has_value(), "attach: " + (attachment ? "" : attachment.error().message));
    return std::move(*attachment);
  }
  return nullptr;
}

std::vector<PartitionInfo> World::list() {
  Registry here = registry();
  auto listed = here.list();
  expect(listed.has_value(), "list: " + (listed ? "" : listed.error().message));
  expect(here.warnings().empty(),
         "list warns: " + (here.warnings().empty() ? "" : here.warnings()[0]));
  return *listed;
}

void World::bring_neighbour(std::uint64_t bytes) {
  int ends[2];
  expect(::pipe(ends) == 0, "pipe");
  neighbour = begin([&] {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    place->after_fork();
    const auto own = attach(a.token);
    const bool good = own != nullptr && own->charge(bytes).admitted();
    if (!good || ::write(ends[1], "", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  });
  ::close(ends[1]);
  char ready = 0;
  if (::read(ends[0], &ready, 1) == 1) {
    neighbours = bytes;
  } else {
    part_from_neighbour();  // refused
  }
  ::close(ends[0]);
}

void World::part_from_neighbour() {
  if (neighbour == 0) return;
  ::kill(neighbour, SIGKILL);
  (void)finish(neighbour);
  neighbour = 0;
  neighbours = 0;
}

int World::begin(const std::function<void()>& what) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  what();
  ::_exit(0);
}

int World::finish(int child) {
  int status = 0;
  expect(child > 0 && ::waitpid(child, &status, 0) == child, "no child");
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace chronos::crash
