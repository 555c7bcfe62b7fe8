// A small all_reduce among ranks that all share memory with this one: nothing is posted, nothing is matched.
//
// Each rank writes its input into its ring to every other one, waits until the next record of every ring is
// the frame that it expects, and reduces straight from the rings. The frames are those of the one-shot plan,
// so that a rank that takes this way and one that carries out the plan understand each other; whoever finds
// anything else than what it expects goes on with the plan.
#pragma once

#include <memory>
#include <vector>

#include "mesh.h"
#include "shm_link.h"

namespace jobkit {

class Express {
 public:
  enum class Result {
    kUntouched,  // nothing has happened
    kSent,       // this rank's messages are out, and the others' are still to be received
    kDone,
  };

  // `rank`: this rank's index among `members`. nullptr where not all of them share memory with it.
  static std::unique_ptr<Express> make(Mesh& mesh, const std::vector<int>& members, int rank);

  // Larger messages go by the plan.
  size_t max_bytes() const { return max_bytes_; }

  // Call `seq` of the group that `active` is of.
  Result all_reduce(Active& active, uint32_t seq, const Signature& signature, const void* in, void* out,
                    double scale);

 private:
  Express(Mesh& mesh, int rank) : mesh_(mesh), rank_(rank) {}

  bool make_room();
  void send(const void* in);
  bool await();
  void reduce(const void* in, void* out, double scale);

  Mesh& mesh_;
  const int rank_;
  size_t max_bytes_;
  std::vector<ShmLink*> links_;     // in the order of the members, without this rank
  std::vector<uint8_t*> rooms_;     // [link]: where its record is written
  std::vector<const void*> parts_;  // [member]
  // The frame of the last call: the next one often differs in its number only.
  Frame frame_;
  FrameBytes head_{};
};

}  // namespace jobkit
