#include "reduce.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>

#include "error.h"
#include "reduce_kernels.h"

namespace jobkit {
namespace {

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> found{avx512_kernels(), avx2_kernels(), neon_kernels(), portable_kernels()};
  std::erase(found, nullptr);
  return found;
}

std::atomic<const Kernels*>& chosen() {
  static std::atomic<const Kernels*> kernels{available_kernels().front()};
  return kernels;
}

const Kernels& kernels() { return *chosen().load(std::memory_order_acquire); }

Kernels::Kernel kernel_for(ReduceOp op, Dtype dtype) {
  if (!is_reduce_op(static_cast<int>(op)))
    throw std::invalid_argument("unknown reduction " + std::to_string(static_cast<int>(op)));
  if (!is_dtype(static_cast<int>(dtype)))
    throw std::invalid_argument("unknown dtype " + std::to_string(static_cast<int>(dtype)));
  return kernels().reduce[static_cast<int>(op)][static_cast<int>(dtype)];
}

void check_scale(Dtype dtype, double scale) {
  if (scale != 1.0 && dtype < Dtype::kFloat16)
    throw std::invalid_argument(std::string("only floating and complex types are scaled, not ") +
                                name_of(dtype));
}

const std::byte* bytes(const void* data) { return static_cast<const std::byte*>(data); }

}  // namespace

void reduce(ReduceOp op, Dtype dtype, const void* left, const void* right, void* out, size_t count,
            bool nontemporal) {
  const std::byte* parts[] = {bytes(left), bytes(right)};
  kernel_for(op, dtype)({parts, 2, static_cast<std::byte*>(out), count * size_of(dtype), 1.0, nontemporal});
}

void reduce_all(ReduceOp op, Dtype dtype, const void* const* parts, int n, void* out, size_t count,
                double scale, bool nontemporal) {
  if (n < 1) throw std::invalid_argument("nothing to reduce: " + std::to_string(n) + " parts");
  check_scale(dtype, scale);
  // Maxima and minima are not scaled on their way: they may be formed in any order, without an accumulator.
  const bool scaled_on_the_way = op == ReduceOp::kSum;
  kernel_for(op, dtype)({reinterpret_cast<const std::byte* const*>(parts), static_cast<size_t>(n),
                         static_cast<std::byte*>(out), count * size_of(dtype),
                         scaled_on_the_way ? scale : 1.0, nontemporal});
  if (!scaled_on_the_way) scale_in_place(dtype, out, count, scale);
}

void scale_in_place(Dtype dtype, void* data, size_t count, double scale) {
  check_scale(dtype, scale);
  if (scale == 1.0) return;
  const std::byte* parts[] = {bytes(data)};
  kernel_for(ReduceOp::kSum,
             dtype)({parts, 1, static_cast<std::byte*>(data), count * size_of(dtype), scale, false});
}

void copy(void* out, const void* in, size_t n_bytes, bool nontemporal) {
  if (out == in || n_bytes == 0) return;
  if (!nontemporal) {
    std::memcpy(out, in, n_bytes);
    return;
  }
  const std::byte* parts[] = {bytes(in)};
  kernels().copy({parts, 1, static_cast<std::byte*>(out), n_bytes, 1.0, true});
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const Kernels* each : available_kernels()) names.emplace_back(each->name);
  return names;
}

void use_instruction_set(const std::string& name) {
  std::string known;
  for (const Kernels* each : available_kernels()) {
    if (name == each->name) return chosen().store(each, std::memory_order_release);
    known += (known.empty() ? "" : ", ") + std::string(each->name);
  }
  throw BadArgument("unknown instruction set, got '" + name + "', expected one of " + known);
}

}  // namespace jobkit
