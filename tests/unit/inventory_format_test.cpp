#include "core/inventory_format.hpp"

#include <rapidcheck.h>

#include "tests/unit/catch.hpp"

namespace chronos {
namespace {

Device sample(const std::string& name = "GPU", DeviceType type = DeviceType::kGpu,
              const std::string& pci = "") {
  Device device;
  device.name = name;
  device.vendor = "Vendor";
  device.platform = "Platform";
  device.opencl_version = "OpenCL 3.0";
  device.type = type;
  device.pci = pci;
  device.key = device_key("", pci, device.platform, name, 0);
  device.total_bytes = 1u << 30;
  return device;
}

std::string line(const nlohmann::json& json) { return json.dump() + "\n"; }

StoredInventory stored() {
  Inventory inventory{arrange({sample("A"), sample("B", DeviceType::kCpu)}), {"a warning"}};
  return {"boot", std::string(32, 'd'), 12345, inventory};
}

std::string names(const std::vector<Device>& devices) {
  std::string text;
  for (const Device& device : devices) text += device.name + " ";
  return text;
}

}  // namespace

TEST_CASE("a probe's answer is read line by line, as far as it came") {
  std::string text = line({{"step", "naming its devices"}, {"platform", "P"}}) +
                     line({{"devices", {device_to_json(sample())}}});
  ProbeAnswer cut = parse_probe_answer(text + "{\"do");
  CHECK(cut.devices.size() == 1);
  CHECK(cut.platform == "P");
  CHECK(!cut.done);
  CHECK(!cut.garbage);
  CHECK(parse_probe_answer(text + line({{"done", true}})).done);
  CHECK(parse_probe_answer(line({{"error", "why"}})).error == "why");
}

TEST_CASE("garbage in a probe's answer is noticed and what came before stands") {
  std::string good = line({{"devices", {device_to_json(sample())}}});
  for (const std::string& bad :
       {std::string("junk\n"), std::string("\n"), std::string("[]\n"), std::string("{}\n"),
        std::string("{\"done\":1}\n"), std::string("{\"step\":5}\n"),
        std::string("{\"devices\":{}}\n"), std::string("{\"devices\":[{}]}\n"),
        std::string("{\"error\":\"a\\u0007\"}\n"), std::string(100000, '[') + "\n",
        line({{"devices", {device_to_json(sample()), device_to_json(sample())}}}),
        line({{"done", true}}) + line({{"done", true}})}) {
    ProbeAnswer answer = parse_probe_answer(good + bad);
    INFO(bad.substr(0, 60));
    CHECK(answer.garbage);
    CHECK(answer.devices.size() == 1);
  }
}

TEST_CASE("devices are ordered by type, address, platform, then as the driver names them") {
  Device other_platform = sample("no address, platform A");
  other_platform.platform = "A";
  std::vector<Device> given = {sample("custom", DeviceType::kCustom),
                               sample("cpu", DeviceType::kCpu),
                               sample("z"),
                               sample("y"),
                               sample("far", DeviceType::kGpu, "00010000:01:00.0"),
                               sample("65", DeviceType::kGpu, "0000:65:00.0"),
                               sample("04", DeviceType::kGpu, "0000:04:00.0"),
                               other_platform,
                               sample("acc", DeviceType::kAccelerator)};
  auto arranged = arrange(given);
  CHECK(names(arranged) == "04 65 far no address, platform A z y acc cpu custom ");
  for (std::size_t i = 0; i < arranged.size(); ++i) CHECK(arranged[i].index == static_cast<int>(i));
  given.push_back(sample("same card, other driver", DeviceType::kGpu, "0000:04:00.0"));
  CHECK(names(arrange(given)) == names(arranged));
}

TEST_CASE("an inventory survives being stored") {
  auto back = parse_inventory(to_text(stored()));
  REQUIRE(back);
  CHECK(back->boot_id == "boot");
  CHECK(back->drivers_key == std::string(32, 'd'));
  CHECK(back->looked_at == 12345);
  CHECK(back->inventory.warnings == std::vector<std::string>{"a warning"});
  REQUIRE(back->inventory.devices.size() == 2);
  CHECK(device_to_json(back->inventory.devices[1]) ==
        device_to_json(stored().inventory.devices[1]));
  CHECK(back->inventory.devices[1].index == 1);
}

TEST_CASE("hostile inventories are refused") {
  const auto good = nlohmann::json::parse(to_text(stored()));
  auto refused = [&](auto change) {
    auto bad = good;
    change(bad);
    return !parse_inventory(bad.dump());
  };
  using Json = nlohmann::json;
  CHECK(!refused([](Json&) {}));
  for (auto& [name, value] : good.items()) {
    INFO(name);
    CHECK(refused([&](Json& j) { j.erase(name); }));
    CHECK(refused([&](Json& j) { j[name] = nullptr; }));
    CHECK(refused([&](Json& j) { j[name] = -1; }));
  }
  for (auto& [name, value] : good["devices"][0].items()) {
    INFO(name);
    CHECK(refused([&](Json& j) { j["devices"][0].erase(name); }));
    CHECK(refused([&](Json& j) { j["devices"][0][name] = Json::array(); }));
    CHECK(refused([&](Json& j) { j["devices"][0][name] = std::string(300, 'x'); }));
    CHECK(refused([&](Json& j) { j["devices"][0][name] = "line\nline"; }));
  }
  CHECK(refused([](Json& j) { j["devices"][0]["total_bytes"] = 1ull << 46; }));
  CHECK(refused([](Json& j) { j["devices"][0]["total_bytes"] = 1e300; }));
  CHECK(refused([](Json& j) { j["devices"][0]["total_bytes"] = -5; }));
  CHECK(refused([](Json& j) { j["devices"][0]["key"] = ""; }));
  CHECK(refused([](Json& j) { j["devices"][0]["type"] = "gpu"; }));
  CHECK(refused([](Json& j) { j["devices"][1]["key"] = j["devices"][0]["key"]; }));
  CHECK(refused([](Json& j) { j["devices"] = Json::array(); }));
  CHECK(refused([](Json& j) { j["schema"] = 2; }));
  CHECK(refused([](Json& j) { j["schema"] = 0; }));
  CHECK(refused([](Json& j) { j["warnings"] = {std::string(2000, 'w')}; }));
  CHECK(refused([](Json& j) { j["warnings"] = Json(100, "w"); }));
  CHECK(refused([](Json& j) {
    for (int i = 0; i < 300; ++i) {
      j["devices"].push_back(j["devices"][0]);
      j["devices"].back()["key"] = std::to_string(i);
    }
  }));
  CHECK(!parse_inventory(to_text(stored()) + std::string(kMaxInventoryFile, ' ')));
  CHECK(!parse_inventory(std::string(kMaxInventoryFile, '[')));
  CHECK(!parse_inventory(""));
}

TEST_CASE("damaged inventories are read or refused, never a crash") {
  const std::string good = to_text(stored());
  CHECK(rc::check("changed bytes", [&] {
    std::string bad = good;
    for (int i = *rc::gen::inRange(1, 4); i > 0; --i) {
      bad[*rc::gen::inRange<std::size_t>(0, bad.size())] = *rc::gen::arbitrary<char>();
    }
    parse_inventory(bad);
    parse_probe_answer(bad);
  }));
  for (std::size_t size = 0; size + 1 < good.size(); ++size) {
    CHECK(!parse_inventory(std::string_view(good).substr(0, size)));
  }
}

}  // namespace chronos
