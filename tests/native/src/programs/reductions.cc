// Every instruction set against sums in plain C++, in buffers that end where the operands end: a byte read or
// written outside of them is an error of the address sanitizer.

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "check.h"
#include "reduce.h"

namespace {

using namespace jobkit;

constexpr size_t kCounts[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 257};

struct Operands {
  std::vector<std::unique_ptr<uint8_t[]>> blocks;
  std::vector<const void*> parts;
};

// n parts of so many bytes; each begins one byte into a block of its own when `odd`.
Operands make_operands(int n, size_t n_bytes, bool odd, Random& random) {
  Operands made;
  for (int i = 0; i < n; i++) {
    made.blocks.push_back(std::make_unique<uint8_t[]>(n_bytes + odd));
    for (size_t k = 0; k < n_bytes; k++) made.blocks[i][k + odd] = static_cast<uint8_t>(random.bits());
    made.parts.push_back(made.blocks[i].get() + odd);
  }
  return made;
}

std::vector<uint8_t> reduced(ReduceOp op, Dtype dtype, const Operands& operands, size_t count, double scale,
                             bool nontemporal) {
  std::vector<uint8_t> out(count * size_of(dtype));
  reduce_all(op, dtype, operands.parts.data(), static_cast<int>(operands.parts.size()), out.data(), count,
             scale, nontemporal);
  return out;
}

void all_instruction_sets_give_the_same_bits() {
  Random random(1);
  for (int code = 0; code < kDtypes; code++) {
    for (int op = 0; op < 3; op++) {
      for (int n : {1, 2, 3, 5, 8, 9, 19}) {
        for (size_t count : kCounts) {
          auto dtype = static_cast<Dtype>(code);
          double scale = op == 0 && dtype >= Dtype::kFloat16 && random.once_in(2) ? 1.0 / n : 1.0;
          Operands operands = make_operands(n, count * size_of(dtype), random.once_in(2), random);
          use_instruction_set("portable");
          auto expected = reduced(static_cast<ReduceOp>(op), dtype, operands, count, scale, false);
          for (const std::string& name : instruction_sets()) {
            use_instruction_set(name);
            bool nontemporal = random.once_in(2);
            auto found = reduced(static_cast<ReduceOp>(op), dtype, operands, count, scale, nontemporal);
            CHECK(found == expected, name + ", " + name_of(dtype) + ", " + std::to_string(count) +
                                         " elements of " + std::to_string(n) + " parts");
          }
        }
      }
    }
  }
}

// Exact sums: whole numbers that float32 holds, so that any order and both 16-bit types must agree with it.
void sums_of_whole_numbers_are_exact() {
  for (const std::string& name : instruction_sets()) {
    use_instruction_set(name);
    for (size_t count : kCounts) {
      std::vector<std::vector<float>> values;
      std::vector<const void*> parts;
      for (int i = 0; i < 5; i++) {
        values.emplace_back();
        for (size_t k = 0; k < count; k++)
          values[i].push_back(static_cast<float>(100 * i + static_cast<int>(k)));
        parts.push_back(values[i].data());
      }
      std::vector<float> out(count);
      reduce_all(ReduceOp::kSum, Dtype::kFloat32, parts.data(), 5, out.data(), count, 0.5);
      for (size_t k = 0; k < count; k++) CHECK(out[k] == (1000.0F + 5.0F * static_cast<float>(k)) / 2);
    }
  }
}

// Processors disagree about the sign of the NaN that they make themselves.
void infinities_that_cancel_are_the_canonical_nan() {
  struct Format {
    Dtype dtype;
    uint16_t infinity, nan;
  };
  for (const std::string& name : instruction_sets()) {
    use_instruction_set(name);
    for (Format each : {Format{Dtype::kFloat16, 0x7c00, 0x7e00}, Format{Dtype::kBfloat16, 0x7f80, 0x7fc0}}) {
      std::vector<uint16_t> plus(33, each.infinity), minus(33, each.infinity | 0x8000), out(33);
      reduce(ReduceOp::kSum, each.dtype, plus.data(), minus.data(), out.data(), out.size());
      CHECK(out == std::vector<uint16_t>(33, each.nan), name + ", " + name_of(each.dtype));
    }
  }
}

void copies_stay_within_their_bounds() {
  Random random(2);
  for (const std::string& name : instruction_sets()) {
    use_instruction_set(name);
    for (size_t n_bytes = 0; n_bytes < 300; n_bytes++) {
      for (bool nontemporal : {false, true}) {
        Operands from = make_operands(1, n_bytes, random.once_in(2), random);
        auto to = std::make_unique<uint8_t[]>(n_bytes + 3);
        copy(to.get() + 3, from.parts[0], n_bytes, nontemporal);
        CHECK(std::memcmp(to.get() + 3, from.parts[0], n_bytes) == 0);
      }
    }
  }
}

}  // namespace

int main() {
  all_instruction_sets_give_the_same_bits();
  sums_of_whole_numbers_are_exact();
  infinities_that_cancel_are_the_canonical_nan();
  copies_stay_within_their_bounds();
  std::puts("reductions: ok");
}
