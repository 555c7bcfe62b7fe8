// A link that MPI carries: MPI_Isend and MPI_Irecv on a communicator of our own, looked at with MPI_Test.
//
// A frame is a message with its header and, where that is short, its payload; a longer payload follows as a
// message of its own, straight from where it lies and to where it belongs. Every message is asked for before
// it can come, and of a link one frame comes in at a time, so that what nobody wants yet waits in the sender.
//
// No library of MPI is compiled in or linked: mpi4py loads one, and what is called of it is found by name.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "link.h"

namespace jobkit {

// What is called of an MPI library. A handle is an int in the ABI of MPICH and a pointer in that of Open MPI:
// both travel in a register, or fill the beginning of a word.
struct MpiLibrary {
  using Handle = uintptr_t;
  using Send = int (*)(const void* data, int count, Handle type, int to, int tag, Handle communicator,
                       Handle* request);
  using Receive = int (*)(void* data, int count, Handle type, int from, int tag, Handle communicator,
                          Handle* request);

  std::string name;        // "Open MPI 5.0.11"
  std::string one_thread;  // why no thread but the caller's may call MPI; "" where any may, one at a time
  Send isend = nullptr, issend = nullptr;
  Receive irecv = nullptr;
  int (*test)(Handle* request, int* flag, void* status) = nullptr;
  int (*cancel)(Handle* request) = nullptr;
  int (*error_string)(int code, char* text, int* length) = nullptr;
  int (*abort)(Handle communicator, int status) = nullptr;
  Handle byte = 0;
  Handle communicator = 0;  // whose errors are returned, and in which a peer has its rank in the mesh
};

// What MPI does for one link. It may only be used while no other thread of this process calls MPI, which the
// mesh's lock sees to.
class MpiPort {
 public:
  MpiPort(std::shared_ptr<const MpiLibrary> library, int peer) : library_(std::move(library)), peer_(peer) {}

  // A message on its way. Its memory has to stay until it is done, whatever happens in between: nothing that
  // MPI has been given can be taken back.
  struct Request {
    MpiLibrary::Handle handle = 0;
    bool open = false;
  };

  void send(Request& request, const void* data, size_t n_bytes, int tag, bool synchronous = false);
  void receive(Request& request, void* data, size_t n_bytes, int tag);
  // Whether it is done, or never was under way.
  bool test(Request& request);
  // Takes back what was asked for and has not begun to come.
  void cancel(Request& request);
  // Not empty: what MPI said when something failed. Nothing is called after that.
  const std::string& problem() const { return problem_; }

 private:
  bool failed(const char* what, int code);

  const std::shared_ptr<const MpiLibrary> library_;
  const int peer_;
  std::string problem_;
};

class MpiLink final : public Link {
 public:
  MpiLink(int peer, std::shared_ptr<const MpiLibrary> library, LinkObserver& observer);
  ~MpiLink() override;

  bool wants_write() const override;
  bool pump_send() override;
  bool pump_receive() override;
  void watch(std::vector<pollfd>&) const override {}  // there is nothing to sleep on
  int nap_ms() const override { return 1; }
  void finish_writing() override { finishing_ = true; }
  void peer_ended(const std::string& reason) override;
  void shut() override;
  bool all_ended() const override;
  const char* kind() const override { return "mpi"; }

 private:
  // A payload up to this goes with its header: beyond, a copy costs more than a second message.
  static constexpr size_t kShortPayload = 8 << 10;
  static constexpr size_t kMessage = kFrameHeader + kShortPayload;

  using Bytes = std::unique_ptr<std::array<uint8_t, kMessage>>;

  // A frame on its way to the peer.
  struct Outgoing {
    MpiPort::Request head, payload;
    Send* from = nullptr;  // nullptr: nobody waits for this frame any more
    uint64_t begin = 0;    // of the payload in the message, where that is sent from where it lies
    Bytes bytes;
  };

  Piece look(const Receive& receive) const override;
  Room room_in_stream(Receive* receive, uint64_t position, size_t n_bytes) override;
  void given_back(Receive*) override {}
  void end_stream(Receive* receive) override;
  void detach(const Ticket* ticket) override;
  bool is_sending(const Ticket* ticket) const override;

  Outgoing& new_frame();
  void ask_for_head();
  bool next_frame();
  bool take_payload();
  bool ask_for_payload();
  void send_frame();
  bool finish_frames();
  void note_sent(Send* send);
  void break_down();
  // The peer's process is gone, and not in an orderly way.
  bool is_dead() const { return !ended_.empty() && !finishing_; }

  struct Buffers;
  std::unique_ptr<Buffers> buffers_;
  MpiPort port_;
  // Receiving.
  MpiPort::Request head_, payload_;
  size_t n_payload_ = 0;             // bytes of the payload that is asked for
  const uint8_t* inline_ = nullptr;  // what is left of the payload that came with its header
  uint8_t* payload_place_ = nullptr;
  std::vector<uint8_t*> free_windows_;
  // Sending.
  std::vector<Bytes> spare_;
  std::deque<Outgoing> frames_;  // in the order in which they were given to MPI
  uint64_t n_frames_ = 0;
  std::string ended_;  // why the peer's process will write nothing more
  bool finishing_ = false;
  bool end_sent_ = false;
};

}  // namespace jobkit
