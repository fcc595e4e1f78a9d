#include "cli/arguments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "cli/description.hpp"
#include "core/text.hpp"
#include "core/units.hpp"

namespace chronos::cli {

namespace {

// CLI11's help without what a reader does not need: types, REQUIRED, Needs, Excludes.
class HelpFormatter : public CLI::Formatter {
 public:
  explicit HelpFormatter(std::string usage) : usage_(std::move(usage)) { column_width(26); }

  std::string make_usage(const CLI::App* /*app*/, std::string name) const override {
    return fmt::format("Usage: {} {}\n", name, usage_);
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_items_expected_max() > 0 && option->nonpositional()
               ? " " + option->get_type_name()
               : "";
  }

 private:
  std::string usage_;
};

}  // namespace

Arguments::Arguments(const std::string& verb, const std::string& usage, const std::string& summary)
    : verb_(verb), usage_(usage), app_(summary, "chronos " + verb) {
  app_.formatter(std::make_shared<HelpFormatter>(usage));
  app_.set_help_flag("-h,--help", "Print this help");
  app_.add_option("--color", color_, "Colour on a terminal: auto, always or never")
      ->type_name("WHEN")
      ->check(one_of({"auto", "always", "never"}));
}

void Arguments::add_json() { app_.add_flag("--json", json_, "Print JSON instead of text"); }

std::optional<int> Arguments::parse(std::vector<std::string> arguments) {
  if (std::optional<Description>* wanted = wanted_description()) {
    *wanted = describe(app_, verb_, usage_);
    return kDone;
  }
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
  try {
    app_.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    return print(app_.help());
  } catch (const CLI::ParseError& error) {
    return report_parse_error(error);
  }
  return std::nullopt;
}

int Arguments::report_parse_error(const CLI::ParseError& error) {
  auto is_option = [](const std::string& text) { return text.size() > 1 && text[0] == '-'; };
  std::string message = error.what();
  std::vector<std::string> extras = app_.remaining();
  auto option = std::find_if(extras.begin(), extras.end(), is_option);
  if (option != extras.end()) {
    // Before "memory is required", where it was meant for the memory.
    message = "unknown option " + chronos::quoted(*option);
  } else if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !extras.empty()) {
    message = "unexpected argument " + chronos::quoted(extras[0]);
  } else if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    message = message.substr(0, message.find(':')) + " takes exactly one value";
  }
  return report({ErrorCode::kInvalid, message, help_hint(verb_)});
}

Screen Arguments::screen() const {
  return Screen::of_stdout(color_ == "always"  ? ColorMode::kAlways
                           : color_ == "never" ? ColorMode::kNever
                                               : ColorMode::kAuto);
}

CLI::Validator one_of(std::vector<std::string> choices) {
  auto check = [choices](std::string& value) -> std::string {
    if (std::find(choices.begin(), choices.end(), value) != choices.end()) return {};
    return fmt::format("{} is none of {}", chronos::quoted(value), fmt::join(choices, ", "));
  };
  return CLI::Validator(check, "", kOneOf + fmt::format("{}", fmt::join(choices, ",")));
}

CLI::Validator offered(const std::vector<std::string>& choices) {
  return CLI::Validator([](std::string&) { return std::string(); }, "",
                        kOneOf + fmt::format("{}", fmt::join(choices, ",")));
}

Result<std::uint64_t> parse_wait(const std::string& text) {
  if (text == "0" || text == "0s") return 0;
  return parse_duration(text);
}

Result<std::vector<std::uint64_t>> parse_waits(const std::string& text) {
  std::vector<std::uint64_t> waits;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    Result<std::uint64_t> wait = parse_wait(text.substr(at, end - at));
    if (!wait) return pass_on(wait);
    waits.push_back(*wait);
    at = end + 1;
  }
  std::sort(waits.begin(), waits.end(), std::greater<>());
  waits.erase(std::unique(waits.begin(), waits.end()), waits.end());
  if (waits.back() > 0) return waits;
  if (waits.size() == 1) return std::vector<std::uint64_t>();
  return fail(ErrorCode::kInvalid,
              "invalid times " + chronos::quoted(text) + ": 0 (never) stands alone");
}

std::string help_hint(std::string_view verb) { return fmt::format("see `chronos help {}`", verb); }

}  // namespace chronos::cli
