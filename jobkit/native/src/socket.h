// TCP sockets: owned descriptors, addresses, and calls that never block.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "error.h"

namespace jobkit {

// A write to a closed connection is an error, not a signal.
#ifdef MSG_NOSIGNAL
inline constexpr int kSendFlags = MSG_NOSIGNAL;
#else
inline constexpr int kSendFlags = 0;
#endif

// Whether a call on a non-blocking socket failed only because it has to be made again later.
inline bool would_block(int cause) { return cause == EAGAIN || cause == EWOULDBLOCK || cause == EINTR; }

// An owned descriptor. It is closed in a child of fork, where the owner then holds nothing.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int descriptor);
  Fd(Fd&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), generation_(other.generation_) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { close(); }

  int get() const { return descriptor_; }
  explicit operator bool() const { return descriptor_ >= 0; }
  void close();

 private:
  int descriptor_ = -1;
  unsigned generation_ = 0;
};

// An IPv4 or IPv6 address with its port.
struct Address {
  sockaddr_storage storage{};
  socklen_t n_bytes = 0;

  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
  int port() const;
  void set_port(int port);
  bool is_loopback() const;
};

// "10.0.0.4:5000" or "[::1]:5000".
std::string to_string(const Address& address);

// Split "host:port" or "[v6]:port". Throws BadArgument.
std::pair<std::string, std::string> split_host_port(const std::string& text);

// Every address that "host:port" names, in the resolver's order; never empty. Throws Error.
std::vector<Address> resolve(const std::string& host_port);

// A non-blocking stream socket, or an empty Fd with errno set.
Fd open_socket(int family);

// A non-blocking listener. With `shared_port` a reservation of the port by this user that set SO_REUSEPORT
// does not stand in the way. Throws Error with the address and the cause.
Fd listen_on(const Address& address, bool shared_port);
Address local_address(const Fd& socket);
Address peer_address(const Fd& socket);

// A connection under way: writable once it is there or has failed. An empty Fd with errno set when it failed
// at once.
Fd start_connect(const Address& address);

// 0 when a connection that became writable is there, else its error number.
int connect_result(const Fd& socket);

// The next waiting caller, or an empty Fd when there is none.
Fd accept_one(const Fd& listener);

// Options for every connection: no delay, keepalive.
void tune(const Fd& socket);

// The connection is dead once its peer's host has acknowledged nothing for 5 s. For control links only: their
// reader never sleeps. Linux counts a window closed by a busy reader as silence too (tcp(7),
// TCP_USER_TIMEOUT), so that on a data link a rank that computes for 5 s while a large message waits for it
// would be cut off.
void die_of_silence(const Fd& socket, int seconds);

// Two ends of a pipe, non-blocking.
std::pair<Fd, Fd> make_pipe();

}  // namespace jobkit
