// Files: whole reads, and writes that either happen completely or not at all.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "tersor/artifact/artifact.h"
#include "tersor/base/error.h"
#include "tersor/base/memory.h"

namespace tersor::artifact {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

[[noreturn]] void fail(const char* what, const std::string& path) {
  throw ArtifactError(message("artifact: ", what, " ", path, ": ", std::strerror(errno)));
}

[[noreturn]] void fail_to_write(const std::string& path) {
  throw ArtifactError(message("save: path must be a place that can be written to, got '", path,
                              "' (cannot write: ", std::strerror(errno), ")"));
}

// Not zeroed before it is read into, and recycled: that is a tenth of loading a small network.
Buffer read_all(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail("cannot open", path);
  struct stat status;
  if (::fstat(file.get(), &status) != 0) fail("cannot read", path);
  if (!S_ISREG(status.st_mode))
    throw ArtifactError("artifact: " + path + " must be a regular file");
  Buffer bytes(static_cast<size_t>(status.st_size));
  size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t n = ::read(file.get(), bytes.as<uint8_t>() + at, bytes.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot read", path);
    if (n == 0) throw ArtifactError("artifact: " + path + " became shorter while it was read");
    at += static_cast<size_t>(n);
  }
  return bytes;
}

}  // namespace

void write_file(const std::string& path, const Artifact& artifact, Profile profile) {
  const std::vector<uint8_t> bytes = encode(artifact, profile);
  // In the same folder, so that the rename stays on one file system and is atomic.
  static std::atomic<unsigned> counter{0};
  const std::string temporary = message(path, ".", ::getpid(), ".", counter++, ".tmp");
  Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (file.get() < 0) fail_to_write(path);
  const auto give_up = [&] {
    const int error = errno;
    ::unlink(temporary.c_str());
    errno = error;
    fail_to_write(path);
  };
  size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t n = ::write(file.get(), bytes.data() + at, bytes.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) give_up();
    at += static_cast<size_t>(n);
  }
  if (::close(file.release()) != 0 || std::rename(temporary.c_str(), path.c_str()) != 0) give_up();
}

Artifact read_file(const std::string& path, bool verify) {
  const Buffer bytes = read_all(path);
  return decode(bytes.as<uint8_t>(), bytes.size(), verify);
}

std::vector<StoredTensor> read_tensors(const std::string& path,
                                       const std::vector<std::string>& names, bool verify) {
  const Buffer bytes = read_all(path);
  return decode_tensors(bytes.as<uint8_t>(), bytes.size(), names, verify);
}

}  // namespace tersor::artifact
