#include "shim/programs.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "shim/contexts.hpp"
#include "shim/pointers.hpp"
#include "shim/process.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/partition.hpp"
#include "tests/unit/temp_state.hpp"

using namespace chronos;
using namespace chronos::shim;
using chronos::test::kMiB;
using chronos::test::partition_of;

namespace {

// What a driver knows of a program; its handle is a pointer to that.
struct Program {
  std::atomic<std::size_t> globals{0};
};

int stand_in = 0;
cl_device_id device() { return reinterpret_cast<cl_device_id>(&stand_in); }
cl_program handle(Program& program) { return reinterpret_cast<cl_program>(&program); }

template <class Value>
cl_int answer(const Value& value, std::size_t size, void* out, std::size_t* size_ret) {
  if (size_ret != nullptr) *size_ret = sizeof value;
  if (out != nullptr && size < sizeof value) return CL_INVALID_VALUE;
  if (out != nullptr) std::memcpy(out, &value, sizeof value);
  return CL_SUCCESS;
}

cl_int CL_API_CALL program_info(cl_program, cl_program_info what, size_t size, void* out,
                                size_t* size_ret) {
  return what == CL_PROGRAM_DEVICES ? answer(device(), size, out, size_ret) : CL_INVALID_VALUE;
}
cl_int CL_API_CALL build_info(cl_program program, cl_device_id, cl_program_build_info what,
                              size_t size, void* out, size_t* size_ret) {
  if (what == CL_PROGRAM_BUILD_STATUS) {
    return answer(cl_build_status{CL_BUILD_SUCCESS}, size, out, size_ret);
  }
  const std::size_t bytes = reinterpret_cast<Program*>(program)->globals.load();
  return answer(bytes, size, out, size_ret);
}
cl_int CL_API_CALL device_info(cl_device_id, cl_device_info, size_t, void*, size_t*) {
  return CL_INVALID_VALUE;
}

const Table& driver() {
  static const Table table = [] {
    Table made{};
    made.clGetProgramInfo = program_info;
    made.clGetProgramBuildInfo = build_info;
    made.clGetDeviceInfo = device_info;
    return made;
  }();
  return table;
}

// The device, charged to a partition.
class Charged {
 public:
  explicit Charged(std::uint64_t bytes) : partition_(partition_of(bytes)) {
    Place place;
    place.kind = Place::Kind::kCharged;
    place.attachment = partition_.get();
    std::lock_guard lock(process().mutex);
    process().devices[device()] = place;
  }
  Charged(const Charged&) = delete;
  Charged& operator=(const Charged&) = delete;
  ~Charged() {
    std::lock_guard lock(process().mutex);
    process().devices.erase(device());
    partition_.release();  // assignments are for good, and point at it
  }
  std::uint64_t used() const { return partition_->used(); }
  const Assignment& assignment() const { return assignment_of(driver(), device()); }

 private:
  std::unique_ptr<Attachment> partition_;
};

template <class Work>
void in_threads(int count, Work work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

TEST_CASE("programs built and released by several threads leave nothing", "[programs][threads]") {
  TempState state;
  Charged charged(64 * kMiB);
  Program shared;
  shared.globals = kMiB;
  note_program(handle(shared));
  REQUIRE(settle_program(driver(), handle(shared)));
  std::atomic<int> refused{0};

  in_threads(4, [&](int number) {
    std::vector<Program> own(3);
    std::vector<char> kernels(9);
    const auto kernel = [&](std::size_t i) { return reinterpret_cast<cl_kernel>(&kernels[i]); };
    for (int round = 0; round < 100; ++round) {
      note_program_retain(handle(shared));
      for (std::size_t i = 0; i < own.size(); ++i) {
        own[i].globals = kMiB * (1 + (static_cast<std::size_t>(number) + i) % 3);
        note_program(handle(own[i]));
        note_build(handle(own[i]));
        refused += is_program_refused(driver(), handle(own[i])) ? 1 : 0;
        note_kernel(kernel(3 * i), handle(own[i]));
        note_clone(kernel(3 * i + 1), kernel(3 * i));
        note_kernel(kernel(3 * i + 2), handle(shared));
        give_back(note_program_release(handle(own[i])));
      }
      shared.globals = kMiB * static_cast<std::size_t>(1 + round % 2);
      refused += settle_program(driver(), handle(shared)) ? 0 : 1;  // built again
      for (std::size_t i = 0; i < kernels.size(); ++i) {
        note_kernel_retain(kernel(i));
        give_back(note_kernel_release(kernel(i)));
        give_back(note_kernel_release(kernel(i)));
      }
      give_back(note_program_release(handle(shared)));
    }
  });
  CHECK(refused == 0);
  shared.globals = kMiB;
  CHECK(settle_program(driver(), handle(shared)));
  CHECK(charged.used() == kMiB);
  give_back(note_program_release(handle(shared)));
  CHECK(charged.used() == 0);
}

TEST_CASE("threads that build for the last bytes get them once", "[programs][threads]") {
  TempState state;
  Charged charged(3 * kMiB);
  for (int round = 0; round < 50; ++round) {
    std::vector<Program> programs(4);
    std::atomic<int> built{0};
    in_threads(4, [&](int number) {
      Program& mine = programs[static_cast<std::size_t>(number)];
      mine.globals = 2 * kMiB;
      note_program(handle(mine));
      built += settle_program(driver(), handle(mine)) ? 1 : 0;
    });
    // Requests that are looked at together may refuse each other, but never are two admitted.
    REQUIRE(built <= 1);
    REQUIRE(charged.used() == static_cast<std::uint64_t>(built) * 2 * kMiB);
    for (Program& program : programs) give_back(note_program_release(handle(program)));
    REQUIRE(charged.used() == 0);
  }
}

TEST_CASE("memory by address, kept and freed by several threads", "[pointers][threads]") {
  TempState state;
  Charged charged(64 * kMiB);
  const Assignment& assignment = charged.assignment();
  in_threads(4, [&](int) {
    std::vector<char> places(16);
    for (int round = 0; round < 300; ++round) {
      for (char& place : places) {
        const Receipt receipt = reserve(assignment, 4096);
        if (receipt.is_charged()) keep_pointer(&place, {1, receipt});
      }
      if (!is_charged_memory(&places[3], 1)) return;
      void* some[] = {&places[0], &places[1]};
      {
        detail::FreeBatch batch(2, some);
        if (round % 2 == 0) batch.put_back();
      }
      for (char& place : places) give_back(take_pointer(&place).receipt);
    }
  });
  CHECK(charged.used() == 0);
}
