#include "cli/queue/attempt_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "cli/queue/place.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

constexpr std::size_t kRoom = 4096;
constexpr std::size_t kLongestReason = 1024;

struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

Result<AttemptFile> AttemptFile::take(const std::string& path) {
  auto failed = [&](ErrorCode code) {
    return fail(code, fmt::format("{}: {}", path_text(path), errno_text(errno)));
  };
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return failed(errno == ENOSPC ? ErrorCode::kFull : ErrorCode::kSystem);
  struct flock lock = whole_file();
  if (::fcntl(fd.get(), F_SETLK, &lock) != 0) {
    return failed(errno == EAGAIN || errno == EACCES ? ErrorCode::kInUse : ErrorCode::kSystem);
  }
  const std::string zeros(kRoom, '\0');
  if (!pwrite_all(fd.get(), zeros.data(), zeros.size(), 0)) {
    return failed(errno == ENOSPC || errno == EDQUOT ? ErrorCode::kFull : ErrorCode::kSystem);
  }
  return AttemptFile(path, std::move(fd));
}

void AttemptFile::leave(const Outcome& outcome) const {
  Json json;
  json["state"] = static_cast<int>(outcome.state);
  if (outcome.exit_status) json["exit_status"] = *outcome.exit_status;
  json["reason"] = outcome.reason.substr(0, kLongestReason);
  const std::string text = json_text(json);
  if (text.size() < kRoom && pwrite_all(fd_.get(), text.data(), text.size(), 0)) {
    ::fdatasync(fd_.get());
  }
}

void AttemptFile::remove() const { ::unlink(path_.c_str()); }

std::optional<pid_t> holder_of(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return std::nullopt;
  struct flock lock = whole_file();
  if (::fcntl(fd.get(), F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return std::nullopt;
  return lock.l_pid;
}

std::optional<Outcome> left_behind(const std::string& path) {
  std::string text;
  if (!read_small_file(path.c_str(), text, kRoom)) return std::nullopt;
  const std::size_t end = text.find('\0');
  if (end == 0 || end == text.npos) return std::nullopt;
  const Json json = Json::parse(text.substr(0, end), nullptr, false);
  if (!json.is_object() || !json.contains("state") || !json["state"].is_number_integer()) {
    return std::nullopt;
  }
  Outcome outcome;
  outcome.state =
      json["state"] == static_cast<int>(JobState::kDone) ? JobState::kDone : JobState::kFailed;
  if (json.contains("exit_status") && json["exit_status"].is_number_integer()) {
    outcome.exit_status = json["exit_status"].get<int>();
  }
  if (json.contains("reason") && json["reason"].is_string()) {
    outcome.reason = json["reason"].get<std::string>();
  }
  return outcome;
}

}  // namespace chronos::queue
