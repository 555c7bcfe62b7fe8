// How the ranks of a job find each other: from addresses to connections that have shaken hands.
//
// Mode gang: every rank listens on an address of its own that all others know; the lower rank of each pair
// calls. A rank's addresses are alternatives: the first that answers is used.
//
// Mode hostfile: MLX's list, in which only neighbours are promised to reach each other and several addresses
// of a rank are parallel connections. Each rank calls its right neighbour. Then a table goes round the ring
// (who and where each rank is, and a listener of its own for later links), the contract's ports are closed,
// other pairs are tried, and what each rank reached goes round once more, so that all know the same matrix.
//
// Mode coordinator: MLX's JACCL. Every rank calls rank 0 at the one address that is known; rank 0 tells all
// where the others listen, that address is closed, and pairs call each other.
//
// In all modes a pair first gets its control connection, over which each learns who the other is. Ranks of
// one node then share memory, if they can; the other pairs get their data connections, or RDMA cables where
// the devices of each pair are given.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "mesh.h"
#include "verbs_meeting.h"

namespace jobkit {

enum class Mode { kGang, kHostfile, kCoordinator };

struct ConnectOptions {
  int rank = 0;
  std::vector<std::vector<std::string>> hosts;  // [rank]: "host:port" each; mode coordinator: of rank 0 only
  Mode mode = Mode::kGang;
  std::string job;
  uint32_t epoch = 0;
  std::string token;
  double connect_timeout_s = 300;
  bool verbose = false;
  bool shared_memory = true;   // with the ranks of this node that allow it too
  bool checks = false;         // see Wiring
  std::string congestion;      // of data connections, see choose_congestion_control
  std::string exit_folder;     // where "rank-3.exit.json" says that a rank has ended; "": nobody does
  std::string label = "ring";  // the backend, as messages name it
  CableOptions cables;
  std::shared_ptr<const MpiLibrary> mpi;  // carries all data: no other connections for it are made
  InterruptCheck interrupted;
  std::function<void(const std::string&)> warn;
};

// Connects this rank with all others. Blocks until all are there. Throws Error, naming the ranks that are
// missing, Interrupted, or BadArgument when the addresses cannot be right.
Wiring connect(const ConnectOptions& options);

}  // namespace jobkit
