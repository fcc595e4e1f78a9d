// registry ROUNDS PARTITIONS: creating, releasing and listing partitions in process, in the state
// directory that CHRONOS_STATE_DIR names, with 1, 100 and so on up to PARTITIONS that exist.
#include "core/registry.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "core/partition_files.hpp"
#include "tests/bench/minimum.hpp"

namespace {

using namespace chronos;
using namespace chronos::bench;

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "bench: %s\n", why.c_str());
  std::exit(1);
}

template <class T>
T must(Result<T> result) {
  if (!result) give_up(result.error().message);
  return std::move(*result);
}

CreateRequest request() {
  CreateRequest request;
  request.device.key = "uuid:00000000000000000000000000000be0";
  request.device.name = "Benchmark";
  request.device.total_bytes = std::uint64_t{1} << 40;
  request.memory = must(parse_memory("1MiB"));
  request.duration_ns = 3'600'000'000'000;
  return request;
}

// Partitions like the first one, made without looking at all that are there already: ten thousand
// creations that each do would take minutes.
class Copies {
 public:
  Copies(Registry& registry, const PartitionInfo& first) : state_(registry.state()) {
    name_.uid = first.owner;
    uid_t owner = 0;
    off_t size = 0;
    if (!parse_token(first.token, name_.token)) give_up("not a token: " + first.token);
    const UniqueFd fd = must(open_file(state_, name_, O_RDONLY, owner, size));
    if (::pread(fd.get(), static_cast<void*>(&layout_), sizeof layout_, 0) !=
        static_cast<ssize_t>(sizeof layout_)) {
      give_up("the first partition's grant cannot be read");
    }
  }
  void add() {
    layout_.number += 1;
    layout_.token = name_.token =
        grant_token(TokenTags::of(layout_.device_key, layout_.number, layout_.name));
    layout_.checksum = layout_.compute_checksum();
    auto made = make_partition(state_, name_, layout_);
    if (!made) give_up(made.error().message);
  }

 private:
  const StateDir& state_;
  FileName name_;
  GrantLayout layout_{};
};

void measure(Registry& registry, int existing, int rounds) {
  const std::string among = "among " + std::to_string(existing);
  std::string last;
  std::vector<Way> create = {{among, {}, {}, {}}};
  std::vector<Way> release = create;
  std::vector<Way> list = create;
  // In one order: what was created is what is released.
  std::vector<Way> ways = {
      {"", {}, [&] { last = must(registry.create(request())).id; }, {}},
      {"", {}, [&] { must(registry.release(last)); }, {}},
      {"",
       {},
       [&] {
         if (must(registry.list()).size() != static_cast<std::size_t>(existing)) {
           give_up("a partition is missing");
         }
       },
       {}},
  };
  alternate(ways, rounds, 1, Order::kFixed);
  create[0].nanoseconds = ways[0].nanoseconds;
  release[0].nanoseconds = ways[1].nanoseconds;
  list[0].nanoseconds = ways[2].nanoseconds;
  print("registry, create", create);
  print("registry, release", release);
  print("registry, list", list);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s ROUNDS PARTITIONS\n", argv[0]);
    return 2;
  }
  const int rounds = std::atoi(argv[1]);
  Registry registry = must(Registry::open());
  Copies copies(registry, must(registry.create(request())));
  int existing = 1;
  for (int target : {1, 100, 1000, 10000}) {
    if (target > std::atoi(argv[2])) break;
    for (; existing < target; ++existing) copies.add();
    measure(registry, existing, std::max(5, rounds / (1 + target / 100)));
  }
  return 0;
}
