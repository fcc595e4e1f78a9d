#include "core/inventory_store.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/unit/catch.hpp"
#include "tests/unit/sandbox.hpp"

namespace chronos {
namespace {

using test::SetEnv;
using test::TempFolder;
namespace fs = std::filesystem;

const std::string kKey(32, 'a');
const std::string kOtherKey = "b" + std::string(31, '0');

Inventory inventory(const std::string& name = "GPU") {
  Device device;
  device.key = "name:P/" + name + "#0";
  device.name = name;
  device.total_bytes = 1000;
  return {{device}, {}};
}

std::optional<StoredInventory> read_any(const InventoryStore& store) {
  return store.read([](const StoredInventory&) { return true; });
}

struct Folder {
  TempFolder temp;
  SetEnv env{"CHRONOS_STATE_DIR", temp.path()};
  StateDir state = std::move(*StateDir::open_or_make());
  InventoryStore store{state, kKey};

  std::string only_file() const {
    std::string found;
    for (const auto& entry : fs::directory_iterator(temp.path())) {
      if (entry.path().string().ends_with(".devices")) found = entry.path().string();
    }
    REQUIRE(!found.empty());
    return found;
  }
  bool is_trusted() const { return read_any(store).has_value(); }
};

}  // namespace

TEST_CASE("an inventory is remembered in one file of one's own") {
  Folder folder;
  CHECK(!folder.is_trusted());
  REQUIRE(!folder.store.write(inventory("first"), 1));
  REQUIRE(!folder.store.write(inventory("second"), 2));
  CHECK(folder.temp.count(".devices") == 1);
  CHECK(read_any(folder.store)->inventory.devices[0].name == "second");
  struct stat info {};
  ::stat(folder.only_file().c_str(), &info);
  CHECK((info.st_mode & 07777) == 0644);
  std::string name = fs::path(folder.only_file()).filename();
  std::string head = "chronos." + std::to_string(::geteuid()) + "." + kKey.substr(0, 16);
  CHECK(name.find(head) == 0);
  CHECK(name.size() == head.size() + 16 + 8);
}

TEST_CASE("inventories of other settings live beside it, not without bound") {
  Folder folder;
  REQUIRE(!InventoryStore(folder.state, kOtherKey).write(inventory("other"), 1));
  REQUIRE(!folder.store.write(inventory("mine"), 1));
  CHECK(read_any(InventoryStore(folder.state, kOtherKey))->inventory.devices[0].name == "other");
  CHECK(read_any(folder.store)->inventory.devices[0].name == "mine");
  for (char c : std::string("0123456789cdef")) {
    REQUIRE(!InventoryStore(folder.state, std::string(32, c)).write(inventory(), 1));
  }
  CHECK(folder.temp.count(".devices") == 8);
}

TEST_CASE("the caller decides which are good enough") {
  Folder folder;
  REQUIRE(!folder.store.write(inventory(), 7));
  CHECK(folder.store.read([](const StoredInventory& s) { return s.looked_at == 7; }));
  CHECK(!folder.store.read([](const StoredInventory& s) { return s.looked_at > 7; }));
}

TEST_CASE("files that may be another's doing are not trusted") {
  Folder folder;
  REQUIRE(!folder.store.write(inventory(), 1));
  const std::string file = folder.only_file();
  REQUIRE(folder.is_trusted());

  SECTION("a second link") {
    fs::create_hard_link(file, folder.temp / "link");
    CHECK(!folder.is_trusted());
  }
  SECTION("a symbolic link") {
    fs::rename(file, folder.temp / "elsewhere");
    fs::create_symlink(folder.temp / "elsewhere", file);
    CHECK(!folder.is_trusted());
  }
  SECTION("a fifo, without waiting for a writer") {
    fs::remove(file);
    REQUIRE(::mkfifo(file.c_str(), 0644) == 0);
    CHECK(!folder.is_trusted());
  }
  SECTION("another owner") {
    if (::geteuid() != 0) return;
    REQUIRE(::chown(file.c_str(), 12345, 12345) == 0);
    CHECK(!folder.is_trusted());
  }
  SECTION("too large") {
    fs::resize_file(file, kMaxInventoryFile + 1);
    CHECK(!folder.is_trusted());
  }
  SECTION("cut short") {
    fs::resize_file(file, fs::file_size(file) / 2);
    CHECK(!folder.is_trusted());
  }
  SECTION("of another boot") {
    auto text = to_text({"00000000-0000-0000-0000-000000000000", kKey, 1, inventory()});
    std::ofstream(file) << text;
    CHECK(!folder.is_trusted());
  }
  SECTION("of other drivers, under a name that says otherwise") {
    fs::rename(file, folder.temp / "mine");
    REQUIRE(!InventoryStore(folder.state, kOtherKey).write(inventory(), 1));
    std::string other = folder.only_file();
    fs::rename(other, file);
    CHECK(!folder.is_trusted());
  }
}

TEST_CASE("root's inventory is preferred to one's own, which is preferred to a stranger's") {
  if (::geteuid() != 0) return;
  constexpr uid_t kAlice = 12345;
  Folder folder;
  ::chmod(folder.temp.path().c_str(), 01777);
  REQUIRE(!folder.store.write(inventory("root's"), 1));
  REQUIRE(::seteuid(kAlice) == 0);
  auto failed = folder.store.write(inventory("alice's"), 2);
  auto preferred = read_any(folder.store);
  auto own = folder.store.read([](const StoredInventory& s) { return s.looked_at > 1; });
  REQUIRE(::seteuid(kAlice + 1) != 0);  // only root may
  REQUIRE(::seteuid(0) == 0);
  CHECK(!failed);
  CHECK(preferred->inventory.devices[0].name == "root's");
  REQUIRE(own);
  CHECK(own->inventory.devices[0].name == "alice's");
  auto roots = folder.store.read([](const StoredInventory& s) { return s.looked_at > 1; });
  CHECK(!roots);  // alice's is no more to root than a stranger's
}

TEST_CASE("one look at a time, with a bounded wait") {
  using std::chrono::milliseconds;
  Folder folder;
  UniqueFd held = folder.store.lock(milliseconds(0));
  REQUIRE(held);
  auto begin = std::chrono::steady_clock::now();
  CHECK(!folder.store.lock(milliseconds(50)));
  CHECK(std::chrono::steady_clock::now() - begin >= milliseconds(50));
  held.reset();
  CHECK(folder.store.lock(milliseconds(0)));
}

TEST_CASE("a lock file that is not one's own is done without") {
  using std::chrono::milliseconds;
  Folder folder;
  const std::string name = folder.temp / "chronos." + std::to_string(::geteuid()) + ".probe.lock";
  SECTION("a symbolic link") { fs::create_symlink(folder.temp.write("target", ""), name); }
  SECTION("a fifo") { REQUIRE(::mkfifo(name.c_str(), 0600) == 0); }
  SECTION("a second link") { fs::create_hard_link(folder.temp.write("target", ""), name); }
  SECTION("a folder") { fs::create_directory(name); }
  CHECK(!folder.store.lock(milliseconds(5'000)));
}

TEST_CASE("reading what is remembered is fast") {
  Folder folder;
  REQUIRE(!folder.store.write(inventory(), 1));
  for (int i = 0; i < 100; ++i)
    folder.temp.write("chronos.1000." + std::to_string(i) + ".grant", "");
  auto best = std::chrono::nanoseconds::max();
  for (int i = 0; i < 200; ++i) {
    auto begin = std::chrono::steady_clock::now();
    REQUIRE(InventoryStore(folder.state, kKey).read([](const auto&) { return true; }));
    best = std::min<std::chrono::nanoseconds>(best, std::chrono::steady_clock::now() - begin);
  }
  CHECK(best < std::chrono::milliseconds(3));  // far below it; sanitizers take their share
  WARN("reading a remembered inventory among 100 files: " << best.count() / 1000 << " us");
}

}  // namespace chronos
