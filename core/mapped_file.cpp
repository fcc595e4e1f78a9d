#include "core/mapped_file.hpp"

#include <string>

namespace chronos {
namespace {

namespace ipc = boost::interprocess;

// Lets Boost map a descriptor.
class OpenedFile {
 public:
  explicit OpenedFile(int fd) : fd_(fd) {}
  ipc::mapping_handle_t get_mapping_handle() const {
    return ipc::ipcdetail::mapping_handle_from_file_handle(fd_);
  }

 private:
  int fd_;
};

}  // namespace

Result<std::unique_ptr<ipc::mapped_region>> map_file(int fd, ipc::mode_t mode, std::size_t size) {
  try {
    return std::make_unique<ipc::mapped_region>(OpenedFile(fd), mode, 0, size);
  } catch (const ipc::interprocess_exception& error) {
    return fail(ErrorCode::kSystem, std::string("cannot be mapped: ") + error.what());
  }
}

}  // namespace chronos
