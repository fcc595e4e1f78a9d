#include "core/policy_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <utility>

#include "core/text.hpp"

// This is the one file that includes toml++. No exceptions, no streams: with them it would bring
// the locales of libstdc++, and their start-up, into every program that the shim rides in.
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_ENABLE_WINDOWS_COMPAT 0
#define TOML_INT_CHARCONV 1
#define TOML_FLOAT_CHARCONV 1
#define TOML_MAX_NESTED_VALUES 16
// Damaged keys break an assumption of toml++ 3.3, which must neither end the program nor, with
// NDEBUG, be what the optimiser relies on.
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expr) static_assert(true)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnull-dereference"
#include <toml++/toml.h>
#pragma GCC diagnostic pop
#pragma pop_macro("NDEBUG")

namespace chronos {

const char* to_string(Unassigned rule) { return rule == Unassigned::kDeny ? "deny" : "allow"; }

const char* to_string(ExpiryAction action) {
  return action == ExpiryAction::kKill        ? "kill"
         : action == ExpiryAction::kTerminate ? "terminate"
                                              : "refuse";
}

bool DeviceRule::means(const Device& device) const {
  return selector == std::to_string(device.index) || selector == device.name ||
         selector == device.key || (!device.uuid.empty() && selector == "uuid:" + device.uuid) ||
         (!device.pci.empty() && selector == "pci:" + device.pci);
}

namespace {

// How deep toml++ recurses depends on the dots of a key, which it does not bound.
constexpr std::ptrdiff_t kMaxDotsOnALine = 64;

std::string_view type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or a time";
  }
}

class Reader {
 public:
  explicit Reader(const std::string& path) { file_.path = path; }

  void read(const toml::table& root);
  PolicyFile file_;
  std::vector<Mistake> mistakes_;

 private:
  static unsigned line_of(const toml::node& node) { return node.source().begin.line; }
  std::string where(unsigned line) const { return fmt::format("{}:{}", file_.path, line); }

  void mistake(unsigned line, std::string text) { mistakes_.push_back({line, std::move(text)}); }
  void wrong_type(const toml::node& node, const std::string& name, std::string_view wanted) {
    mistake(line_of(node), fmt::format("{} is {}; it must be {}", name, type_name(node), wanted));
  }

  template <class T>
  Setting<T> set(const toml::node& node, T value) const {
    return {std::move(value), where(line_of(node))};
  }

  // Calls `take(key, node)` for each key of `table`; what it answers false to is unknown.
  template <class Take>
  void each(const toml::table& table, const std::string& prefix, std::string_view allowed,
            Take take) {
    for (auto&& [key, node] : table) {
      if (take(key.str(), node)) continue;
      mistake(key.source().begin.line,
              fmt::format("unknown key {}; allowed are {}", name_of(prefix, key.str()), allowed));
    }
  }
  static std::string name_of(const std::string& prefix, std::string_view key) {
    const std::string shown = escaped(key, 80);
    return prefix.empty() ? shown : prefix + "." + shown;
  }

  const toml::table* table_of(const toml::node& node, const std::string& name) {
    if (const toml::table* table = node.as_table()) return table;
    wrong_type(node, name, "a table");
    return nullptr;
  }
  template <class Value, std::size_t N>
  void read_word(const toml::node& node, const std::string& name,
                 const std::array<Value, N>& values, std::optional<Setting<Value>>& out);
  void read_memory(const toml::node& node, const std::string& name, LimitSettings& out);
  void read_duration(const toml::node& node, const std::string& name, bool zero,
                     std::optional<Setting<std::uint64_t>>& out);
  void read_warnings(const toml::node& node, const std::string& name);
  void read_limits(const toml::node& node, const std::string& name, LimitSettings& out);
  void read_named(const toml::node& node, const std::string& name, std::vector<NamedLimits>& out);
  void read_names(const toml::node& node, const std::string& name,
                  std::optional<Setting<std::vector<std::string>>>& out);
  void read_devices(const toml::node& node);
  bool check_selector(std::string_view selector, unsigned line);
  void read_expiry(const toml::node& node);
};

template <class Value, std::size_t N>
void Reader::read_word(const toml::node& node, const std::string& name,
                       const std::array<Value, N>& values, std::optional<Setting<Value>>& out) {
  std::string allowed;
  for (std::size_t i = 0; i < N; ++i) {
    allowed += fmt::format("{}\"{}\"",
                           i == 0       ? ""
                           : i + 1 == N ? " or "
                                        : ", ",
                           to_string(values[i]));
  }
  const auto* text = node.as_string();
  if (text == nullptr) return wrong_type(node, name, allowed);
  for (Value value : values) {
    if (text->get() == to_string(value)) out = set(node, value);
  }
  if (!out) {
    mistake(line_of(node),
            fmt::format("{} is {}; it must be {}", name, quoted(text->get()), allowed));
  }
}

