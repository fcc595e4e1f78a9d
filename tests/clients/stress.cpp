// Threads that allocate and free at random:
//
//   [--threads N] [--seconds T | --operations N] [--max-bytes B] [--seed S] [--device I]
//
// prints `ok N refused M freed K`; everything is freed at the end. Exit status 0, or 4 after
// an error other than the refusals a program must expect when memory is short. --operations is
// per thread and repeatable; --seconds stops early at the end of the time.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

#include "client.h"

namespace {

struct Options {
  unsigned threads = 4;
  unsigned long long seconds = 0;
  unsigned long long operations = 0;
  std::uint64_t max_bytes = 64 << 20;
  std::uint64_t seed = 1;
  unsigned device = 0;
};

struct Counts {
  std::atomic<unsigned long long> ok{0};
  std::atomic<unsigned long long> refused{0};
  std::atomic<unsigned long long> freed{0};
  std::atomic<bool> unexpected{false};
};

using Clock = std::chrono::steady_clock;

bool is_refusal(cl_int error) {
  return error == CL_MEM_OBJECT_ALLOCATION_FAILURE || error == CL_OUT_OF_RESOURCES ||
         error == CL_OUT_OF_HOST_MEMORY;
}

void free_at(std::vector<cl_mem>& held, std::size_t index, Counts& counts) {
  const cl_int error = clReleaseMemObject(held[index]);
  if (error != CL_SUCCESS) {
    std::fprintf(stderr, "clReleaseMemObject failed: %d\n", error);
    counts.unexpected = true;
  }
  held[index] = held.back();
  held.pop_back();
  ++counts.freed;
}

void work(const Options& options, unsigned number, cl_context context, Clock::time_point end,
          Counts& counts) {
  constexpr std::size_t kMostHeld = 16;
  std::mt19937_64 random(options.seed * 1000003 + number);
  std::vector<cl_mem> held;
  for (unsigned long long done = 0; options.operations == 0 || done < options.operations; ++done) {
    if (options.seconds != 0 && Clock::now() >= end) break;
    if (!held.empty() && (held.size() == kMostHeld || random() % 2 == 0)) {
      free_at(held, random() % held.size(), counts);
      continue;
    }
    const std::size_t size = 1 + random() % options.max_bytes;
    cl_int error = CL_SUCCESS;
    cl_mem buffer = clCreateBuffer(context, CL_MEM_READ_WRITE, size, nullptr, &error);
    if (buffer != nullptr) {
      held.push_back(buffer);
      ++counts.ok;
    } else if (is_refusal(error)) {
      ++counts.refused;
    } else {
      std::fprintf(stderr, "clCreateBuffer of %zu bytes failed: %d\n", size, error);
      counts.unexpected = true;
    }
  }
  while (!held.empty()) free_at(held, held.size() - 1, counts);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--threads") {
      options.threads = static_cast<unsigned>(option_number(argc, argv, &i));
    } else if (option == "--seconds") {
      options.seconds = option_number(argc, argv, &i);
    } else if (option == "--operations") {
      options.operations = option_number(argc, argv, &i);
    } else if (option == "--max-bytes") {
      options.max_bytes = option_number(argc, argv, &i);
    } else if (option == "--seed") {
      options.seed = option_number(argc, argv, &i);
    } else if (option == "--device") {
      options.device = static_cast<unsigned>(option_number(argc, argv, &i));
    } else {
      std::fprintf(stderr,
                   "usage: %s [--threads N] [--seconds T | --operations N] [--max-bytes B]\n"
                   "          [--seed S] [--device I]\n",
                   argv[0]);
      return kExitUsage;
    }
  }
  if (options.max_bytes == 0) options.max_bytes = 1;
  if (options.seconds == 0 && options.operations == 0) options.operations = 10000;

  cl_context context = make_context(pick_device(options.device));
  Counts counts;
  const Clock::time_point end = Clock::now() + std::chrono::seconds(options.seconds);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < options.threads; ++i) {
    threads.emplace_back(work, std::cref(options), i, context, end, std::ref(counts));
  }
  for (std::thread& thread : threads) thread.join();
  must("clReleaseContext", clReleaseContext(context));
  std::printf("ok %llu refused %llu freed %llu\n", counts.ok.load(), counts.refused.load(),
              counts.freed.load());
  return counts.unexpected ? kExitUnexpected : kExitOk;
}
