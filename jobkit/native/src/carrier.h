// What carries a connection, and the congestion control that suits it.
#pragma once

#include <string>

#include "socket.h"

namespace jobkit {

enum class Carrier {
  kLoopback,  // both ends are on this host, in this network namespace
  kVirtual,   // a veth pair, the cable between two namespaces of this host
  kNetwork,   // anything else
};

const char* name_of(Carrier carrier);

Carrier carrier_of(const Fd& socket);

// Where nothing is ever lost on the way, congestion control can only slow down: bbr, the default of many
// systems, paces, and cubic stays low after one retransmission that it need not have made. reno moved 3.3
// GB/s each way over loopback where bbr moved 1.8, and 5.1 GB/s one way over veth where bbr moved 2.0 (2-core
// VM, Linux 6.18). On a network the system's choice stays. `wanted`: "" for this rule, "system" to leave
// things as they are, else the name of one. Throws Error when that one cannot be had.
void choose_congestion_control(const Fd& socket, const std::string& wanted);

// Throws Error when that one, unless it is "" or "system", cannot be had for any connection.
void require_congestion_control(const std::string& wanted);

// The name of the one in use, "" where it cannot be told.
std::string congestion_control(const Fd& socket);

}  // namespace jobkit
