#include "core/drivers.hpp"

#include "core/look.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/sandbox.hpp"

namespace chronos {
namespace {

using test::SetEnv;
using test::TempFolder;

std::string libraries(const Drivers& drivers) {
  std::string text;
  for (const Driver& driver : drivers.list) text += driver.library + ";";
  return text;
}

}  // namespace

TEST_CASE("a folder of .icd files is read in the order of the names") {
  TempFolder folder;
  folder.write("b.icd", "libb.so\n");
  folder.write("a.icd", "  liba.so \r\nlibignored.so\n");
  folder.write("c.icd.bak", "libc.so\n");
  folder.write("d.icd", "libb.so\n");  // named twice
  folder.write("e.icd", "/usr/lib/libchronos_shim.so\n");
  folder.write("f.icd", "\n");
  SetEnv vendors("OCL_ICD_VENDORS", folder.path());
  Drivers drivers = find_drivers();
  CHECK(!drivers.is_fallback);
  CHECK(libraries(drivers) == "liba.so;libb.so;;");
  CHECK(drivers.list[0].label() == "driver liba.so (" + folder / "a.icd" + ")");
  CHECK(drivers.list[2].problem == "names no library");
  CHECK(drivers.list[2].label() == "driver file " + folder / "f.icd");
}

TEST_CASE("OCL_ICD_VENDORS may name a file or a library") {
  TempFolder folder;
  folder.write("a.icd", "liba.so");
  folder.write("b.icd", "libb.so");
  SetEnv path("OPENCL_VENDOR_PATH", folder.path());
  CHECK(libraries(find_drivers()) == "liba.so;libb.so;");
  {
    SetEnv vendors("OCL_ICD_VENDORS", folder / "b.icd");
    CHECK(libraries(find_drivers()) == "libb.so;");
  }
  {
    SetEnv vendors("OCL_ICD_VENDORS", "a.icd");  // a bare name: in the usual folder
    CHECK(libraries(find_drivers()) == "liba.so;");
  }
  {
    SetEnv vendors("OCL_ICD_VENDORS", "missing.icd");
    CHECK(find_drivers().list[0].problem == "cannot be read: No such file or directory");
  }
  {
    SetEnv vendors("OCL_ICD_VENDORS", "libdirect.so");
    SetEnv files("OCL_ICD_FILENAMES", "libone.so::libtwo.so");
    CHECK(libraries(find_drivers()) == "libone.so;libtwo.so;libdirect.so;");
  }
}

TEST_CASE("without a driver the loader is asked") {
  TempFolder folder;
  SetEnv vendors("OCL_ICD_VENDORS", folder.path());
  Drivers drivers = find_drivers();
  CHECK(drivers.is_fallback);
  CHECK(libraries(drivers) == "libOpenCL.so.1;");
}

TEST_CASE("the key follows drivers and their settings") {
  TempFolder folder;
  folder.write("a.icd", "liba.so");
  SetEnv vendors("OCL_ICD_VENDORS", folder.path());
  const std::string key = find_drivers().key;
  CHECK(key.size() == 32);
  CHECK(find_drivers().key == key);
  {
    SetEnv other("POCL_DEVICES", "cpu");
    CHECK(find_drivers().key != key);
  }
  {
    SetEnv unrelated("CHRONOS_UNRELATED", "1");
    CHECK(find_drivers().key == key);
  }
  std::string library = folder.write("libx.so", "1");
  folder.write("b.icd", library);
  const std::string with_path = find_drivers().key;
  CHECK(with_path != key);
  folder.write("libx.so", "22");
  CHECK(find_drivers().key != with_path);
}

TEST_CASE("a probe's environment has no shim and hides no device") {
  const char* environment[] = {"PATH=/bin",
                               "LD_PRELOAD=/a/libchronos_shim.so:/b/other.so libchronos_shim.so",
                               "OPENCL_LAYERS=/x",
                               "CHRONOS_PARTITION=p1",
                               "CUDA_VISIBLE_DEVICES=1",
                               "NVIDIA_VISIBLE_DEVICES=1",
                               "ROCR_VISIBLE_DEVICES=1",
                               "HIP_VISIBLE_DEVICES=1",
                               "GPU_DEVICE_ORDINAL=1",
                               "ZE_AFFINITY_MASK=1",
                               "ONEAPI_DEVICE_SELECTOR=1",
                               "SYCL_DEVICE_FILTER=1",
                               "CUDA_VISIBLE_DEVICES_NOT=1",
                               nullptr};
  CHECK(probe_environment(const_cast<char**>(environment)) ==
        std::vector<std::string>{"PATH=/bin", "LD_PRELOAD=/b/other.so",
                                 "CUDA_VISIBLE_DEVICES_NOT=1"});
  const char* only_shim[] = {"LD_PRELOAD=/a/libchronos_shim.so", nullptr};
  CHECK(probe_environment(const_cast<char**>(only_shim)).empty());
}

}  // namespace chronos
