// A small all_reduce among ranks that all share memory with this one, or that RDMA cables all lead to:
// nothing is posted, nothing is matched.
//
// Each rank writes its input into its ring, or the next slot, to every other one, waits until the next record
// of every one of them is the frame that it expects, and reduces straight from where it lies. The frames are
// those of the one-shot plan, so that a rank that takes this way and one that carries out the plan understand
// each other; whoever finds anything else than what it expects goes on with the plan.
#pragma once

#include <memory>
#include <vector>

#include "mesh.h"

namespace jobkit {

class Express {
 public:
  enum class Result {
    kUntouched,  // nothing has happened
    kSent,       // this rank's messages are out, and the others' are still to be received
    kDone,
  };

  // `rank`: this rank's index among `members`. nullptr where links of several kinds lead to them, or such as
  // have no records to look at.
  static std::unique_ptr<Express> make(Mesh& mesh, const std::vector<int>& members, int rank);
  virtual ~Express() = default;

  // Larger messages go by the plan.
  size_t max_bytes() const { return max_bytes_; }

  // Call `seq` of the group that `active` is of.
  virtual Result all_reduce(Active& active, uint32_t seq, const Signature& signature, const void* in,
                            void* out, double scale) = 0;

 protected:
  explicit Express(size_t max_bytes) : max_bytes_(max_bytes) {}
  size_t max_bytes_;
};

}  // namespace jobkit
