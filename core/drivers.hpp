// Which OpenCL drivers are installed, found as the ICD loaders find them. Reads files and the
// environment, loads nothing. Any thread.
#pragma once

#include <string>
#include <vector>

namespace chronos {

struct Driver {
  std::string library;  // as an .icd file names it: a path, or a name for the dynamic linker
  std::string icd;      // the .icd file; empty if the environment names the library itself
  std::string problem;  // why there is no library to ask ("names no library"); else empty

  // "driver libfoo.so (/etc/OpenCL/vendors/foo.icd)", one printable line.
  std::string label() const;
};

struct Drivers {
  std::vector<Driver> list;  // in an order that does not depend on the file system; no duplicates
  bool is_fallback = false;  // there is no driver; the list holds only libOpenCL.so.1
  std::string key;           // 32 hexadecimal digits: the same while drivers and settings are
};

// Sources: the libraries of OCL_ICD_FILENAMES (Khronos), and OCL_ICD_VENDORS (a folder, an .icd
// file or a library; ocl-icd) or else OPENCL_VENDOR_PATH or else /etc/OpenCL/vendors. Nothing is
// taken from the environment under AT_SECURE. Our own shim is left out.
Drivers find_drivers();

}  // namespace chronos
