#include "socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "process.h"

namespace jobkit {
namespace {

void set_option(int descriptor, int level, int name, int value) {
  // Options only tune; a kernel that refuses one still carries the data.
  (void)::setsockopt(descriptor, level, name, &value, sizeof value);
}

// Close on exec, never block, never raise SIGPIPE.
bool prepare(int descriptor) {
#ifdef SO_NOSIGPIPE
  set_option(descriptor, SOL_SOCKET, SO_NOSIGPIPE, 1);
#endif
  int flags = ::fcntl(descriptor, F_GETFL);
  return ::fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0 && flags >= 0 &&
         ::fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0;
}

[[noreturn]] void fail(const char* verb, const Address& address) {
  throw Error(std::string(verb) + " " + to_string(address) + ": " + system_text(errno));
}

Address address_of(const Fd& socket, int (*ask)(int, sockaddr*, socklen_t*)) {
  Address address;
  address.n_bytes = sizeof address.storage;
  if (ask(socket.get(), reinterpret_cast<sockaddr*>(&address.storage), &address.n_bytes) != 0)
    address.n_bytes = 0;
  return address;
}

}  // namespace

Fd open_socket(int family) {
#ifdef SOCK_CLOEXEC
  int descriptor = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
#else
  int descriptor = ::socket(family, SOCK_STREAM, 0);
#endif
  if (descriptor < 0) return Fd();
  Fd socket(descriptor);
  if (!prepare(descriptor)) return Fd();
  return socket;
}

Fd::Fd(int descriptor) : descriptor_(descriptor), generation_(process::generation()) {
  if (descriptor_ >= 0) process::keep_from_children(descriptor_);
}

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    close();
    descriptor_ = std::exchange(other.descriptor_, -1);
    generation_ = other.generation_;
  }
  return *this;
}

void Fd::close() {
  if (descriptor_ < 0) return;
  // In a child of fork the number was closed already and may be someone else's by now.
  if (generation_ == process::generation()) {
    process::forget(descriptor_);
    ::close(descriptor_);
  }
  descriptor_ = -1;
}

int Address::port() const {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
  return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
}

void Address::set_port(int port) {
  uint16_t value = htons(static_cast<uint16_t>(port));
  if (family() == AF_INET) {
    reinterpret_cast<sockaddr_in*>(&storage)->sin_port = value;
  } else {
    reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port = value;
  }
}

bool Address::is_loopback() const {
  if (family() == AF_INET) {
    return (ntohl(reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr.s_addr) >> 24) == 127;
  }
  return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr);
}

std::string to_string(const Address& address) {
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (address.n_bytes == 0 || ::getnameinfo(address.raw(), address.n_bytes, host, sizeof host, port,
                                            sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "an unknown address";
  }
  std::string text;
  if (address.family() == AF_INET6) {
    text.append("[").append(host).append("]");
  } else {
    text.append(host);
  }
  return text.append(":").append(port);
}

std::pair<std::string, std::string> split_host_port(const std::string& text) {
  size_t colon = text.rfind(':');
  bool bracketed = !text.empty() && text[0] == '[';
  if (bracketed && (colon == std::string::npos || colon == 0 || text[colon - 1] != ']'))
    colon = std::string::npos;
  if (!bracketed && colon != text.find(':')) colon = std::string::npos;
  if (colon == std::string::npos || colon == 0 || colon + 1 == text.size()) {
    throw BadArgument("not an address, got '" + text + "', expected 'host:port' or '[ipv6]:port'");
  }
  std::string host = bracketed ? text.substr(1, colon - 2) : text.substr(0, colon);
  return {host, text.substr(colon + 1)};
}

std::vector<Address> resolve(const std::string& host_port) {
  auto [host, port] = split_host_port(host_port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  int status = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (status != 0) {
    throw Error("'" + host_port + "' cannot be resolved: " +
                (status == EAI_SYSTEM ? system_text(errno) : gai_strerror(status)));
  }
  std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  std::vector<Address> addresses;
  for (addrinfo* each = found; each != nullptr; each = each->ai_next) {
    Address address;
    std::memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
    address.n_bytes = each->ai_addrlen;
    addresses.push_back(address);
  }
  return addresses;
}

Fd listen_on(const Address& address, bool shared_port) {
  Fd socket = open_socket(address.family());
  if (!socket) fail("socket for", address);
  set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (shared_port) set_option(socket.get(), SOL_SOCKET, SO_REUSEPORT, 1);
  if (address.family() == AF_INET6) set_option(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (::bind(socket.get(), address.raw(), address.n_bytes) != 0) fail("bind", address);
  if (::listen(socket.get(), SOMAXCONN) != 0) fail("listen on", address);
  return socket;
}

Address local_address(const Fd& socket) { return address_of(socket, ::getsockname); }
Address peer_address(const Fd& socket) { return address_of(socket, ::getpeername); }

Fd start_connect(const Address& address) {
  Fd socket = open_socket(address.family());
  if (!socket) return socket;
  if (::connect(socket.get(), address.raw(), address.n_bytes) == 0 || errno == EINPROGRESS ||
      errno == EINTR) {
    return socket;
  }
  int cause = errno;
  socket.close();
  errno = cause;
  return socket;
}

int connect_result(const Fd& socket) {
  int cause = 0;
  socklen_t n_bytes = sizeof cause;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &cause, &n_bytes) != 0) return errno;
  return cause;
}

Fd accept_one(const Fd& listener) {
#ifdef SOCK_CLOEXEC
  int descriptor = ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
#else
  int descriptor = ::accept(listener.get(), nullptr, nullptr);
#endif
  if (descriptor < 0) return Fd();
  Fd socket(descriptor);
  if (!prepare(descriptor)) return Fd();
  return socket;
}

void tune(const Fd& socket) {
  int descriptor = socket.get();
  set_option(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1);
#ifdef TCP_KEEPIDLE
  set_option(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, 1);
#elif defined(TCP_KEEPALIVE)
  set_option(descriptor, IPPROTO_TCP, TCP_KEEPALIVE, 1);
#endif
#ifdef TCP_KEEPINTVL
  set_option(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  set_option(descriptor, IPPROTO_TCP, TCP_KEEPCNT, 5);
#endif
}

void die_of_silence(const Fd& socket, int seconds) {
#ifdef TCP_USER_TIMEOUT
  set_option(socket.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, seconds * 1000);
#elif defined(TCP_RXT_CONNDROPTIME)
  set_option(socket.get(), IPPROTO_TCP, TCP_RXT_CONNDROPTIME, seconds);
#else
  (void)socket;
#endif
}

std::pair<Fd, Fd> make_pipe() {
  int ends[2];
  if (::pipe(ends) != 0) throw Error("pipe: " + system_text(errno));
  Fd reader(ends[0]), writer(ends[1]);
  if (!prepare(ends[0]) || !prepare(ends[1])) throw Error("pipe: " + system_text(errno));
  return {std::move(reader), std::move(writer)};
}

}  // namespace jobkit
