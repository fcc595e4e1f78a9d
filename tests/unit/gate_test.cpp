#include "shim/gate.hpp"

#include "core/registry.hpp"
#include "shim/hooks/charged.hpp"
#include "shim/process.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/partition.hpp"
#include "tests/unit/temp_state.hpp"

using namespace chronos;
using namespace chronos::shim;
using chronos::test::kMiB;
using chronos::test::partition_of;

TEST_CASE("a receipt keeps its parts apart", "[gate]") {
  Receipt receipt(0x1ff, 0xff, kMaxBytes);
  Receipt same(receipt.word());
  CHECK(same.is_charged());
  CHECK(same.epoch() == 0x1ff);
  CHECK(same.assignment() == 0xff);
  CHECK(same.bytes() == kMaxBytes);
  CHECK(Receipt(0, 0, 0).is_charged());
  CHECK_FALSE(Receipt().is_charged());
  CHECK(Receipt(3, 7, 11).epoch() == 3);
  CHECK(Receipt(3, 7, 11).assignment() == 7);
  CHECK(Receipt(3, 7, 11).bytes() == 11);
}

TEST_CASE("several partitions are charged all or none", "[gate]") {
  TempState state;
  auto small = partition_of(4 * kMiB);
  auto large = partition_of(10 * kMiB);
  // Named, because GCC 14 takes a reference that comes back for one into a temporary argument.
  const std::vector<Attachment*> attachments = {large.get(), small.get(), large.get()};
  const Assignment& both = assignment_for(attachments, nullptr);
  CHECK(both.attachments.size() == 2);
  CHECK(&both == &assignment_for({small.get(), large.get()}, nullptr));

  const Receipt receipt = reserve(both, 3 * kMiB);
  REQUIRE(receipt.is_charged());
  CHECK(small->used() == 3 * kMiB);
  CHECK(large->used() == 3 * kMiB);
  CHECK_FALSE(reserve(both, 2 * kMiB).is_charged());  // fits the large one only
  CHECK(large->used() == 3 * kMiB);
  give_back(receipt);
  give_back(Receipt());
  CHECK(small->used() == 0);
  CHECK(large->used() == 0);
  // Assignments are for good, and point at these.
  small.release();
  large.release();
}

TEST_CASE("a reason refuses everything", "[gate]") {
  static const std::string why = "partition p1 was not found";
  const std::vector<Attachment*> no_attachments;
  const Assignment& none = assignment_for(no_attachments, &why);
  CHECK_FALSE(none.is_free());
  CHECK_FALSE(reserve(none, 1).is_charged());
  CHECK(assignment_for({}, nullptr).is_free());
}

TEST_CASE("a receipt of the parent is worth nothing in a child", "[gate][processes]") {
  TempState state;
  (void)process();
  auto place = partition_of(10 * kMiB);
  const std::vector<Attachment*> attachments = {place.get()};
  const Assignment& assignment = assignment_for(attachments, nullptr);
  const Receipt receipt = reserve(assignment, 4 * kMiB);
  REQUIRE(receipt.is_charged());
  const std::uint64_t before = epoch();
  Receipt foreign(before + 1, assignment.index, 4 * kMiB);
  give_back(foreign);
  CHECK(place->used() == 4 * kMiB);
  give_back(receipt);
  CHECK(place->used() == 0);
  place.release();
}

TEST_CASE("what a driver gives beyond the largest device is taken back", "[gate]") {
  TempState state;
  auto partition = partition_of(4 * kMiB);
  const std::vector<Attachment*> attachments = {partition.get()};
  const Assignment& assignment = assignment_for(attachments, nullptr, false, 64 * kMiB);
  const Table table{};
  int stand_in = 0;
  auto context = reinterpret_cast<cl_context>(&stand_in);
  int asked = 0;
  int undone = 0;
  auto ask = [&](std::size_t size, cl_int* error) {
    return allocate_charged(
        table, context, &assignment, size, error, [&]() -> void* { return ++asked, &stand_in; },
        [&](void*) { ++undone; });
  };

  cl_int error = 77;
  CHECK(ask(64 * kMiB, &error) == nullptr);  // some device could: the driver is not asked
  CHECK(error == CL_OUT_OF_RESOURCES);
  CHECK((asked == 0 && undone == 0));
  error = 77;
  CHECK(ask(64 * kMiB + 1, &error) == nullptr);
  CHECK(error == CL_OUT_OF_RESOURCES);
  CHECK((asked == 1 && undone == 1));
  CHECK(partition->used() == 0);
  CHECK(ask(4 * kMiB, &error) == &stand_in);
  CHECK(partition->used() == 4 * kMiB);
  give_back(take_pointer(&stand_in).receipt);
  CHECK(partition->used() == 0);
}

TEST_CASE("partitions that are over and empty give their numbers back", "[gate]") {
  TempState state;
  auto registry = Registry::open();
  std::vector<std::unique_ptr<Attachment>> attachments;
  const Assignment* kept = nullptr;
  Receipt held;
  for (std::size_t i = 0; i < kMaxAssignments + 44; ++i) {
    attachments.push_back(partition_of(4 * kMiB));
    Attachment* attachment = attachments.back().get();
    const std::vector<Attachment*> wanted = {attachment};
    const Assignment& assignment = assignment_for(wanted, nullptr);
    REQUIRE(assignment.why == nullptr);
    const Receipt receipt = reserve(assignment, kMiB);
    REQUIRE(receipt.is_charged());
    CHECK_FALSE(attachment->retire_if_over());  // it goes on
    REQUIRE(registry->release(token_text(attachment->grant().token).insert(0, "@")));
    CHECK_FALSE(attachment->retire_if_over());  // it holds something
    if (i == 3) {
      kept = &assignment;
      held = receipt;
      continue;
    }
    give_back(receipt);
    REQUIRE(attachment->retire_if_over());
    CHECK_FALSE(reserve(assignment, kMiB).is_charged());  // a thread that has it in its hand
    free_assignments_of(attachment);
  }
  CHECK(attachments[3]->used() == kMiB);
  CHECK(&assignment_for({attachments[3].get()}, nullptr) == kept);
  give_back(held);
  CHECK(attachments[3]->used() == 0);
}
