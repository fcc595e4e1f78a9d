// registry ROUNDS PARTITIONS: creating, releasing and listing partitions in process, in the state
// directory that CHRONOS_STATE_DIR names, with 1, 100 and so on up to PARTITIONS that exist.
#include "core/registry.hpp"

#include <cstdio>
#include <cstdlib>

#include "tests/bench/minimum.hpp"

namespace {

using namespace chronos;
using namespace chronos::bench;

template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "bench: %s\n", result.error().message.c_str());
    std::exit(1);
  }
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

void measure(Registry& registry, int existing, int rounds) {
  const std::string among = " among " + std::to_string(existing);
  std::string last;
  std::vector<Way> ways;
  ways.push_back({"create" + among, {}, [&] { last = must(registry.create(request())).id; }, {}});
  ways.push_back({"release" + among, {}, [&] { must(registry.release(last)); }, {}});
  alternate(ways, rounds, 1, Order::kFixed);
  print("registry", ways);
  std::vector<Way> listing;
  listing.push_back({"list" + among,
                     {},
                     [&] {
                       if (must(registry.list()).size() != static_cast<std::size_t>(existing)) {
                         std::fprintf(stderr, "bench: a partition is missing\n");
                         std::exit(1);
                       }
                     },
                     {}});
  alternate(listing, std::max(5, rounds / 4), 1);
  print("registry", listing);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s ROUNDS PARTITIONS\n", argv[0]);
    return 2;
  }
  Registry registry = must(Registry::open());
  int existing = 0;
  for (int target : {1, 100, 1000}) {
    if (target > std::atoi(argv[2])) break;
    for (; existing < target; ++existing) must(registry.create(request()));
    measure(registry, existing, target > 100 ? 10 : std::atoi(argv[1]));
  }
  return 0;
}
