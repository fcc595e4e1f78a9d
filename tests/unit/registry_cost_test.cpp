// What one partition more costs, in system calls: times say nothing on a busy machine.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <optional>
#include <string>

#include "core/registry.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/temp_state.hpp"

using namespace chronos;

namespace {

CreateRequest ask(int device = 0, std::optional<uid_t> owner = {}) {
  CreateRequest request;
  request.device.index = device;
  request.device.key = "uuid:" + std::string(32, static_cast<char>('0' + device));
  request.device.name = "Test GPU";
  request.device.total_bytes = 1ull << 40;
  request.memory.bytes = 1 << 20;
  request.duration_ns = 3600 * kNanosPerSecond;
  request.owner = owner;
  return request;
}

// Memory is fetched and directories are read in pieces, which are no matter of single partitions.
bool counts(std::uint64_t number) {
  return number != SYS_brk && number != SYS_mmap && number != SYS_munmap && number != SYS_mremap &&
         number != SYS_getdents64;
}

// The system calls of `action` in a process of its own; none where nobody may be traced.
std::optional<long> calls_of(const std::function<bool(Registry&)>& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(2);
    ::raise(SIGSTOP);
    auto registry = Registry::open();
    ::_exit(registry && action(*registry) ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFSTOPPED(status)) return std::nullopt;
  ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  long calls = 0;
  for (;;) {
    ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    ::waitpid(child, &status, 0);
    if (!WIFSTOPPED(status)) break;
    if (WSTOPSIG(status) != (SIGTRAP | 0x80)) continue;
    __ptrace_syscall_info info{};
    ::ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info);
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY && counts(info.entry.nr)) ++calls;
  }
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) == 0);
  return calls;
}

// Leaves nothing behind that the next would look at.
bool create_and_release(Registry& registry) {
  auto made = registry.create(ask());
  return made && registry.release(made->handle());
}

constexpr int kMore = 40;

// What each of 40 partitions more, made by `request`, adds to `action`.
std::optional<double> calls_each(const CreateRequest& request,
                                 const std::function<bool(Registry&)>& action) {
  auto registry = Registry::open();
  REQUIRE(registry);
  const auto before = calls_of(action);
  for (int i = 0; i < kMore; ++i) REQUIRE(registry->create(request));
  const auto after = calls_of(action);
  if (!before || !after) return std::nullopt;
  return static_cast<double>(*after - *before) / kMore;
}

}  // namespace

TEST_CASE("a partition more costs a look few system calls, and a release none",
          "[registry][cost]") {
  TempState state;
  auto registry = Registry::open();
  REQUIRE(registry);
  auto first = registry->create(ask());
  REQUIRE(first);
  const std::string id = first->id, handle = first->handle();

  // Opened, looked at, read, its words read again, closed; and one look at its ledger.
  auto list = calls_each(ask(), [](Registry& r) { return r.list().has_value(); });
  if (!list) return;  // nobody may be traced here
  CHECK(*list <= 6);
  // The ledger is not looked at.
  auto create = calls_each(ask(), create_and_release);
  CHECK(*create <= 5);
  for (const std::string& one : {id, handle}) {
    auto find = calls_each(ask(), [&](Registry& r) { return r.find(one).has_value(); });
    CHECK(*find == 0);
  }
  const auto release = [](const char* name) {
    return calls_of([name](Registry& r) { return r.release(name).has_value(); });
  };
  for (const char* name : {"one", "other"}) {
    CreateRequest request = ask();
    request.name = name;
    REQUIRE(registry->create(request));
  }
  const auto before = release("one");
  for (int i = 0; i < kMore; ++i) REQUIRE(registry->create(ask()));
  CHECK(release("other") == before);

  if (::geteuid() != 0) return;  // only root gives to others
  auto others = calls_each(ask(1, 12345), create_and_release);
  CHECK(*others == 0);
}

TEST_CASE("where grants leave no room, what has ended without a word in them counts",
          "[registry][cost]") {
  if (::geteuid() != 0) return;  // only root gives to others
  TempState state;
  REQUIRE(::chmod(state.path().c_str(), 01777) == 0);
  auto registry = Registry::open();
  REQUIRE(registry);
  CreateRequest request = ask(0, 12345);
  request.memory.bytes = 1ull << 40;
  auto made = registry->create(request);
  REQUIRE(made);
  request.owner.reset();
  auto refused = registry->create(request);
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::kNoCapacity);
  const pid_t owner = ::fork();
  if (owner == 0) {
    if (::setuid(12345) != 0) ::_exit(1);
    auto own = Registry::open();
    ::_exit(own && own->release(made->id) ? 0 : 1);
  }
  int status = 0;
  ::waitpid(owner, &status, 0);
  REQUIRE(status == 0);
  CHECK(registry->create(request));
}
