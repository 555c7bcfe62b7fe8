// What the programs share: checks that end them with a place and a reason, and random numbers with a seed.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#define CHECK(condition, ...)                                                               \
  do {                                                                                      \
    if (!(condition)) {                                                                     \
      std::fprintf(stderr, "%s:%d: not true: %s%s\n", __FILE__, __LINE__, #condition,       \
                   (std::string("") __VA_OPT__(+": " + std::string(__VA_ARGS__))).c_str()); \
      std::_Exit(1);                                                                        \
    }                                                                                       \
  } while (false)

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  // In [0, n).
  uint64_t below(uint64_t n) { return std::uniform_int_distribution<uint64_t>(0, n - 1)(engine_); }
  uint64_t bits() { return engine_(); }
  bool once_in(uint64_t n) { return below(n) == 0; }
  std::string bytes(size_t n) {
    std::string made(n, 0);
    for (char& each : made) each = static_cast<char>(engine_());
    return made;
  }

 private:
  std::mt19937_64 engine_;
};
