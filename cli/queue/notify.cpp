#include "cli/queue/notify.hpp"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

#include "core/posix.hpp"
#include "core/state_dir.hpp"

namespace chronos::queue {

Notifier::Notifier() {
  const char* named = trusted_env("NOTIFY_SOCKET");
  // A path, or "@" and a name in the abstract name space.
  if (named != nullptr && (named[0] == '/' || named[0] == '@')) socket_ = named;
  ::unsetenv("NOTIFY_SOCKET");
}

void Notifier::say(std::string_view state) const {
  sockaddr_un address{};
  if (socket_.empty() || socket_.size() >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return;
  ::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL,
           reinterpret_cast<const sockaddr*>(&address),
           static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size()));
}

}  // namespace chronos::queue
