#include <algorithm>

#include "core/doctor/findings.hpp"

namespace chronos::doctor {
namespace {

Json trial_json(const Trial& trial) {
  return {{"layer", trial.layer},
          {"driver", trial.driver},
          {"problem", trial.problem.empty() ? Json(nullptr) : Json(trial.problem)}};
}

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

}  // namespace

const char* to_string(Status status) {
  switch (status) {
    case Status::kOk:
      return "ok";
    case Status::kNote:
      return "note";
    case Status::kWarning:
      return "warning";
    case Status::kProblem:
      break;
  }
  return "problem";
}

bool has_problem(const std::vector<Finding>& findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& one) { return one.status == Status::kProblem; });
}

Json machine_json(const Facts& facts, const std::vector<Finding>& findings) {
  Json json = json_answer();
  json["healthy"] = !has_problem(findings);
  json["findings"] = Json::array();
  for (const Finding& one : findings) {
    json["findings"].push_back(Json{{"status", to_string(one.status)},
                                    {"topic", one.topic},
                                    {"text", one.text},
                                    {"remedy", text_or_null(one.remedy)}});
  }
  json["version"] = facts.version;
  json["shim"] = text_or_null(facts.shim);
  json["state_dir"] = facts.state.path;
  json["devices"] = Json::array();
  for (const Device& device : facts.devices) {
    json["devices"].push_back(Json{{"device", device.index},
                                   {"name", text_or_null(device.name)},
                                   {"identity", device.key},
                                   {"total_bytes", device.total_bytes}});
  }
  json["loaders"] = Json::array();
  for (const LoaderFact& loader : facts.loaders) {
    json["loaders"].push_back(Json{{"path", loader.path},
                                   {"name", text_or_null(loader.name)},
                                   {"version", text_or_null(loader.version)},
                                   {"found_first", loader.is_found},
                                   {"opencl_layers", trial_json(loader.layers)}});
  }
  json["doors"] = {{"ld_preload", trial_json(facts.preload)},
                   {"driver_door_alone", trial_json(facts.driver_door)}};
  json["enforcement"] = enforce::to_string(facts.enforcement.state);
  return json;
}

}  // namespace chronos::doctor
