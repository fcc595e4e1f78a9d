// A libFuzzer target of one reader of tests/hostile, CHRONOS_FUZZ_READER. The reader's own checks
// are the properties; a violated one aborts.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/hostile/readers.hpp"
#include "tests/unit/temp_state.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const TempState state;
  static chronos::test::Reader* const reader = chronos::test::CHRONOS_FUZZ_READER();
  reader->read(reader->file_of({reinterpret_cast<const char*>(data), size}));
  return 0;
}
