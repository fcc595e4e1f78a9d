#include <elf.h>
#include <link.h>

#include <cstring>
#include <string>

#include "cli/enforce/record.hpp"
#include "core/enforce/preload_text.hpp"
#include "core/enforce/sealed.hpp"
#include "core/enforce/standing.hpp"
#include "core/posix.hpp"
#include "tests/unit/catch.hpp"

using namespace chronos;
using namespace chronos::enforce;

namespace {

constexpr char kOurs[] = "/usr/lib/chronos/x.so";

std::string own_library() {
  std::string bytes;
  REQUIRE(read_small_file("/proc/self/exe", bytes, std::size_t{256} << 20));
  return bytes;
}

// On, and well.
Standing healthy() {
  Standing standing;
  standing.is_named = standing.has_library = standing.is_whole = true;
  standing.has_layer_file = standing.reached_this = true;
  standing.library_version = "1.2.3";
  return standing;
}

State judged(Standing standing) {
  judge(standing, "1.2.3");
  CHECK((standing.state == State::kOn || standing.state == State::kOff) ==
        standing.problems.empty());
  return standing.state;
}

}  // namespace

TEST_CASE("ld.so.preload is read as glibc reads it", "[enforce]") {
  CHECK(preload_names("").empty());
  CHECK(preload_names("# /a\n").empty());
  const std::vector<std::string> three{"/a", "/b", "/c"};
  CHECK(preload_names("/a /b:/c") == three);
  CHECK(preload_names("::\t/a#x /z\n/b # y\n\n/c") == three);
  CHECK(names_entry("/a " + std::string(kOurs), kOurs));
  CHECK_FALSE(names_entry("# " + std::string(kOurs), kOurs));
  CHECK_FALSE(names_entry(std::string(kOurs) + "x", kOurs));
}

TEST_CASE("a name is added at the end and taken out wherever it stands", "[enforce]") {
  for (const char* const before : {"", "/a\n", "/a", "# c", "/a # c\n\n", ": \t"}) {
    INFO(before);
    const std::string with = with_entry(before, kOurs);
    const std::size_t size = std::strlen(before);
    CHECK(with.substr(0, size) == before);
    CHECK(preload_names(with).back() == kOurs);
    const std::string rest = without_entry(with, kOurs);
    CHECK(preload_names(rest) == preload_names(before));
    CHECK(rest.substr(0, size) == before);
  }
  const std::string ours = kOurs;
  CHECK(without_entry(ours, kOurs).empty());
  CHECK(without_entry(ours + "\n/a\n", kOurs) == "/a\n");
  CHECK(without_entry("/a " + ours + " /b\n", kOurs) == "/a  /b\n");
  CHECK(without_entry(ours + " # why\n/a", kOurs) == " # why\n/a");
  CHECK(without_entry(ours + "\n" + ours + "\n", kOurs).empty());
  CHECK(without_entry("# " + ours + "\n/a", kOurs) == "# " + ours + "\n/a");
}

TEST_CASE("a sealed library is whole until a byte is missing or different", "[enforce]") {
  const std::string library = own_library();
  const auto made = seal(library, "1.2.3");
  REQUIRE(made.has_value());
  const std::string& sealed = *made;
  CHECK(read_seal(sealed).is_whole);
  CHECK(read_seal(sealed).version == "1.2.3");
  // What is mapped is what it was, and the headers are the last that there is.
  ElfW(Ehdr) header{};
  std::memcpy(&header, sealed.data(), sizeof header);
  CHECK(header.e_phoff + header.e_phnum * sizeof(ElfW(Phdr)) == sealed.size());
  CHECK(header.e_phoff % alignof(ElfW(Phdr)) == 0);
  CHECK(sealed.substr(sizeof header, library.size() - sizeof header) ==
        library.substr(sizeof header));
  for (const std::size_t cut :
       {std::size_t{1}, std::size_t{56}, std::size_t{900}, sealed.size() / 2, sealed.size()}) {
    CHECK_FALSE(read_seal(sealed.substr(0, sealed.size() - cut)).is_whole);
  }
  for (const std::size_t at : {std::size_t{60}, sealed.size() / 2, sealed.size() - 1}) {
    std::string scribbled = sealed;
    scribbled[at] = static_cast<char>(scribbled[at] ^ 1);
    CHECK_FALSE(read_seal(scribbled).is_whole);
  }
  CHECK_FALSE(read_seal(library).is_whole);
  CHECK_FALSE(seal("", "1").has_value());
  CHECK_FALSE(seal("#!/bin/sh\n" + std::string(100, 'x'), "1").has_value());
  CHECK_FALSE(seal(library.substr(0, 4096), "1").has_value());
}

TEST_CASE("a record gives back what it was made of", "[enforce]") {
  const auto absent = cli::parse_record(cli::record_text(std::nullopt));
  REQUIRE(absent.has_value());
  CHECK_FALSE(absent->before.has_value());
  for (const std::string& bytes : {std::string(), std::string("/a\n\0b", 5), std::string("x")}) {
    const auto record = cli::parse_record(cli::record_text(FileText{bytes, 0664, 0, 7}));
    REQUIRE(record.has_value());
    REQUIRE(record->before.has_value());
    CHECK(record->before->bytes == bytes);
    CHECK(record->before->mode == 0664U);
    CHECK(record->before->gid == 7U);
  }
  const std::string whole = cli::record_text(FileText{"/a\n", 0644, 0, 0});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CHECK_FALSE(cli::parse_record(whole.substr(0, size)).has_value());
  }
}

TEST_CASE("what enforcement stands for follows from what is there", "[enforce]") {
  CHECK(judged(healthy()) == State::kOn);
  CHECK(judged({}) == State::kOff);
  Standing standing = healthy();
  standing.is_named = false;
  CHECK(judged(standing) == State::kPartly);
  standing = healthy();
  standing.has_library = false;
  CHECK(judged(standing) == State::kBroken);
  standing = healthy();
  standing.is_whole = false;
  CHECK(judged(standing) == State::kBroken);
  standing = healthy();
  standing.reached_this = false;
  CHECK(judged(standing) == State::kBroken);
  standing = healthy();
  standing.library_version = "1.2.2";
  CHECK(judged(standing) == State::kPartly);
  standing = healthy();
  standing.has_layer_file = false;
  CHECK(judged(standing) == State::kPartly);
  standing = healthy();
  standing.problems = {"somebody else may write it"};
  CHECK(judged(standing) == State::kBroken);
}
