// The byte ring with its writer and its reader as two threads: records of every size in any rhythm, rings
// that are hardly larger than their records, either side ending first, and memory that says what cannot be.

#include "ring.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "check.h"

namespace {

using namespace jobkit;

constexpr size_t kHead = 2 * kCacheLine;  // the reader's position

// All zero, and on a cache line.
class Block {
 public:
  explicit Block(size_t n_records)
      : lines_(new Line[(kHead + n_records) / kCacheLine]()), n_(kHead + n_records) {}
  uint8_t* data() const { return lines_.get()->bytes; }
  size_t n_bytes() const { return n_; }

 private:
  struct alignas(kCacheLine) Line {
    uint8_t bytes[kCacheLine];
  };
  std::unique_ptr<Line[]> lines_;
  size_t n_;
};

uint8_t expected(uint64_t record, size_t i) { return static_cast<uint8_t>(record * 31 + i * 7); }

size_t size_of(uint64_t record, size_t max) {
  const size_t sizes[] = {1, 8, 55, 56, 57, 64, 120, max / 2, max - 1, max};
  return std::min(sizes[Random(record).below(10)], max);
}

void write(RingWriter& writer, uint64_t record) {
  const size_t n = size_of(record, writer.max_record());
  uint8_t* room = writer.reserve(n);
  for (; !room; room = writer.reserve(n)) {
    CHECK(writer.state() == RingState::kOpen);
    std::this_thread::yield();
  }
  for (size_t i = 0; i < n; i++) room[i] = expected(record, i);
  writer.commit(n);
}

void read(RingReader& reader, uint64_t record) {
  Record found = reader.peek();
  for (; !found.data; found = reader.peek()) {
    CHECK(reader.state() == RingState::kOpen);
    std::this_thread::yield();
  }
  CHECK(found.n_bytes == size_of(record, reader.max_record()), std::to_string(record));
  for (size_t i = 0; i < found.n_bytes; i++)
    CHECK(found.data[i] == expected(record, i), std::to_string(record));
  reader.consume(found.n_bytes);
}

void all_arrives_in_order(size_t n_bytes, uint64_t n_records) {
  Block block(n_bytes);
  std::thread other([&] {
    RingWriter writer(block.data(), block.n_bytes());
    for (uint64_t record = 0; record < n_records; record++) write(writer, record);
    writer.end();
  });
  RingReader reader(block.data(), block.n_bytes());
  for (uint64_t record = 0; record < n_records; record++) {
    read(reader, record);
    if (record % 97 == 0) std::this_thread::yield();  // now the writer waits, now the reader
  }
  while (reader.state() == RingState::kOpen) CHECK(!reader.peek().data);
  CHECK(reader.state() == RingState::kEnded);
  other.join();
}

void a_writer_learns_that_nobody_reads(size_t n_bytes) {
  Block block(n_bytes);
  std::thread other([&] {
    RingReader reader(block.data(), block.n_bytes());
    for (uint64_t record = 0; record < 100; record++) read(reader, record);
    reader.end();
  });
  RingWriter writer(block.data(), block.n_bytes());
  for (uint64_t record = 0; record < 100; record++) write(writer, record);
  while (writer.state() == RingState::kOpen) {
    if (writer.reserve(8)) writer.commit(8);
  }
  CHECK(writer.state() == RingState::kEnded);
  other.join();
}

// Whatever lies in the memory, nothing outside of it is handed out.
void nonsense_is_recognised(uint64_t seed) {
  Random random(seed);
  Block block(1024);
  const std::string bytes = random.bytes(block.n_bytes());
  std::memcpy(block.data(), bytes.data(), bytes.size());
  for (size_t i = 0; i < block.n_bytes(); i += kCacheLine) {
    uint64_t stamp = random.once_in(2) ? random.below(2048) : UINT64_MAX - random.below(3);
    std::memcpy(block.data() + i, &stamp, sizeof stamp);
  }
  RingReader reader(block.data(), block.n_bytes());
  for (int i = 0; i < 100; i++) {
    Record found = reader.peek();
    if (!found.data) break;
    CHECK(found.data >= block.data() + kHead);
    CHECK(found.data + found.n_bytes <= block.data() + block.n_bytes());
    reader.consume(found.n_bytes);
  }
  RingWriter writer(block.data(), block.n_bytes());
  for (int i = 0; i < 100; i++) {
    uint8_t* room = writer.reserve(writer.max_record());
    if (!room) break;
    CHECK(room >= block.data() + kHead && room + writer.max_record() <= block.data() + block.n_bytes());
    std::memset(room, 0, writer.max_record());
    writer.commit(writer.max_record());
  }
}

}  // namespace

int main() {
  for (size_t n_bytes : {512, 1024, 4160, 65536}) {
    all_arrives_in_order(n_bytes, 30'000);
    a_writer_learns_that_nobody_reads(n_bytes);
  }
  for (uint64_t seed = 0; seed < 20'000; seed++) nonsense_is_recognised(seed);
  std::printf("ring: ok\n");
}
