#include "victim.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "socket.h"

namespace jobkit {

std::string write_victim(const std::string& path, int culprit) {
  std::string text = "{\"victim_of\": " + std::to_string(culprit) + "}\n";
  std::string whole = path + "." + std::to_string(getpid());
  Fd file(open(whole.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  bool written = file && write(file.get(), text.data(), text.size()) == ssize_t(text.size());
  if (written && rename(whole.c_str(), path.c_str()) == 0) return "";
  std::string why = path + ": " + std::strerror(errno);
  unlink(whole.c_str());
  return why;
}

}  // namespace jobkit
