#include "cli/uncovered.hpp"

#include <elf.h>
#include <fmt/format.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "core/posix.hpp"

namespace chronos::cli {
namespace {

constexpr char kStaticProgram[] = "is linked statically: no library can be preloaded into it";
constexpr char kSetUid[] = "is set-uid or set-gid: the dynamic linker drops LD_PRELOAD";
constexpr char kCapabilities[] = "gained privileges: the dynamic linker drops LD_PRELOAD";
constexpr char kNotLoaded[] = "has the shim in LD_PRELOAD, and has not loaded it";
constexpr char kEnvironment[] = "was started without the shim in LD_PRELOAD";

enum class Elf { kNone, kDynamic, kStatic };

Elf kind_of(int fd) {
  Elf64_Ehdr header{};
  if (!pread_all(fd, &header, sizeof header, 0) ||
      std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_phentsize != sizeof(Elf64_Phdr)) {
    return Elf::kNone;
  }
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr part{};
    const auto at = static_cast<off_t>(header.e_phoff + i * sizeof part);
    if (!pread_all(fd, &part, sizeof part, at)) return Elf::kNone;
    if (part.p_type == PT_INTERP) return Elf::kDynamic;
  }
  return Elf::kStatic;
}

// The interpreter of a "#!" line; empty if there is none.
std::string interpreter_of(int fd) {
  char line[256] = "";
  const ssize_t got = retry_eintr([&] { return ::pread(fd, line, sizeof line - 1, 0); });
  if (got < 3 || line[0] != '#' || line[1] != '!') return {};
  std::string_view text(line + 2);
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  return std::string(text.substr(0, text.find_first_of(" \t\n")));
}

std::string judge_file(const std::string& path, int depth) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat st {};
  if (!fd || ::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode)) return {};
  const bool other_user = (st.st_mode & S_ISUID) != 0 && st.st_uid != ::getuid();
  const bool other_group =
      (st.st_mode & S_ISGID) != 0 && (st.st_mode & S_IXGRP) != 0 && st.st_gid != ::getgid();
  const std::string interpreter = interpreter_of(fd.get());
  if (!interpreter.empty()) return depth > 4 ? "" : judge_file(interpreter, depth + 1);
  const Elf kind = kind_of(fd.get());
  if (kind == Elf::kStatic) return kStaticProgram;
  if (kind == Elf::kDynamic && (other_user || other_group)) return kSetUid;
  return {};
}

std::string find_in_path(const std::string& program) {
  if (program.find('/') != std::string::npos) return program;
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    std::string file = fmt::format("{}/{}", end == 0 ? "." : rest.substr(0, end), program);
    if (::access(file.c_str(), X_OK) == 0) return file;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

std::string link_target(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t length = ::readlink(path.c_str(), target, sizeof target);
  return length > 0 ? std::string(target, static_cast<std::size_t>(length)) : std::string();
}

bool read_whole(const std::string& path, std::string& text) {
  return read_small_file(path.c_str(), text, std::size_t{4} << 20);
}

bool has_secure_bit(pid_t pid) {
  std::string text;
  if (!read_whole(fmt::format("/proc/{}/auxv", pid), text)) return false;
  Elf64_auxv_t entry{};
  for (std::size_t at = 0; at + sizeof entry <= text.size(); at += sizeof entry) {
    std::memcpy(&entry, text.data() + at, sizeof entry);
    if (entry.a_type == AT_SECURE) return entry.a_un.a_val != 0;
  }
  return false;
}

}  // namespace

std::string why_not_preloaded(const std::string& path) { return judge_file(path, 0); }

UncoveredProcesses::UncoveredProcesses(std::string shim)
    : shim_(std::move(shim)), self_(link_target("/proc/self/exe")) {}

void UncoveredProcesses::judge_command(const std::string& program) {
  const std::string path = find_in_path(program);
  if (path.empty()) return;
  const std::string why = why_not_preloaded(path);
  char resolved[PATH_MAX];
  if (!why.empty())
    add(::realpath(path.c_str(), resolved) != nullptr ? resolved : path, why, false);
}

void UncoveredProcesses::look() {
  for (const Process& process : descendants_of(::getpid(), all_processes())) judge(process);
}

void UncoveredProcesses::judge(const Process& process) {
  const std::string folder = fmt::format("/proc/{}", process.pid);
  const std::string program = link_target(folder + "/exe");
  // Hidden from us; or a child of ours that is not yet another program.
  if (program.empty() || program == self_) return;
  std::string& judged = judged_[{process.pid, process.started}];
  if (judged == program) return;
  judged = program;
  std::string text;
  if (!read_whole(folder + "/maps", text) || text.find(shim_) != text.npos) return;
  // What is preloaded is mapped before the C library.
  const bool has_started = text.find("/libc.so") != text.npos || text.find("/libc-") != text.npos;
  std::string why = why_not_preloaded(program);
  // Another reason than its file's must be seen for certain: the program may just be starting.
  if (why.empty() && has_secure_bit(process.pid)) why = kCapabilities;
  if (why.empty() && has_started) {
    why = read_whole(folder + "/environ", text) && text.find(shim_) != text.npos ? kNotLoaded
                                                                                 : kEnvironment;
  }
  if (why.empty()) {
    judged.clear();  // look again
    return;
  }
  add(program, why, true);
}

void UncoveredProcesses::add(const std::string& program, const std::string& why, bool seen) {
  auto same = [&](const Found& one) { return one.program == program && one.why == why; };
  auto known = std::find_if(found_.begin(), found_.end(), same);
  if (known == found_.end()) known = found_.insert(found_.end(), {program, why, 0});
  known->processes += seen ? 1 : 0;
}

std::vector<UncoveredProcesses::Found> UncoveredProcesses::found() const { return found_; }

}  // namespace chronos::cli
