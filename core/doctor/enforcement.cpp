#include "core/doctor/findings.hpp"
#include "core/text.hpp"

namespace chronos::doctor {

std::vector<Finding> enforcement_findings(const enforce::Standing& standing) {
  constexpr char kTopic[] = "enforcement";
  std::vector<Finding> out;
  auto add = [&](Status status, const std::string& text, std::string remedy) {
    out.push_back({status, kTopic, escaped(text, 1000), std::move(remedy)});
  };
  switch (standing.state) {
    case enforce::State::kOff:
      add(Status::kOk, "off: who starts programs without the shim is not limited", {});
      break;
    case enforce::State::kOn:
      add(Status::kOk, "on: every program of this machine starts with the shim", {});
      break;
    case enforce::State::kPartly:
    case enforce::State::kBroken:
      for (const std::string& problem : standing.problems) {
        const bool is_partly = standing.state == enforce::State::kPartly;
        add(is_partly ? Status::kWarning : Status::kProblem, problem,
            "sudo chronos enforce on, or off");
      }
      break;
  }
  for (const std::string& note : standing.notes) add(Status::kNote, note, {});
  return out;
}

}  // namespace chronos::doctor
