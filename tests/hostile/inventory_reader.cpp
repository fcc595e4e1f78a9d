#include "core/inventory_format.hpp"
#include "tests/hostile/readers.hpp"
#include "tests/hostile/scene.hpp"

namespace chronos::test {
namespace {

class InventoryReader final : public Reader {
 public:
  const char* name() const override { return "inventory"; }
  std::string make(Mutator& mutator) override {
    static const std::string valid = whole();
    static const std::vector<std::string> words = {
        "null", "true", "[]", "{}", "\"\\ud800\"", "1e999", "-1", "\"a\":", "[[[[[[[["};
    return mutator.text(valid, words);
  }
  std::vector<std::string> seeds() override {
    const std::string device = device_to_json(gpu()).dump();
    return {whole(),
            "{}",
            "[]",
            R"({"step": "naming its devices", "platform": "P"})"
            "\n{\"devices\": [" +
                device + "]}\n{\"done\": true}\n",
            "{\"devices\": [" + device + "," + device + "]}\n",
            "{\"devices\": [" + too_large() + "]}\n",
            whole(too_large()),
            R"({"error": "cannot be loaded"})",
            "{\"done\": false}\n"};
  }
  bool read(std::string_view bytes) override {
    const ProbeAnswer answer = parse_probe_answer(bytes);
    check(answer.devices);
    for (const std::string* text : {&answer.step, &answer.platform, &answer.error}) {
      if (!text->empty()) require_line(*text, "a probe's text");
    }
    auto stored = parse_inventory(bytes);
    if (!stored) return !answer.devices.empty();
    const Inventory& inventory = stored->inventory;
    require(!inventory.devices.empty(), "an inventory of nothing");
    check(inventory.devices);
    for (std::size_t i = 0; i < inventory.devices.size(); ++i) {
      require(inventory.devices[i].index == static_cast<int>(i), "a device with another's number");
    }
    for (const std::string& line : inventory.warnings) {
      if (!line.empty()) require_line(line, "a warning");
    }
    const std::string text = to_text(*stored);
    auto again = parse_inventory(text);
    require(again && to_text(*again) == text, "an inventory that cannot be written and read");
    return true;
  }

 private:
  static std::string too_large() {
    auto device = device_to_json(gpu());
    device["total_bytes"] = ~std::uint64_t{0};
    return device.dump();
  }

  // An inventory of this one device.
  static std::string whole(const std::string& device) {
    auto all = nlohmann::json::parse(whole());
    all["devices"] = {nlohmann::json::parse(device)};
    return all.dump() + "\n";
  }

  static std::string whole() {
    Inventory inventory;
    inventory.devices = {gpu(), gpu()};
    inventory.devices[1].key = "pci:0000:65:00.0";
    inventory.devices[1].pci = "0000:65:00.0";
    inventory.warnings = {"some driver did not answer"};
    return to_text({"boot", "key", 7, inventory});
  }

  static void check(const std::vector<Device>& devices) {
    require(devices.size() <= kMaxInventoryDevices, "too many devices");
    for (const Device& device : devices) {
      require_line(device.key, "a device's key");
      if (!device.name.empty()) require_line(device.name, "a device's name");
      require(device.total_bytes <= kMaxBytes, "a device larger than can be counted");
      auto same = device_from_json(device_to_json(device));
      require(same && same->key == device.key && same->total_bytes == device.total_bytes,
              "a device that cannot be written and read");
    }
    const std::vector<Device> once = arrange(devices), twice = arrange(once);
    require(once.size() <= devices.size() && once.size() == twice.size(), "devices out of nothing");
    for (std::size_t i = 0; i < once.size(); ++i) {
      require(once[i].key == twice[i].key && once[i].index == static_cast<int>(i),
              "an order of chance");
    }
  }
};

}  // namespace

Reader* inventory_reader() {
  static auto* const reader = new InventoryReader;
  return reader;
}

}  // namespace chronos::test
