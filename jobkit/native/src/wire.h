// What travels on a data link: frames, each a header, an extent and a part of one message.
//
// A message is what one rank gives another within an operation; it is cut into frames of at most kMaxFrame
// bytes. All numbers are little-endian.
//
//   header, 32 bytes: magic 2, version 1, kind 1, context 4, seq 4, op 1, dtype 1, schedule 1, flags 1,
//                     tag or root 4, count 8, crc32c 4
//   extent, 16 bytes: message 4, bytes in this frame 4, offset in the message 8
//
// The header alone names the call, so that both sides of a mismatch can say what the other one called; the
// extent places the bytes, so that a receiver that has not entered the operation can keep them. The checksum
// covers both.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "bytes.h"
#include "call.h"
#include "dtype.h"

namespace jobkit {

inline constexpr uint16_t kWireMagic = 0x4b4a;  // "JK"
inline constexpr uint8_t kWireVersion = 1;
inline constexpr size_t kFrameHeader = 48;
inline constexpr size_t kMaxFrame = 1 << 20;

enum class FrameKind : uint8_t { kCollective = 1, kPointToPoint = 2 };

// In place of a schedule's code: the data travels by other means, and the frames carry none.
inline constexpr uint8_t kElsewhere = 255;

// What all ranks of a collective, or both ends of a send, must agree on.
struct Signature {
  Call call = Call::kBarrier;
  Dtype dtype = Dtype::kUint8;
  uint8_t schedule = 0;
  int32_t tag_or_root = 0;
  uint64_t count = 0;  // elements of the whole operation, as the API counts them

  bool operator==(const Signature&) const = default;
};

// "all_sum(float32, 1024 elements)", with the root or tag where there is one.
std::string to_string(const Signature& signature);

// Which message a frame belongs to, between two given ranks.
struct MessageKey {
  FrameKind kind = FrameKind::kCollective;
  uint32_t context = 0;
  uint32_t seq = 0;      // of the context; point to point: of (context, peer, tag)
  uint32_t message = 0;  // of the operation
  int32_t tag = 0;       // point to point only

  bool operator==(const MessageKey&) const = default;
};

struct Frame {
  MessageKey key;
  Signature signature;
  uint32_t n_bytes = 0;
  uint64_t offset = 0;
};

using FrameBytes = std::array<uint8_t, kFrameHeader>;

void encode(const Frame& frame, FrameBytes& bytes);
// Within one host nothing falsifies bytes: without the checksum, in a fraction of the time.
void encode_unchecked(const Frame& frame, FrameBytes& bytes);
// Gives such a header, of a collective, another number of the call.
inline void renumber(FrameBytes& bytes, uint32_t seq) { ByteWriter(bytes.data() + 8).put(seq); }

// The frame, or nothing with the reason in `wrong` when these are not the bytes of one.
std::optional<Frame> decode(const uint8_t* bytes, std::string& wrong);
std::optional<Frame> decode_unchecked(const uint8_t* bytes, std::string& wrong);

}  // namespace jobkit