void Reader::read_memory(const toml::node& node, const std::string& name, LimitSettings& out) {
  constexpr std::string_view kAllowed =
      "a share of the device (0.5, \"50%\") or a size (\"24GiB\")";
  if (const auto* share = node.as_floating_point()) {
    const double value = share->get();
    if (std::isfinite(value) && value > 0 && value <= 1) {
      out.memory = set(node, MemoryAmount{value, 0});
    } else {
      mistake(line_of(node), fmt::format("{} must be above 0 and at most 1 as a share", name));
    }
    return;
  }
  const auto* text = node.as_string();
  if (text == nullptr) return wrong_type(node, name, kAllowed);
  auto amount = parse_memory(text->get());
  if (!amount) return mistake(line_of(node), fmt::format("{}: {}", name, amount.error().message));
  out.memory = set(node, *amount);
}

void Reader::read_duration(const toml::node& node, const std::string& name, bool zero,
                           std::optional<Setting<std::uint64_t>>& out) {
  std::string text;
  if (const auto* seconds = node.as_integer()) {
    text = std::to_string(seconds->get());
  } else if (const auto* words = node.as_string()) {
    text = words->get();
  } else {
    return wrong_type(node, name, "seconds (3600) or a duration (\"8h\")");
  }
  if (zero && (text == "0" || text == "0s")) {
    out = set(node, std::uint64_t{0});
    return;
  }
  auto duration = parse_duration(text);
  if (!duration) {
    return mistake(line_of(node), fmt::format("{}: {}", name, duration.error().message));
  }
  out = set(node, *duration);
}

// One time, or an array of them.
void Reader::read_warnings(const toml::node& node, const std::string& name) {
  std::vector<std::uint64_t> times;
  std::optional<Setting<std::uint64_t>> time;
  if (const toml::array* array = node.as_array()) {
    for (const toml::node& element : *array) {
      time.reset();
      read_duration(element, "an element of " + name, false, time);
      if (time) times.push_back(time->value);
    }
  } else {
    read_duration(node, name, true, time);
    if (time && time->value > 0) times.push_back(time->value);
  }
  std::sort(times.begin(), times.end(), std::greater<>());
  times.erase(std::unique(times.begin(), times.end()), times.end());
  file_.expiry.warn_before_ns = set(node, std::move(times));
}

void Reader::read_limits(const toml::node& node, const std::string& name, LimitSettings& out) {
  const toml::table* table = table_of(node, name);
  if (table == nullptr) return;
  each(*table, name, "memory, partitions and duration",
       [&](std::string_view key, const toml::node& value) {
         const std::string full = name_of(name, key);
         if (key == "memory") {
           read_memory(value, full, out);
         } else if (key == "partitions") {
           const auto* number = value.as_integer();
           if (number == nullptr) {
             wrong_type(value, full, "a whole number");
           } else if (number->get() < 0) {
             mistake(line_of(value), full + " must be 0 or more");
           } else {
             out.partitions = set(value, static_cast<std::uint64_t>(number->get()));
           }
         } else if (key == "duration") {
           read_duration(value, full, false, out.duration_ns);
         } else {
           return false;
         }
         return true;
       });
}

void Reader::read_named(const toml::node& node, const std::string& name,
                        std::vector<NamedLimits>& out) {
  const toml::table* table = table_of(node, name);
  if (table == nullptr) return;
  for (auto&& [key, value] : *table) {
    NamedLimits named{std::string(key.str()), where(key.source().begin.line), {}};
    read_limits(value, name_of(name, key.str()), named.limits);
    out.push_back(std::move(named));
  }
}

void Reader::read_names(const toml::node& node, const std::string& name,
                        std::optional<Setting<std::vector<std::string>>>& out) {
  constexpr std::string_view kWanted = "an array of names ([\"alice\"])";
  const toml::array* array = node.as_array();
  if (array == nullptr) return wrong_type(node, name, kWanted);
  std::vector<std::string> names;
  for (const toml::node& element : *array) {
    const auto* text = element.as_string();
    if (text == nullptr) return wrong_type(element, "an element of " + name, "a name");
    names.push_back(text->get());
  }
  out = set(node, std::move(names));
}

bool Reader::check_selector(std::string_view selector, unsigned line) {
  std::string_view wanted;
  if (selector.empty()) {
    wanted = "its number, its name, \"uuid:...\" or \"pci:...\"";
  } else if (selector.starts_with("uuid:") && !is_device_uuid(selector.substr(5))) {
    wanted = "32 lower case hexadecimal digits behind \"uuid:\"";
  } else if (selector.starts_with("pci:") && !is_pci_address(selector.substr(4))) {
    wanted = "an address such as 0000:65:00.0 behind \"pci:\"";
  } else {
    return true;
  }
  mistake(line, fmt::format("{} names no device; it must be {}", quoted(selector), wanted));
  return false;
}

