#include "wire.h"

#include "bytes.h"
#include "crc32c.h"

namespace jobkit {
namespace {

constexpr size_t kChecksumAt = 28;
constexpr size_t kExtentAt = 32;

uint32_t checksum(const uint8_t* bytes) {
  return crc32c(bytes + kExtentAt, kFrameHeader - kExtentAt, crc32c(bytes, kChecksumAt));
}

}  // namespace

std::string to_string(const Signature& signature) {
  std::string text = name_of(signature.call);
  if (signature.call == Call::kBarrier || signature.call == Call::kSplit) return text + "()";
  text += std::string("(") + name_of(signature.dtype) + ", " + std::to_string(signature.count) +
          (signature.count == 1 ? " element" : " elements");
  if (has_root(signature.call)) text += ", root=" + std::to_string(signature.tag_or_root);
  if (signature.call >= Call::kSend) text += ", tag=" + std::to_string(signature.tag_or_root);
  if (signature.schedule == kElsewhere) text += ", on a device";
  return text + ")";
}

void encode(const Frame& frame, FrameBytes& bytes) {
  encode_unchecked(frame, bytes);
  ByteWriter(bytes.data() + kChecksumAt).put(checksum(bytes.data()));
}

void encode_unchecked(const Frame& frame, FrameBytes& bytes) {
  const Signature& call = frame.signature;
  ByteWriter writer(bytes.data());
  writer.put(kWireMagic).put(kWireVersion).put(static_cast<uint8_t>(frame.key.kind));
  writer.put(frame.key.context).put(frame.key.seq);
  writer.put(static_cast<uint8_t>(call.call)).put(static_cast<uint8_t>(call.dtype)).put(call.schedule);
  writer.put(uint8_t{0}).put(call.tag_or_root).put(call.count).put(uint32_t{0});
  writer.put(frame.key.message).put(frame.n_bytes).put(frame.offset);
}

std::optional<Frame> decode(const uint8_t* bytes, std::string& wrong) {
  std::optional<Frame> frame = decode_unchecked(bytes, wrong);
  if (!frame || ByteReader(bytes + kChecksumAt).get<uint32_t>() == checksum(bytes)) return frame;
  wrong = "the checksum of a frame's header is wrong";
  return std::nullopt;
}

std::optional<Frame> decode_unchecked(const uint8_t* bytes, std::string& wrong) {
  ByteReader reader(bytes);
  auto magic = reader.get<uint16_t>();
  auto version = reader.get<uint8_t>();
  auto kind = reader.get<uint8_t>();
  if (magic != kWireMagic) {
    wrong = "these are not the bytes of a frame";
  } else if (version != kWireVersion) {
    wrong = "frame version " + std::to_string(version) + ", expected " + std::to_string(kWireVersion);
  }
  if (!wrong.empty()) return std::nullopt;
  Frame frame;
  frame.key.kind = static_cast<FrameKind>(kind);
  frame.key.context = reader.get<uint32_t>();
  frame.key.seq = reader.get<uint32_t>();
  auto call = reader.get<uint8_t>();
  auto dtype = reader.get<uint8_t>();
  frame.signature.schedule = reader.get<uint8_t>();
  reader.get<uint8_t>();
  frame.signature.tag_or_root = reader.get<int32_t>();
  frame.signature.count = reader.get<uint64_t>();
  reader.get<uint32_t>();
  frame.key.message = reader.get<uint32_t>();
  frame.n_bytes = reader.get<uint32_t>();
  frame.offset = reader.get<uint64_t>();
  if (frame.key.kind == FrameKind::kPointToPoint) frame.key.tag = frame.signature.tag_or_root;
  if ((kind != 1 && kind != 2) || call >= kCalls || !is_dtype(dtype) || frame.n_bytes > kMaxFrame) {
    wrong = "a frame's header has values out of range";
    return std::nullopt;
  }
  frame.signature.call = static_cast<Call>(call);
  frame.signature.dtype = static_cast<Dtype>(dtype);
  return frame;
}

}  // namespace jobkit
