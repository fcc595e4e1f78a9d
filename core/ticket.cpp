#include "core/ticket.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <type_traits>

#include "core/crash_point.hpp"
#include "core/slot_judge.hpp"

namespace chronos {
namespace {

constexpr std::uint64_t kMagic = 0x31544b544e524843;  // "CHRNTKT1"
constexpr std::uint32_t kVersion = 1;

struct TicketLayout {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t size;
  Token token;
  BootId boot_id;
  std::uint64_t number;
  std::uint64_t bytes;
  std::int32_t pid;
  std::uint32_t pid_namespace;
  std::uint64_t start_ticks;
  char device_key[192];
};
static_assert(std::is_trivially_copyable_v<TicketLayout>);

std::optional<TicketLayout> read_layout(int fd, const FileName& name, uid_t owner, off_t size) {
  TicketLayout layout{};
  const bool good = owner == name.uid && size == static_cast<off_t>(sizeof layout) &&
                    pread_all(fd, &layout, sizeof layout, 0) && layout.magic == kMagic &&
                    layout.version == kVersion && layout.size == sizeof layout &&
                    layout.token == name.token && layout.boot_id == this_boot() &&
                    layout.device_key[sizeof layout.device_key - 1] == '\0' && layout.bytes > 0 &&
                    layout.bytes <= kMaxBytes;
  return good ? std::optional(layout) : std::nullopt;
}

std::optional<Waiting> read_ticket(const StateDir& state, const FileName& name) {
  uid_t owner = 0;
  off_t size = 0;
  auto fd = open_file(state, name, O_RDONLY, owner, size);
  if (!fd) return std::nullopt;
  auto layout = read_layout(fd->get(), name, owner, size);
  if (!layout) return std::nullopt;
  KernelJudge judge(fd->get());
  const ProcessIdentity process{layout->pid, layout->pid_namespace, layout->start_ticks};
  if (!judge.lock_is_held(0) || judge.owner_lives(process) == Liveness::kDead) return std::nullopt;
  return Waiting{name, layout->device_key, layout->bytes, layout->number, layout->pid};
}

}  // namespace

Result<Ticket> Ticket::take(const StateDir& state, std::string_view device_key, std::uint64_t bytes,
                            std::uint64_t last) {
  TicketLayout layout{};
  layout.magic = kMagic;
  layout.version = kVersion;
  layout.size = sizeof layout;
  layout.token = random_token();
  layout.boot_id = this_boot();
  layout.number = last + 1;
  layout.bytes = bytes;
  const ProcessIdentity self = this_process();
  layout.pid = self.pid;
  layout.pid_namespace = self.pid_namespace;
  layout.start_ticks = self.start_ticks;
  device_key.copy(layout.device_key, sizeof layout.device_key - 1);

  const FileName name{::geteuid(), layout.token, FileKind::kTicket};
  const std::string_view bytes_of_it(reinterpret_cast<const char*>(&layout), sizeof layout);
  UniqueFd locked;
  auto made = make_file(state, name, sizeof layout, bytes_of_it, name.uid, &locked);
  if (!made) return pass_on(made);
  CHRONOS_POINT(ticket_made);
  return Ticket(state, name, std::move(locked));
}

Ticket::~Ticket() {
  if (!lock_) return;
  CHRONOS_POINT(ticket_leaving);
  remove_file(*state_, file_);
  CHRONOS_POINT(ticket_gone);
}

std::vector<Waiting> read_tickets(const StateDir& state, const std::vector<FileName>& names) {
  std::vector<Waiting> tickets;
  for (const FileName& name : names) {
    if (name.kind != FileKind::kTicket) continue;
    if (auto ticket = read_ticket(state, name)) tickets.push_back(std::move(*ticket));
  }
  std::sort(tickets.begin(), tickets.end(),
            [](const Waiting& a, const Waiting& b) { return a.number < b.number; });
  return tickets;
}

bool is_waiting(const StateDir& state, const FileName& ticket) {
  return read_ticket(state, ticket).has_value();
}

}  // namespace chronos
