#include "carrier.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#ifdef __linux__
#include <linux/ethtool.h>
#include <linux/sockios.h>
#endif

#include <cerrno>
#include <cstring>
#include <memory>

namespace jobkit {
namespace {

// Whether two addresses are the same but for their ports. An IPv4 address may come as an IPv6 one.
bool same_host(const sockaddr* left, const sockaddr* right) {
  auto bytes = [](const sockaddr* address, in6_addr& into) {
    into = {};
    if (address->sa_family == AF_INET6) {
      into = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
    } else if (address->sa_family == AF_INET) {
      into.s6_addr[10] = into.s6_addr[11] = 0xff;
      std::memcpy(into.s6_addr + 12, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, 4);
    }
    return address->sa_family == AF_INET || address->sa_family == AF_INET6;
  };
  in6_addr one, other;
  return bytes(left, one) && bytes(right, other) && std::memcmp(&one, &other, sizeof one) == 0;
}

// The network device that has an address, "" if none has.
std::string device_of(const Address& address) {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return "";
  std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(all, ::freeifaddrs);
  for (const ifaddrs* each = all; each; each = each->ifa_next) {
    if (each->ifa_addr && same_host(each->ifa_addr, address.raw())) return each->ifa_name;
  }
  return "";
}

bool is_veth(const Fd& socket, const std::string& device) {
#ifdef __linux__
  if (device.empty() || device.size() >= IFNAMSIZ) return false;
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  ifreq request{};
  std::memcpy(request.ifr_name, device.c_str(), device.size() + 1);
  request.ifr_data = reinterpret_cast<char*>(&driver);
  return ::ioctl(socket.get(), SIOCETHTOOL, &request) == 0 && std::strcmp(driver.driver, "veth") == 0;
#else
  (void)socket;
  (void)device;
  return false;
#endif
}

}  // namespace

const char* name_of(Carrier carrier) {
  constexpr const char* names[] = {"loopback", "veth", "network"};
  return names[static_cast<int>(carrier)];
}

Carrier carrier_of(const Fd& socket) {
  Address here = local_address(socket), there = peer_address(socket);
  if (there.is_loopback() || same_host(here.raw(), there.raw())) return Carrier::kLoopback;
  return is_veth(socket, device_of(here)) ? Carrier::kVirtual : Carrier::kNetwork;
}

std::string congestion_control(const Fd& socket) {
#ifdef TCP_CONGESTION
  char name[64] = "";
  socklen_t n_bytes = sizeof name - 1;
  if (::getsockopt(socket.get(), IPPROTO_TCP, TCP_CONGESTION, name, &n_bytes) == 0) return name;
#else
  (void)socket;
#endif
  return "";
}

void choose_congestion_control(const Fd& socket, const std::string& wanted) {
  if (wanted == "system") return;
  if (wanted.empty() && carrier_of(socket) == Carrier::kNetwork) return;
#ifdef TCP_CONGESTION
  const std::string name = wanted.empty() ? "reno" : wanted;
  int result = ::setsockopt(socket.get(), IPPROTO_TCP, TCP_CONGESTION, name.data(),
                            static_cast<socklen_t>(name.size()));
  // Refused where the administrator does not allow it: then the system's choice stays, unless it was asked
  // for.
  if (result != 0 && !wanted.empty())
    throw Error("congestion control: not available, got '" + wanted + "': " + system_text(errno));
#endif
}

void require_congestion_control(const std::string& wanted) {
  if (wanted.empty() || wanted == "system") return;
  Fd socket = open_socket(AF_INET);
  if (!socket) throw Error("socket: " + system_text(errno));
  choose_congestion_control(socket, wanted);
}

}  // namespace jobkit
