#include "cli/enforce/record.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "core/enforce/places.hpp"

namespace chronos::cli {

using namespace chronos::enforce;

// One line that says what it was, and its bytes.
std::string record_text(const std::optional<FileText>& before) {
  if (!before) return "chronos-enforce 1 absent\n";
  return fmt::format("chronos-enforce 1 file mode={:o} uid={} gid={} size={}\n", before->mode,
                     before->uid, before->gid, before->bytes.size()) +
         before->bytes;
}

std::optional<Record> parse_record(std::string_view text) {
  if (text == "chronos-enforce 1 absent\n") return Record{};
  const std::size_t newline = text.find('\n');
  if (newline > 200) return std::nullopt;
  const std::string line(text.substr(0, newline));
  unsigned mode = 0, uid = 0, gid = 0;
  std::size_t size = 0;
  if (std::sscanf(line.c_str(), "chronos-enforce 1 file mode=%o uid=%u gid=%u size=%zu", &mode,
                  &uid, &gid, &size) != 4 ||
      text.size() - newline - 1 != size) {
    return std::nullopt;
  }
  return Record{FileText{std::string(text.substr(newline + 1)), mode & 07777U, uid, gid}};
}

Result<void> keep_record(const std::optional<FileText>& before) {
  return replace_file(kRecord, kRecordDraft, {record_text(before), 0644, 0, 0});
}

std::optional<Record> read_record() {
  auto file = read_file(kRecord, kMostPreloadText + 4096);
  if (!file || !*file || (*file)->uid != 0) return std::nullopt;
  return parse_record((*file)->bytes);
}

}  // namespace chronos::cli