void Reader::read_devices(const toml::node& node) {
  const toml::table* devices = table_of(node, "devices");
  if (devices == nullptr) return;
  for (auto&& [key, value] : *devices) {
    const std::string name = name_of("devices", key.str());
    const unsigned line = key.source().begin.line;
    const toml::table* table = table_of(value, name);
    if (table == nullptr || !check_selector(key.str(), line)) continue;
    DeviceRule rule{std::string(key.str()), where(line), {}, {}, {}};
    each(*table, name, "closed, reserved_users and reserved_groups",
         [&](std::string_view setting, const toml::node& what) {
           const std::string full = name_of(name, setting);
           if (setting == "closed") {
             const auto* flag = what.as_boolean();
             if (flag == nullptr) {
               wrong_type(what, full, "true or false");
             } else {
               rule.closed = set(what, flag->get());
             }
           } else if (setting == "reserved_users") {
             read_names(what, full, rule.users);
           } else if (setting == "reserved_groups") {
             read_names(what, full, rule.groups);
           } else {
             return false;
           }
           return true;
         });
    file_.devices.push_back(std::move(rule));
  }
}

void Reader::read_expiry(const toml::node& node) {
  const toml::table* table = table_of(node, "expiry");
  if (table == nullptr) return;
  each(*table, "expiry", "on_expiry, warn_before, terminate_after and grace",
       [&](std::string_view key, const toml::node& value) {
         const std::string full = name_of("expiry", key);
         if (key == "on_expiry") {
           read_word(
               value, full,
               std::array{ExpiryAction::kRefuse, ExpiryAction::kTerminate, ExpiryAction::kKill},
               file_.expiry.action);
         } else if (key == "warn_before") {
           read_warnings(value, full);
         } else if (key == "terminate_after") {
           read_duration(value, full, true, file_.expiry.terminate_after_ns);
         } else if (key == "grace") {
           read_duration(value, full, true, file_.expiry.grace_ns);
         } else {
           return false;
         }
         return true;
       });
}

void Reader::read(const toml::table& root) {
  each(root, "", "unassigned, limits, users, groups, devices and expiry",
       [&](std::string_view key, const toml::node& node) {
         if (key == "unassigned") {
           read_word(node, "unassigned", std::array{Unassigned::kAllow, Unassigned::kDeny},
                     file_.unassigned);
         } else if (key == "limits") {
           read_limits(node, "limits", file_.everyone);
         } else if (key == "users") {
           read_named(node, "users", file_.users);
         } else if (key == "groups") {
           read_named(node, "groups", file_.groups);
         } else if (key == "devices") {
           read_devices(node);
         } else if (key == "expiry") {
           read_expiry(node);
         } else {
           return false;
         }
         return true;
       });
  std::stable_sort(mistakes_.begin(), mistakes_.end(),
                   [](const Mistake& a, const Mistake& b) { return a.line < b.line; });
}

bool is_beyond_ascii(char c) { return static_cast<unsigned char>(c) >= 0x80; }

// TOML has them nowhere else.
bool has_bare_letters_beyond_ascii(std::string_view line) {
  char quote = '\0';
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != '\0') {
      if (c == '\\' && quote == '"') {
        ++i;
      } else if (c == quote) {
        quote = '\0';
      }
    } else if (c == '#') {
      return false;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (is_beyond_ascii(c)) {
      return true;
    }
  }
  return false;
}

// With others for them, different ones for different letters: keys must stay apart.
std::string without_letters_beyond_ascii(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (const char c : text) {
    if (is_beyond_ascii(c)) {
      plain += fmt::format("~{:02x}", static_cast<unsigned char>(c));
    } else {
      plain += c;
    }
  }
  return plain;
}

}  // namespace

tl::expected<PolicyFile, std::vector<Mistake>> parse_policy(std::string_view text,
                                                            const std::string& path) {
  auto give_up = [](unsigned line, std::string what) {
    return tl::unexpected<std::vector<Mistake>>({{line, std::move(what)}});
  };
  if (text.size() > kMaxPolicyBytes) {
    return give_up(0, fmt::format("longer than {} KiB", kMaxPolicyBytes >> 10));
  }
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // some editors begin files with it
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  constexpr const char* kBeyondAscii =
      "letters beyond ASCII stand only in quotes on one line, and in comments";
  const bool many_lines = text.find("\"\"\"") != text.npos || text.find("'''") != text.npos;
  unsigned line = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view one = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(one.size() + 1, rest.size()));
    ++line;
    if (std::count(one.begin(), one.end(), '.') > kMaxDotsOnALine) {
      return give_up(line, fmt::format("more than {} dots on one line", kMaxDotsOnALine));
    }
    if (has_bare_letters_beyond_ascii(one) ||
        (many_lines && std::any_of(one.begin(), one.end(), is_beyond_ascii))) {
      return give_up(line, kBeyondAscii);
    }
  }
  // toml++ 3.3 meets some letters with undefined behaviour where it looks for the end of something
  // that is no string. So it first sees characters in their place that stand in strings and
  // comments alone: what can be read so has letters nowhere else.
  const std::string plain = without_letters_beyond_ascii(text);
  toml::parse_result parsed = toml::parse(std::string_view(plain), std::string_view());
  if (parsed && plain != text) parsed = toml::parse(text, std::string_view());
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return give_up(error.source().begin.line, escaped(error.description(), 200));
  }
  Reader reader(path);
  reader.read(parsed.table());
  if (!reader.mistakes_.empty()) return tl::unexpected(std::move(reader.mistakes_));
  return std::move(reader.file_);
}

}  // namespace chronos
