// Two strangers on a new connection find out whether they are ranks of the same job.
//
//   caller -> listener  hello      who I am, whom I call, for which channel, a fresh nonce
//   listener -> caller  challenge  who I am, a fresh nonce, HMAC(token, "listener", hello, challenge)
//   caller -> listener  proof      HMAC(token, "caller", hello, challenge)
//   listener -> caller  welcome
//
// or, instead of any answer, a refusal with its reason. Each side's nonce is in the other's HMAC, so that
// nothing said on one connection is of use on another, and the two labels differ, so that nothing can be
// reflected. Without a token the same is said with an empty key: it proves nothing, and keeps foreign
// programs and other jobs out all the same. Data is not encrypted.
#pragma once

#include <cstdint>
#include <string>

#include "clock.h"
#include "hash.h"
#include "mesh.h"
#include "socket.h"

namespace jobkit {

inline constexpr uint32_t kControlChannel = 0;  // channel 1 + i is the i-th data connection

// What all ranks of a job have in common, and who this one is.
struct Credentials {
  int rank = 0;
  int size = 1;
  uint32_t epoch = 0;
  Digest job{};       // SHA-256 of its name
  std::string token;  // empty: unauthenticated
  Identity identity;
};

class Handshake {
 public:
  enum class State { kConnecting, kTalking, kDone, kFailed };
  enum class Verdict {
    kNone,
    kUnreachable,  // no connection
    kForeign,      // the other side does not speak this
    kRefused,      // a rank, but not of this job, or not the one that was called
    kSilent,       // nothing came in time
  };

  // A call to `target` at `address`.
  static Handshake call(const Address& address, const Credentials& own, int target, uint32_t channel,
                        Deadline connect_by, Deadline done_by);
  // A caller that was accepted. `allowed` bounds the channels.
  static Handshake answer(Fd socket, const Credentials& own, uint32_t n_channels, Deadline done_by);

  // Goes on as far as it can without waiting.
  void advance();
  // What to poll the descriptor for.
  short events() const;
  int descriptor() const { return socket_.get(); }
  Moment next_deadline() const;

  State state() const { return state_; }
  bool finished() const { return state_ == State::kDone || state_ == State::kFailed; }
  Verdict verdict() const { return verdict_; }
  const std::string& reason() const { return reason_; }
  bool is_call() const { return is_call_; }

  // Once done.
  int peer() const { return peer_; }
  uint32_t channel() const { return channel_; }
  const Identity& identity() const { return identity_; }
  Fd take_socket() { return std::move(socket_); }

 private:
  Handshake(Fd socket, const Credentials& own, bool is_call, Deadline done_by);

  void go_on();
  void say_hello();
  bool read_message();
  void understand();
  void on_hello();
  void on_challenge();
  void on_proof();
  void refuse(uint8_t why);
  void fail(Verdict verdict, const std::string& reason);
  bool write_out();
  Digest proof(const char* label) const;
  std::string where() const;

  Fd socket_;
  const Credentials* own_;
  bool is_call_;
  State state_ = State::kTalking;
  Verdict verdict_ = Verdict::kNone;
  std::string reason_;
  Deadline connect_by_, done_by_;
  std::string address_;

  std::string in_, out_;
  std::string hello_, challenge_;  // as sent, without the challenge's HMAC
  uint32_t n_channels_ = 0;
  int peer_ = kNobody;
  uint32_t channel_ = 0;
  Identity identity_;
  bool close_when_out_ = false;
  bool done_when_out_ = false;
};

}  // namespace jobkit
