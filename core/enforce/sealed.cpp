#include "core/enforce/sealed.hpp"

#include <elf.h>
#include <fmt/format.h>
#include <link.h>

#include <cstdint>
#include <cstring>

namespace chronos::enforce {
namespace {

using Header = ElfW(Ehdr);
using ProgramHeader = ElfW(Phdr);

constexpr std::string_view kMark = "\nCHRONOS_SEALED ";
constexpr std::size_t kSumDigits = 16;

// FNV-1a: against accidents, not against anybody.
std::uint64_t sum_of(std::string_view bytes) {
  std::uint64_t sum = 14695981039346656037ULL;
  for (const char byte : bytes) {
    sum = (sum ^ static_cast<unsigned char>(byte)) * 1099511628211ULL;
  }
  return sum;
}

// Reads the header if it is that of a shared library for this kind of machine.
bool read_header(std::string_view library, Header& header) {
  if (library.size() < sizeof header) return false;
  std::memcpy(&header, library.data(), sizeof header);
  constexpr unsigned char kClass = sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32;
#if defined(__x86_64__)
  constexpr unsigned kMachine = EM_X86_64;
#elif defined(__aarch64__)
  constexpr unsigned kMachine = EM_AARCH64;
#else
  const unsigned kMachine = header.e_machine;
#endif
  return std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == kClass &&
         header.e_type == ET_DYN && header.e_machine == kMachine &&
         header.e_phentsize == sizeof(ProgramHeader) && header.e_phnum > 0;
}

}  // namespace

Result<std::string> seal(std::string_view library, std::string_view version) {
  Header header{};
  if (!read_header(library, header)) {
    return fail(ErrorCode::kDamaged, "it is no shared library of this machine's kind",
                "install Chronos again");
  }
  const std::size_t size = header.e_phnum * sizeof(ProgramHeader);
  if (header.e_phoff > library.size() || library.size() - header.e_phoff < size) {
    return fail(ErrorCode::kDamaged, "it is cut off", "install Chronos again");
  }
  const std::string headers(library.substr(header.e_phoff, size));
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    ProgramHeader part{};
    std::memcpy(&part, headers.data() + i * sizeof part, sizeof part);
    if (part.p_offset > library.size() || library.size() - part.p_offset < part.p_filesz) {
      return fail(ErrorCode::kDamaged, "it is cut off", "install Chronos again");
    }
  }
  std::string out(library);
  std::string line = fmt::format("{}version={} sum=", kMark, version);
  // The headers must be aligned, so blanks stand before the line.
  std::size_t padding = 0;
  while ((out.size() + padding + line.size() + kSumDigits + 1) % alignof(ProgramHeader) != 0) {
    ++padding;
  }
  out.append(padding, ' ');
  header.e_phoff = out.size() + line.size() + kSumDigits + 1;
  std::memcpy(out.data(), &header, sizeof header);
  out += line;
  const std::uint64_t sum = sum_of(out + headers);
  return out + fmt::format("{:016x}\n", sum) + headers;
}

Seal read_seal(std::string_view file) {
  Seal found;
  const std::size_t mark = file.rfind(kMark);
  if (mark == file.npos) return found;
  std::size_t at = mark + kMark.size();
  constexpr std::string_view kVersion = "version=", kSum = " sum=";
  const std::size_t sum_at = file.find(kSum, at);
  if (file.substr(at, kVersion.size()) != kVersion || sum_at == file.npos) return found;
  at += kVersion.size();
  if (sum_at - at > 64) return found;
  found.version = file.substr(at, sum_at - at);
  const std::size_t digits = sum_at + kSum.size();
  Header header{};
  if (!read_header(file, header) || header.e_phoff != digits + kSumDigits + 1) return found;
  if (file.size() != header.e_phoff + header.e_phnum * sizeof(ProgramHeader)) return found;
  std::string summed(file.substr(0, digits));
  summed += file.substr(header.e_phoff);
  found.is_whole = fmt::format("{:016x}", sum_of(summed)) == file.substr(digits, kSumDigits);
  return found;
}

}  // namespace chronos::enforce
