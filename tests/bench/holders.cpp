#include "tests/bench/holders.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "core/partition_files.hpp"

namespace chronos::bench {
namespace {

constexpr std::size_t kTokenDigits = 32;
constexpr std::uint64_t kHeld = 4096;

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "bench: %s\n", what.c_str());
  std::exit(1);
}

// What a holder does until `end` ends.
void hold(int go, int ready, int end) {
  std::array<char, kTokenDigits + 1> token{};
  if (::read(go, token.data(), kTokenDigits) != static_cast<ssize_t>(kTokenDigits)) ::_exit(1);
  if (!enter_partition(token.data()).charge(kHeld).admitted()) ::_exit(1);
  if (::write(ready, "", 1) != 1) ::_exit(1);
  char nothing = 0;
  ::_exit(::read(end, &nothing, 1) == 0 ? 0 : 1);
}

}  // namespace

PartitionInfo make_partition(const Device& device) {
  Result<Registry> registry = Registry::open();
  if (!registry) give_up(registry.error().message);
  CreateRequest request;
  request.device = device;
  request.memory = *parse_memory("64MiB");
  request.duration_ns = 3'600'000'000'000;
  request.held = true;
  Result<PartitionInfo> made = registry->create(request);
  if (!made) give_up(made.error().message);
  return *made;
}

Attachment& enter_partition(const std::string& token) {
  Result<Registry> registry = Registry::open();
  if (!registry) give_up(registry.error().message);
  FileName name{::getuid(), {}, FileKind::kGrant};
  if (!parse_token(token, name.token)) give_up("not a token: " + token);
  Result<Grant> grant = read_grant(registry->state(), name);
  if (!grant) give_up(grant.error().message);
  auto attachment = Attachment::attach(registry->state(), *grant);
  if (!attachment) give_up(attachment.error().message);
  return *attachment->release();  // lives as long as the process
}

// One pipe serves all: what goes through it is less than PIPE_BUF, so each read gets a whole token.
Holders::Holders(int count) {
  std::array<int, 2> go{};
  std::array<int, 2> ready{};
  std::array<int, 2> end{};
  if (::pipe(go.data()) != 0 || ::pipe(ready.data()) != 0 || ::pipe(end.data()) != 0) {
    give_up("no pipe");
  }
  for (int i = 0; i < count; ++i) {
    const pid_t child = ::fork();
    if (child < 0) give_up("a process could not be made");
    if (child == 0) {
      ::close(go[1]);
      ::close(ready[0]);
      ::close(end[1]);
      hold(go[0], ready[1], end[0]);
    }
    children_.push_back(child);
  }
  ::close(go[0]);
  ::close(ready[1]);
  ::close(end[0]);
  go_ = go[1];
  ready_ = ready[0];
  end_ = end[1];
}

void Holders::enter(const PartitionInfo& partition) {
  for (std::size_t i = 0; i < children_.size(); ++i) {
    if (::write(go_, partition.token.data(), kTokenDigits) != static_cast<ssize_t>(kTokenDigits)) {
      give_up("a holder has gone");
    }
  }
  for (std::size_t i = 0; i < children_.size(); ++i) {
    char byte = 0;
    if (::read(ready_, &byte, 1) != 1) give_up("a holder could not enter the partition");
  }
}

Holders::~Holders() {
  ::close(go_);
  ::close(ready_);
  ::close(end_);
  for (const pid_t child : children_) ::waitpid(child, nullptr, 0);
}

}  // namespace chronos::bench
