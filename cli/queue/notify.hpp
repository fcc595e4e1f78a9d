// Tells a service manager how a service stands (sd_notify(3)'s protocol: a datagram of NAME=value
// lines to the socket that NOTIFY_SOCKET names). Does nothing where there is none.
#pragma once

#include <string>
#include <string_view>

namespace chronos::queue {

class Notifier {
 public:
  // Takes the variable out of the environment: children are not this service.
  Notifier();
  bool is_wanted() const { return !socket_.empty(); }
  void say(std::string_view state) const;

 private:
  std::string socket_;
};

}  // namespace chronos::queue
