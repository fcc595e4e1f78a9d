#include "core/ticket.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <type_traits>

#include "core/crash_point.hpp"
#include "core/slot_judge.hpp"

namespace chronos {
namespace {

constexpr std::uint64_t kMagic = 0x31544b544e524843;  // "CHRNTKT1"
constexpr std::uint32_t kVersion = 2;

struct TicketHead {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t size;  // of the file
  Token token;
  BootId boot_id;
  std::uint64_t number;
  std::uint32_t count;    // of the devices that follow, so many are waited for
  std::uint32_t devices;  // that follow
  std::int32_t pid;
  std::uint32_t pid_namespace;
  std::uint64_t start_ticks;
  std::uint64_t duration_ns;
};
struct TicketDevice {
  std::uint64_t bytes;
  char key[192];
};
static_assert(std::is_trivially_copyable_v<TicketHead> && sizeof(TicketHead) == 88);
static_assert(std::is_trivially_copyable_v<TicketDevice> && sizeof(TicketDevice) == 200);

std::optional<Waiting> read_ticket(const StateDir& state, const FileName& name) {
  uid_t owner = 0;
  off_t size = 0;
  auto fd = open_file(state, name, O_RDONLY, owner, size);
  TicketHead head{};
  if (!fd || owner != name.uid || !pread_all(fd->get(), &head, sizeof head, 0)) return std::nullopt;
  const bool good = head.magic == kMagic && head.version == kVersion && head.token == name.token &&
                    head.boot_id == this_boot() && head.devices > 0 &&
                    head.devices <= kMaxCandidates && head.count > 0 &&
                    head.count <= head.devices && head.size == size &&
                    head.size == sizeof head + head.devices * sizeof(TicketDevice);
  if (!good) return std::nullopt;
  KernelJudge judge(fd->get());
  const ProcessIdentity process{head.pid, head.pid_namespace, head.start_ticks};
  if (!judge.lock_is_held(0) || judge.owner_lives(process) == Liveness::kDead) return std::nullopt;
  std::vector<TicketDevice> devices(head.devices);
  if (!pread_all(fd->get(), devices.data(), devices.size() * sizeof(TicketDevice), sizeof head)) {
    return std::nullopt;
  }
  Waiting waiting{name, {{}, head.count, head.duration_ns}, head.number, head.pid};
  for (const TicketDevice& device : devices) {
    const bool whole = device.key[sizeof device.key - 1] == '\0' && device.bytes > 0 &&
                       device.bytes <= kMaxBytes && !waiting.claim.wants(device.key);
    if (!whole) return std::nullopt;
    waiting.claim.wishes.push_back({device.key, device.bytes});
  }
  return waiting;
}

}  // namespace

Result<Ticket> Ticket::take(const StateDir& state, const Claim& claim, std::uint64_t last) {
  TicketHead head{};
  head.magic = kMagic;
  head.version = kVersion;
  head.size = static_cast<std::uint32_t>(sizeof head + claim.wishes.size() * sizeof(TicketDevice));
  head.token = random_token();
  head.boot_id = this_boot();
  head.number = last + 1;
  head.count = static_cast<std::uint32_t>(claim.count);
  head.devices = static_cast<std::uint32_t>(claim.wishes.size());
  const ProcessIdentity self = this_process();
  head.pid = self.pid;
  head.pid_namespace = self.pid_namespace;
  head.start_ticks = self.start_ticks;
  head.duration_ns = claim.duration_ns;
  std::string content(reinterpret_cast<const char*>(&head), sizeof head);
  for (const Claim::Wish& wish : claim.wishes) {
    TicketDevice device{};
    device.bytes = wish.bytes;
    wish.device_key.copy(device.key, sizeof device.key - 1);
    content.append(reinterpret_cast<const char*>(&device), sizeof device);
  }

  const FileName name{::geteuid(), head.token, FileKind::kTicket};
  UniqueFd locked;
  auto made = make_file(state, name, content.size(), content, name.uid, &locked);
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
